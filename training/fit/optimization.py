"""The optimizer, its learning rate and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.config.fit import OptimizerSection

_POLY_POWER = 0.9


def make_optimizer(config: OptimizerSection, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of a model's parameters."""
    kind = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
    device = next(model.parameters()).device
    return kind(
        model.parameters(),
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=device.type in ("cpu", "cuda"),
    )


def learning_rate(config: OptimizerSection, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    It depends on the step alone, so a checkpoint stores no state of the schedule.

    Parameters
    ----------
    config
        Learning rates, warm-up and schedule.
    step
        Number of the step, from 0.
    steps
        Number of steps of the run.
    """
    if step < config.warm_up_steps:
        return config.learning_rate * (step + 1) / config.warm_up_steps
    done = (step - config.warm_up_steps) / max(steps - config.warm_up_steps, 1)
    share = {
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "poly": math.pow(1 - done, _POLY_POWER),
        "constant": 1.0,
    }[config.schedule]
    low = min(config.final_learning_rate, config.learning_rate)
    return low + (config.learning_rate - low) * share


def make_average(decay: float, model: nn.Module, step: int) -> AveragedModel:
    """Return the exponential moving average of a model's weights, starting from these weights.

    After ``n`` steps, the decay is min(decay, n / (n + 9)), so that the average soon forgets the
    initial weights. Buffers, such as the statistics of batch normalization, are copied.

    Parameters
    ----------
    decay
        Weight of the former average in each update.
    model
        The model; it is copied.
    step
        Number of steps done.
    """

    def update(
        averages: Sequence[Tensor], weights: Sequence[Tensor], n_averaged: Tensor | int
    ) -> None:
        n = int(n_averaged)
        ema = get_ema_multi_avg_fn(min(decay, n / (n + 9)))  # type: ignore[no-untyped-call]
        ema(list(averages), list(weights), n_averaged)

    average = AveragedModel(model, multi_avg_fn=update)
    average.n_averaged.fill_(step + 1)  # counts the initial weights
    average.requires_grad_(False).eval()
    return average
