"""Comparisons of computed results that hold on any processor.

Processors add products in different orders, and networks amplify rounding errors. A float32 result
is therefore compared with a float64 evaluation of the same function, and its error with the error
of another float32 evaluation, or with an estimate of it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

EPS = torch.finfo(torch.float32).eps
FACTOR = 4
"""Errors that differ by less than this factor count as equally large."""


def error_of(found: Tensor, exact: Tensor) -> float:
    """Root mean square of the difference from a float64 evaluation."""
    assert exact.dtype == torch.float64
    assert found.shape == exact.shape
    return float((found.detach().double() - exact.detach()).square().mean().sqrt())


def assert_as_accurate(found: Tensor, reference: Tensor, exact: Tensor) -> None:
    """Assert that a float32 result is as accurate as a reference, or as the rounded exact one."""
    rounded = EPS * float(exact.detach().square().mean().sqrt())
    assert error_of(found, exact) <= FACTOR * max(error_of(reference, exact), rounded)


def assert_within_rounding(found: Tensor, network: nn.Module, image: Tensor) -> None:
    """Assert that a float32 result is that of a float64 network, but for rounding.

    Each result of a convolution, Σ w·x, is changed by ± eps · Σ |w|·|x| with random signs. What
    that does to the result of the network is the expected rounding error.
    """
    generator = torch.Generator().manual_seed(0)

    def disturb(module: nn.Module, inputs: tuple[Tensor], result: Tensor) -> Tensor:
        magnitudes = copy.deepcopy(module)
        for parameter in magnitudes.parameters():
            parameter.data.abs_()
        signs = 2.0 * torch.randint(2, result.shape, generator=generator) - 1
        return result + EPS * signs * magnitudes.forward(inputs[0].abs())

    disturbed = copy.deepcopy(network)
    for module in disturbed.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            module.register_forward_hook(disturb)
    with torch.no_grad():
        exact = network(image.double())
        expected = error_of(disturbed(image.double()), exact)
    assert error_of(found, exact) <= FACTOR * expected


def assert_equal_in_float64(found: Tensor, expected: Tensor) -> None:
    """Assert that two float64 results agree to 9 digits of the largest value.

    The rounding of float64 is 1e-16; the networks tested here amplify it less than 1000 times.
    """
    assert found.dtype == expected.dtype == torch.float64
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()
