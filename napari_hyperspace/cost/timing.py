"""Measure the time of small pieces of work."""

from __future__ import annotations

import math
import timeit
from collections.abc import Callable
from functools import partial

import torch

from napari_hyperspace.core.progress import check_stop
from napari_hyperspace.inference.execution import clock

_SECONDS_EACH = 0.025  # spent on the repetitions of each piece of work, at least


def shortest_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the shortest time of several runs after a warm-up, in seconds.

    The shortest, because other work on the machine can only make a run longer.
    `torch.utils.benchmark.Timer` is not used here: it sets the number of threads of the process,
    and importing it requires setuptools, which not every installation has.

    Raises
    ------
    Cancelled
        If it was asked to stop; see `stopped_by`.
    """
    check_stop()
    timer = timeit.Timer(work, timer=partial(clock, device))
    timer.timeit(1)
    first = timer.timeit(1)
    repeats = math.ceil(_SECONDS_EACH / max(first, 1e-9))
    return min(first, *timer.repeat(max(1, repeats - 1), 1))
