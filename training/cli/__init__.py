"""The command line: ``python -m training``. Each command loads the heavy modules it needs."""

from __future__ import annotations

from training.cli import applying, fitting, measuring, synthesis
from training.cli.options import app

__all__ = ["app", "applying", "fitting", "main", "measuring", "synthesis"]


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m training")
