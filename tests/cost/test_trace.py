"""Traces are exact: operations and peak memory as counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_hyperspace.cost.trace import trace
from tests.models import local_network


class Pyramid(nn.Module):
    """One stride, one skip connection: small enough to count by hand."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(1, 8, 3, padding=1)
        self.down = nn.Conv3d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose3d(16, 8, 2, stride=2)
        self.norm = nn.GroupNorm(8, 8)
        self.last = nn.Conv3d(16, 3, 1)

    def forward(self, image):
        fine = torch.relu_(self.first(image))
        up = self.norm(self.up(self.down(fine)))
        return self.last(torch.cat([up[..., : fine.shape[-1]], fine], dim=1))


@pytest.fixture(scope="module")
def pyramid():
    return trace(Pyramid(), 1, 3)


def test_operations_follow_the_formula(pyramid):
    shape = (20, 24, 32)
    fine, coarse = 20 * 24 * 32, 10 * 12 * 16
    expected = fine * 27 * 8 + coarse * 27 * 8 * 16 + coarse * 8 * 16 * 8 + fine * 16 * 3
    assert pyramid.macs(shape) == expected
    assert pyramid.parameters == sum(p.numel() for p in Pyramid().parameters())
    kinds = [operation.kind for operation in pyramid.operations]
    assert kinds == ["conv", "pointwise", "conv", "transposed", "norm", "pointwise", "conv"]
    assert pyramid.convolutions == 4


def test_peak_memory_is_that_of_the_largest_operation(pyramid):
    """The last convolution: image 1, fine 8, up 8, both concatenated 16, and 3 come out."""
    plain = {"reordered": False, "heap": False}
    assert pyramid.peak_bytes((16, 16, 16), 4, **plain) == 36 * 16**3 * 4
    assert pyramid.peak_bytes((16, 16, 16), 2, batch=3, **plain) == 36 * 16**3 * 6
    # In the contiguous memory format it copies its 16 + 3 channels.
    reordered = pyramid.peak_bytes((16, 16, 16), 4, reordered=True, heap=False)
    assert reordered == 55 * 16**3 * 4


@pytest.mark.parametrize(
    ("shape", "least", "most"), [((16, 16, 16), 1.45, 1.55), ((160, 320, 320), 1, 1.05)]
)
def test_small_tensors_fragment_the_heap(pyramid, shape, least, most):
    plain = pyramid.peak_bytes(shape, 4, reordered=False, heap=False)
    heap = pyramid.peak_bytes(shape, 4, reordered=False, heap=True)
    assert least * plain <= heap <= most * plain


def test_odd_sizes_are_rounded_up(pyramid):
    assert pyramid.voxels((5, 6, 7)).tolist() == [5 * 6 * 7, 3 * 3 * 4]


def test_two_dimensions():
    assert trace(local_network(n_dim=2), 1, 2).macs((10, 12)) == 120 * 9 * (4 + 12)


def test_network_is_not_changed():
    network = Pyramid()
    trace(network, 1, 3)
    assert not any(parameter.is_meta for parameter in network.parameters())
