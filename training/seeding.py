"""The one source of chance: every draw is a pure function of (seed, purpose, numbers)."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Return the random generator of one purpose at one place in the run.

    Nothing carries over from one draw to the next, so neither the number of workers nor an
    interruption changes what is drawn.

    Parameters
    ----------
    seed
        The run's seed.
    purpose
        What is drawn, such as ``"step"``; keeps draws at the same place independent.
    numbers
        The place, such as (step, sample).
    """
    word = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=4).digest(), "little")
    return np.random.default_rng([seed, word, *numbers])
