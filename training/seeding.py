"""Random generators: each is a function of the run's seed, a purpose and numbers."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Return the random generator for one purpose at one place in a run.

    Generators share no state, so random numbers depend neither on the number of worker processes
    nor on interruptions.

    Parameters
    ----------
    seed
        Seed of the run.
    purpose
        Name of the purpose, such as ``"step"``; generators of different purposes are independent.
    numbers
        The place in the run, such as (step, sample).
    """
    word = int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=4).digest(), "little")
    return np.random.default_rng([seed, word, *numbers])
