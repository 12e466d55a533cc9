"""Convolutions by oneDNN that are trained through."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_hyperspace.inference.execution import fast_convolutions


@pytest.mark.parametrize(
    ("shape", "stride", "padding", "groups"),
    [((9, 7, 5), 1, 1, 1), ((9, 8, 6), 2, 1, 1), ((3, 3, 4), 1, 0, 2), ((30, 40, 20), 1, 1, 1)],
)
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_are_those_of_double_precision(shape, stride, padding, groups, bias) -> None:
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64)

    tensors = [normal(2, 4, *shape), normal(6, 4 // groups, 3, 3, 3)]
    if bias:
        tensors.append(normal(6))
    found = {}
    for dtype in (torch.float64, torch.float32):
        own = [each.to(dtype, copy=True).requires_grad_() for each in tensors]
        with fast_convolutions(torch.device("cpu"), dtype):
            result = functional.conv3d(*own, stride=stride, padding=padding, groups=groups)
        result.square().sum().backward()
        found[dtype] = [each.grad for each in own]
    for exact, single in zip(found[torch.float64], found[torch.float32], strict=True):
        assert (single - exact).abs().max() < 1e-5 * exact.abs().max()
