"""How scans are shown: outliers, masks and lazy arrays."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import to_layer_data
from napari_hyperspace.gui.adapters.voxels import contrast_limits, value_range


def test_a_few_bright_voxels_do_not_darken_a_scan():
    values = np.random.default_rng(0).normal(100, 10, (70, 80, 90)).astype(np.float32)
    values[::31, ::29, ::23] = 1e6
    values[0, 0, 0] = np.nan
    low, high = contrast_limits(values)
    assert 50 < low < 80 and 120 < high < 150
    (_, attributes, _) = to_layer_data(Volume(values, Grid.from_spacing(values.shape, (1, 1, 1))))
    assert attributes["contrast_limits"] == (low, high)
    assert value_range(values)[1] >= high


@pytest.mark.parametrize("value", [0, 7])
def test_masks_and_constant_images_keep_napari_s_limits(value):
    values = np.zeros((20, 30, 40), np.uint8)
    values[5, 5, 5] = value
    assert contrast_limits(values) is None
    assert contrast_limits(np.full((3, 4, 5), np.nan)) is None
    data = to_layer_data(Volume(values, Grid.from_spacing(values.shape, (1, 1, 1))))
    assert "contrast_limits" not in data[1]


def test_of_a_lazy_array_three_planes_are_read():
    class Lazy:
        shape, dtype = (400, 300, 200), np.dtype(np.int16)

        def __init__(self):
            self.read = []

        def __len__(self):
            return self.shape[0]

        def __getitem__(self, index):
            self.read.append(index)
            return np.arange(300 * 200, dtype=np.int16).reshape(300, 200) % 1000

    lazy = Lazy()
    low, high = contrast_limits(lazy)
    assert lazy.read == [100, 200, 300]
    assert 0 <= low < 20 and 980 < high <= 999
