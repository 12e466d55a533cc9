"""The command line, ``hyperspace`` or ``python -m training``.

Each command imports the modules it needs when it runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from training.cli import (
    about,
    adapting,
    applying,
    exporting,
    fitting,
    measuring,
    models,
    refining,
    sweeping,
    synthesis,
)
from training.cli.console import run_program
from training.cli.options import app

__all__ = [
    "about",
    "adapting",
    "app",
    "applying",
    "exporting",
    "fitting",
    "main",
    "measuring",
    "models",
    "refining",
    "sweeping",
    "synthesis",
]


def main() -> None:
    """Run the command line."""
    as_module = Path(sys.argv[0]).name == "__main__.py"
    name = "python -m training" if as_module else "hyperspace"
    run_program(lambda: app(prog_name=name))
