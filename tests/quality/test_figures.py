"""Figures of structures, against boxes whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.quality.figures import figures_of
from tests.scans import rotated_affine

EPS = np.finfo(np.float64).eps


def canonical(values: np.ndarray, spacing_mm=(2.0, 1.0, 0.5)) -> Volume:
    """An array in canonical order (z, y, x): axes to Inferior, Posterior, Left."""
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, -1], [0, -1, 0], [-1, 0, 0]] * np.array(spacing_mm)
    return Volume(values, Grid(values.shape, affine))


@pytest.fixture
def labels() -> np.ndarray:
    values = np.zeros((20, 30, 40), np.uint16)
    values[4:8, 5:15, 10:30] = 1
    values[12:14, 5:15, 10:30] = 2
    return values


GROUPS = {"one": [1], "two": [2, 2002], "three": [3]}


def test_volume_extent_position_and_parts(labels):
    found = figures_of(canonical(labels), GROUPS)
    assert list(found) == ["one", "two"]
    one, two = found["one"], found["two"]
    assert one.volume_ml == pytest.approx(4 * 10 * 20 * 1e-3, rel=8 * EPS)
    assert one.extent_mm == (8.0, 10.0, 10.0)
    # Centers in z: 5.5 and 12.5 voxels; the first has twice the weight.
    assert one.center_mm == pytest.approx((-14 / 3, 0, 0), abs=64 * EPS * 20)
    assert two.center_mm == pytest.approx((28 / 3, 0, 0), abs=64 * EPS * 20)
    assert one.main_share == 1 and not one.is_cut
    assert np.isnan(one.brightness)


def test_figures_do_not_depend_on_the_order_of_the_axes(labels):
    image = np.random.default_rng(0).normal(size=labels.shape)
    first, picture = canonical(labels), canonical(image)
    turned = []
    for each in (first, picture):
        affine = each.affine[:, [2, 0, 1, 3]].copy()
        affine[:3, 3] += affine[:3, 0] * (each.shape[2] - 1)
        affine[:3, 0] *= -1
        array = each.array.transpose(2, 0, 1)[::-1]
        turned.append(Volume(array, Grid(array.shape, affine)))
    expected, found = figures_of(first, GROUPS, picture), figures_of(turned[0], GROUPS, turned[1])
    for name, one in expected.items():
        assert found[name].extent_mm == one.extent_mm
        assert found[name].center_mm == pytest.approx(one.center_mm, abs=64 * EPS * 40)
        assert found[name].volume_ml == pytest.approx(one.volume_ml, rel=16 * EPS)
        assert found[name].brightness == pytest.approx(one.brightness, abs=1e-3)


def test_sides_are_one_structure_and_unknown_values_none(labels):
    labels[16:18, 5:15, 10:30] = 2002
    labels[0, 0, 0] = 9
    found = figures_of(canonical(labels), GROUPS)
    assert found["two"].volume_ml == pytest.approx(found["one"].volume_ml, rel=8 * EPS)
    assert found["two"].main_share == 1  # two parts: one on each side


def test_scattered_voxels_are_many_parts_but_do_not_change_the_extent(labels):
    labels[::6, ::6, ::6][:, :, :1] = np.where(labels[::6, ::6, ::6][:, :, :1], 1, 0)
    labels[0, 0, 0] = labels[0, 29, 39] = labels[19, 0, 39] = labels[19, 29, 0] = 1
    found = figures_of(canonical(labels), GROUPS)["one"]
    assert found.extent_mm == (8.0, 10.0, 10.0)
    assert found.main_share < 1 and found.is_cut


def test_brightness_is_the_share_of_darker_voxels(labels):
    image = np.arange(labels.size, dtype=np.float64).reshape(labels.shape)
    image[labels == 1] = image.max() + 1
    image[labels == 2] = -1
    found = figures_of(canonical(labels), GROUPS, canonical(image))
    share = (labels == 1).mean(), (labels == 2).mean()
    assert found["one"].brightness == pytest.approx(1 - share[0] / 2, abs=1e-12)
    assert found["two"].brightness == pytest.approx(share[1] / 2, abs=1e-12)


def test_labels_without_voxels_have_no_figures():
    assert figures_of(canonical(np.zeros((4, 4, 4), np.uint8)), GROUPS) == {}
    grid = Grid((4, 5, 6), rotated_affine((1, 1, 1)))
    assert figures_of(Volume(np.full((4, 5, 6), 9, np.int32), grid), GROUPS) == {}


def test_measuring_can_be_stopped(labels):
    with pytest.raises(Cancelled):
        figures_of(canonical(labels), GROUPS, should_stop=lambda: True)
