"""The time of operations from given rates."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from torch import nn

from napari_hyperspace.cost.trace import trace
from tests.rates import PRECISION_RATES

SHAPE = (20, 24, 32)
VOXELS = math.prod(SHAPE)
MOVED, CALL = 4 * (16 + 16) * VOXELS * 2e-11, 5e-5 + 1e-6


def seconds(network, **rates):
    return trace(network, 16, 3).seconds(SHAPE, replace(PRECISION_RATES, **rates))


def test_convolution_time_is_that_of_its_work_its_bytes_and_its_call():
    point = nn.Conv3d(16, 16, 1)
    assert seconds(point) == pytest.approx(16 * 16 * VOXELS * 1e-11 + MOVED + CALL)


def test_convolution_in_groups_has_its_own_rate():
    grouped = nn.Conv3d(16, 16, 5, padding=2, groups=16)
    work = 16 * 125 * VOXELS
    assert seconds(grouped, depthwise={16: 3e-11}) == pytest.approx(work * 3e-11 + MOVED + CALL)
    assert seconds(grouped) in (
        pytest.approx(work * 2e-11 + MOVED + CALL),
        pytest.approx(work * 4e-11 + MOVED + CALL),
    )


def test_copies_to_another_memory_layout_are_fresh_memory():
    traced, shape = trace(nn.Conv3d(16, 16, 1), 16, 3), (80, 80, 80)
    plain, reordered = (
        traced.seconds(shape, replace(PRECISION_RATES, reordered=r)) for r in (False, True)
    )
    expected = 2 * 16 * 80**3 * 4 * PRECISION_RATES.page_fault
    assert reordered - plain == pytest.approx(expected)
