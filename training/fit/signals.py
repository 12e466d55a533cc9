"""SIGTERM and Ctrl-C (on Windows also Ctrl-Break) stop a run at the end of its step."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from napari_hyperspace.core.errors import HyperspaceError


class Interrupted(HyperspaceError):
    """The run was stopped by a signal and left a checkpoint.

    Parameters
    ----------
    number
        The signal; 0 if it was sent to another process of the run.
    step
        Optimizer steps done at the checkpoint.

    Attributes
    ----------
    exit_code
        Exit status of a program that is stopped by this signal.
    """

    def __init__(self, number: int, step: int) -> None:
        name = signal.Signals(number).name if number else "a signal to another process"
        super().__init__(
            f"the run was stopped by {name} after step {step}, with a checkpoint",
            fix="Continue with --resume",
        )
        self.step = step
        self.exit_code = 128 + (number or signal.SIGTERM)


class StopRequest:
    """The signal that asked a run to stop; 0 if there was none."""

    number = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record SIGTERM, SIGINT and, on Windows, SIGBREAK; a second SIGINT raises `KeyboardInterrupt`.

    Signals are handled in the main thread only; in other threads nothing is recorded.
    """
    request = StopRequest()

    def record(number: int, frame: FrameType | None) -> None:
        if request.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.number = number

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    caught = [signal.SIGTERM, signal.SIGINT]
    if sys.platform == "win32":
        caught.append(signal.SIGBREAK)
    previous = [signal.signal(number, record) for number in caught]
    try:
        yield request
    finally:
        for number, handler in zip(caught, previous, strict=True):
            signal.signal(number, handler)
