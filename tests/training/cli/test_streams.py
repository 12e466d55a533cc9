"""Signals, a closed or full stdout, and a locale without Unicode, as users meet them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from tests.rates import store_rates
from tests.training.cli.conftest import SCRIPT, environment, run

PLAIN = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


def start(*words: object, stdout: int | IO[bytes] = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    inherited = {k: v for k, v in environment().items() if k != "PYTHONIOENCODING"}  # set by tox
    return subprocess.Popen(
        [str(SCRIPT), *map(str, words)],
        env={**inherited, **PLAIN},
        stdout=stdout,
        stderr=subprocess.PIPE,
        # A shell that runs the tests in the background ignores it, and so would the command.
        preexec_fn=None if sys.platform == "win32" else _restore_interrupts,
    )


def _restore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_the_help_lists_the_exit_statuses() -> None:
    text = " ".join(run("--help").stdout.split())
    for status in ("0 success", "1 error", "2 wrong usage", "130 stopped", "143 stopped"):
        assert status in text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not send SIGTERM")
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["term", "int"]
)
def test_a_signal_stops_any_command_without_leftovers(
    number: signal.Signals, status: int, dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    # The first labels show that the work has started; hundreds of scans are left then.
    images = dataset / "imagesTr"
    scan = (images / "tiny_000.nii.gz").read_bytes()
    for index in range(500):
        (images / f"more_{index:03d}.nii.gz").write_bytes(scan)
    out = tmp_path / "out"
    process = start("predict", images, out, "--model", model_file)
    deadline = time.monotonic() + 120
    while not (out.is_dir() and len(list(out.glob("*.nii.gz"))) >= 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert output == b"" and f"stopped by {number.name}".encode() in errors
    assert b"Traceback" not in errors
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_stdout_is_an_error_without_traceback(model_file: Path) -> None:
    for words in (["info", model_file], ["--help"]):
        with open("/dev/full", "wb") as full:
            process = start(*words, stdout=full)
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
        assert errors.startswith(b"error:") and errors.count(b"\n") == 1, errors


def test_a_closed_pipe_ends_the_program_silently(model_file: Path) -> None:
    for words in (["info", model_file], ["predict", "--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        process = start(*words, stdout=writer)
        os.close(writer)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1 and errors == b""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_a_closed_stdout_is_an_error_without_traceback(model_file: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"{SCRIPT}" info "{model_file}" >&-'],
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == b"error: the result cannot be printed: stdout is closed\n"


def test_an_ascii_locale_prints_escapes(
    dataset: Path, model_file: Path, tmp_path: Path, own_cache: Path
) -> None:
    store_rates()  # nothing is measured
    folder = tmp_path / "größe 1"
    folder.mkdir()
    scan = folder / "ä ö.nii.gz"
    scan.write_bytes((dataset / "imagesTr" / "tiny_000.nii.gz").read_bytes())
    commands: list[list[object]] = [
        ["info", model_file],
        ["predict", "--help"],
        ["predict", scan, folder / "ü.nii.gz", "--model", model_file],
        ["estimate", scan, "--model", model_file],
    ]
    for process in [start(*words) for words in commands]:
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
        assert output.isascii() and b"Traceback" not in errors
    missing = start("predict", folder / "ß.nii.gz", folder / "ü.nii.gz")
    _, errors = missing.communicate(timeout=120)
    assert missing.returncode == 1 and errors.isascii() and errors.startswith(b"error:")
