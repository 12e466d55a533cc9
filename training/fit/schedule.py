"""The learning rate as a function of the step alone: a resumed run needs no memory of it."""

from __future__ import annotations

import math

from training.config.fit import OptimizerSection

_POLY_POWER = 0.9


def learning_rate(config: OptimizerSection, step: int, steps: int) -> float:
    """Return the learning rate of a step (from 0) in a run of so many steps."""
    if step < config.warm_up_steps:
        return config.learning_rate * (step + 1) / config.warm_up_steps
    done = (step - config.warm_up_steps) / max(steps - config.warm_up_steps, 1)
    share = {
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "poly": (1 - done) ** _POLY_POWER,
        "constant": 1.0,
    }[config.schedule]
    low = min(config.final_learning_rate, config.learning_rate)
    return low + (config.learning_rate - low) * share
