"""The command line in this process, and as users start it."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import yaml
from typer.testing import CliRunner, Result

from tests.training.conftest import config_values
from training.cli import app

SCRIPT = Path(sysconfig.get_path("scripts"), "hyperspace")


def run(*arguments: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_config(base: Path, **changes: Any) -> Path:
    """Write the configuration of a tiny run."""
    path = base / "run.yaml"
    path.write_text(yaml.safe_dump(config_values(**changes)))
    return path


def environment() -> dict[str, str]:
    """Return the environment of a process of a user's."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**own, "OMP_NUM_THREADS": "1"}


def start_fit(base: Path, *options: str) -> subprocess.Popen[str]:
    """Start the training of `write_config` in a process of its own."""
    return subprocess.Popen(
        [str(SCRIPT), "fit", "run.yaml", "--out", "run", *options],
        cwd=base,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for(text: str, log: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a log has a text."""
    deadline = time.monotonic() + 120
    while not (log.exists() and text in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
