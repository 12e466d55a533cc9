"""Gradients of convolutions in bfloat16 on thin maps."""

import pytest
import torch
from torch import nn

from napari_hyperspace.nets.base.convolution import convolve
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.plain.config import UNetConfig
from tests.nets.rounding import FACTOR


def dtype_inside(conv: nn.Module, image: torch.Tensor) -> torch.dtype:
    with torch.autocast("cpu", torch.bfloat16):
        return convolve(conv, image).dtype


@pytest.mark.parametrize("shape", [(2, 9, 9), (9, 1, 9), (9, 9, 2)])
def test_thin_maps_are_convolved_in_float32_if_gradients_are_needed(shape):
    conv, image = nn.Conv3d(2, 4, 3, padding=1), torch.randn(1, 2, *shape)
    assert dtype_inside(conv, image) == torch.float32
    with torch.no_grad():
        assert dtype_inside(conv, image) == torch.bfloat16


def test_other_maps_follow_autocast():
    conv, image = nn.Conv3d(2, 4, 3, padding=1), torch.randn(1, 2, 3, 4, 5)
    assert dtype_inside(conv, image) == torch.bfloat16


@pytest.mark.parametrize("shape", [(8, 12, 8), (5, 9, 21), (3, 3, 3), (16, 5, 2)])
def test_gradients_of_small_samples_agree_with_float64(shape):
    torch.manual_seed(0)
    config = UNetConfig(channels=16, strides=((2, 2, 2),) * 2, convs_per_level=1, norm="none")
    factory = build_factory(config, HypernetworkConfig(range_mm=((0.5, 5),) * 3)).train()
    image, gradients = torch.randn(2, 1, *shape), []
    for exact in (False, True):
        factory.zero_grad()
        network = factory.double() if exact else factory
        with torch.autocast("cpu", torch.bfloat16, enabled=not exact):
            logits = network(image.double() if exact else image, (1, 1, 1))
        logits.double().square().sum().backward()
        gradients.append(torch.cat([p.grad.double().flatten() for p in factory.parameters()]))
    rounded, expected = gradients
    bound = FACTOR * torch.finfo(torch.bfloat16).eps / 2  # one value is rounded by up to eps / 2
    assert torch.linalg.norm(rounded - expected) < bound * torch.linalg.norm(expected)


def test_kernels_larger_than_the_map_count_as_thin():
    conv, image = nn.Conv3d(2, 4, 5, padding=2), torch.randn(1, 2, 4, 9, 9)
    assert dtype_inside(conv, image) == torch.float32
    assert dtype_inside(conv, torch.randn(1, 2, 5, 9, 9)) == torch.bfloat16
