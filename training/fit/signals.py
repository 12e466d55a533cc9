"""SIGTERM and Ctrl-C ask a run to stop at the end of its step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from napari_hyperspace.core.errors import HyperspaceError


class Interrupted(HyperspaceError):
    """The run was asked to stop, and left a checkpoint.

    Parameters
    ----------
    number
        The signal; 0 if it reached another process of the run.
    step
        The step of the checkpoint.
    """

    def __init__(self, number: int, step: int) -> None:
        name = signal.Signals(number).name if number else "a signal to another process"
        super().__init__(
            f"the run was stopped by {name} after step {step}, with a checkpoint",
            fix="Go on with --resume",
        )
        self.exit_code = 128 + (number or signal.SIGTERM)


class StopRequest:
    """Whether and by which signal a stop was asked for."""

    number = 0


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch SIGTERM and SIGINT; a second SIGINT stops at once.

    Handlers belong to the main thread; elsewhere nothing is caught.
    """
    request = StopRequest()

    def ask(number: int, frame: FrameType | None) -> None:
        if request.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        request.number = number

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    caught = (signal.SIGTERM, signal.SIGINT)
    previous = [signal.signal(number, ask) for number in caught]
    try:
        yield request
    finally:
        for number, handler in zip(caught, previous, strict=True):
            signal.signal(number, handler)
