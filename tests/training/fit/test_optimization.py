"""Learning rates, and the moving average of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from training.config.fit import OptimizerSection
from training.fit.optimization import learning_rate, make_average, make_optimizer

EPS = float(np.finfo(np.float32).eps)


def test_learning_rates() -> None:
    config = OptimizerSection(learning_rate=1.0, final_learning_rate=0.1, warm_up_steps=4)
    assert [learning_rate(config, step, 14) for step in (0, 3, 4)] == [0.25, 1.0, 1.0]
    assert learning_rate(config, 9, 14) == pytest.approx(0.55)  # half way down the cosine
    assert learning_rate(config, 14, 14) == pytest.approx(0.1)
    poly = config.model_copy(update={"schedule": "poly"})
    assert learning_rate(poly, 9, 14) == pytest.approx(0.1 + 0.9 * 0.5**0.9)
    constant = config.model_copy(update={"schedule": "constant"})
    assert learning_rate(constant, 13, 14) == 1.0


@pytest.mark.parametrize(("kind", "decoupled"), [("adam", False), ("adamw", True)])
def test_the_optimizer_is_that_of_the_configuration(kind: str, decoupled: bool) -> None:
    config = OptimizerSection(kind=kind, weight_decay=0.5, betas=(0.8, 0.9))
    optimizer = make_optimizer(config, nn.Linear(2, 1))
    assert isinstance(optimizer, torch.optim.AdamW) == decoupled
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    assert optimizer.defaults["weight_decay"] == 0.5


def test_the_average_is_exponential_with_a_warm_up_and_copies_buffers() -> None:
    steps, decay = 40, 0.75
    rng = np.random.default_rng(0)
    values = rng.normal(size=(steps + 1, 3)).astype(np.float32)
    model = nn.BatchNorm1d(3)
    weight = model.weight

    def set_weights(step: int) -> None:
        with torch.no_grad():
            weight.copy_(torch.from_numpy(values[step]))
            model.running_mean.fill_(step)

    set_weights(0)
    average = make_average(decay, model, 0)
    expected = values[0].astype(np.float64)
    for step in range(1, steps + 1):
        set_weights(step)
        average.update_parameters(model)
        kept = min(decay, step / (step + 9))
        expected = kept * expected + (1 - kept) * values[step]
        if step == 20:  # as after a resume
            state = average.module.state_dict()
            average = make_average(decay, model, step)
            average.module.load_state_dict(state)
    # Each update adds a few rounding errors, of which the following ones keep the share `decay`.
    bound = 4 * EPS / (1 - decay) * np.abs(values).max()
    np.testing.assert_allclose(average.module.weight.numpy(), expected, rtol=0, atol=bound)
    assert average.module.running_mean.tolist() == [steps] * 3
    assert not average.module.weight.requires_grad and not average.module.training
