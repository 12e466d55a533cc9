"""Time a piece of work with `torch.utils.benchmark`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.benchmark import Measurement, Timer


def timed(work: Callable[[], object], min_run_time: float = 1.0) -> Measurement:
    """Repeat a call for some seconds, with all threads; see ``median`` and ``times`` of the result.

    Parameters
    ----------
    work
        What to time.
    min_run_time
        Total time of the repetitions in seconds, at least.
    """
    timer = Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=min_run_time)
