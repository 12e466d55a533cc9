"""Checks of scans: what is no scan, and what is not one for the model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.base.quality import ScanRanges
from napari_hyperspace.quality.scan import is_like_ct, scan_remarks
from tests.scans import rotated_affine

SHAPE = (20, 16, 24)


def volume(values: np.ndarray, spacing_mm=(1.0, 1.0, 1.0), **metadata: object) -> Volume:
    affine = rotated_affine(spacing_mm, order=(0, 1, 2), flips=(1, 1, 1), angle=0)
    return Volume(values, Grid(values.shape, affine), "scan", metadata)


def smooth(scale: float = 40, offset: float = 100) -> np.ndarray:
    noise = np.random.default_rng(3).standard_normal(SHAPE)
    return (offset + scale * gaussian_filter(noise, 2) / 0.05).astype(np.float32)


def texts(scan: Volume, ranges: ScanRanges | None = None) -> list[tuple[str, str]]:
    return [(each.level, each.text) for each in scan_remarks([scan], ranges)]


def test_nothing_is_said_about_an_image():
    assert texts(volume(smooth())) == []


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_constant_scan_is_implausible(dtype):
    ((level, text),) = texts(volume(np.full(SHAPE, 7, dtype)))
    assert (level, text) == ("implausible", "all voxels of the scan have the same value, 7")


def test_an_almost_empty_scan_is_doubtful():
    values = np.zeros((40, 40, 40), np.float32)
    values[20, 20, :40] = np.linspace(0.1, 9.9, 40)
    ((level, text),) = texts(volume(values))
    assert level == "doubtful" and text.startswith("99.9 % of the voxels")


def test_labels_are_no_image():
    values = (smooth() > 100).astype(np.int16) * 3
    ((level, text),) = texts(volume(values))
    assert level == "implausible" and "2 different values" in text
    ((level, _),) = texts(volume(smooth(), is_labels=True))
    assert level == "implausible"


def test_noise_is_implausible_and_smooth_along_one_axis_is_enough():
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    ((level, text),) = texts(volume(noise))
    assert level == "implausible" and "noise" in text
    assert texts(volume(gaussian_filter(noise, (0, 2, 0)))) == []


def test_values_that_are_not_finite_are_left_out():
    values = smooth()
    values[0, 0, 0] = np.nan
    assert texts(volume(values)) == []
    ((level, text),) = texts(volume(np.full(SHAPE, np.nan)))
    assert (level, text) == ("implausible", "the scan has no finite value")


def ct() -> np.ndarray:
    values = smooth(30, 40)
    values[:6] = -1000 + np.random.default_rng(1).standard_normal((6, *SHAPE[1:]))
    values[10, 8, 12] = 900
    return values


def test_ct_is_recognized_by_air_and_water():
    assert is_like_ct(volume(ct()))
    assert not is_like_ct(volume(smooth()))
    assert not is_like_ct(volume(ct() + 1000))


@pytest.mark.parametrize(("values", "expected"), [(ct(), False), (smooth(), True)])
def test_another_modality_is_implausible(values, expected):
    ((level, text),) = texts(volume(values), ScanRanges(like_ct=expected))
    assert level == "implausible" and "look" in text and "CT" in text
    assert texts(volume(values), ScanRanges(like_ct=not expected)) == []
    assert texts(volume(values), ScanRanges()) == []


@pytest.mark.parametrize(
    ("factor", "levels"),
    [
        (1, []),
        (1.4, ["doubtful"] * 3),
        (10, ["implausible"] * 3),
        (0.1, ["implausible"] * 3),
    ],
)
def test_the_field_of_view_is_that_of_the_body_whatever_the_array_order(factor, levels):
    # Array axes to Left, Inferior, Posterior: lengths of 24, 20 and 16 mm.
    affine = np.eye(4)
    affine[:3, :3] = factor * np.array([[-1, 0, 0], [0, 0, -1], [0, -1, 0]])
    values = np.moveaxis(smooth(), 2, 0)
    ranges = ScanRanges(field_of_view_mm=((18, 22), (14, 18), (22, 26)))  # z, y, x
    remarks = scan_remarks([Volume(values, Grid(values.shape, affine))], ranges)
    assert [each.level for each in remarks] == levels
    if factor == 10:
        assert remarks[0].text == "the scan is 200 mm long from top to bottom: expected 18–22 mm"


def test_each_image_of_a_scan_is_named():
    remarks = scan_remarks([volume(smooth()), volume(np.zeros(SHAPE))], None)
    assert [each.text for each in remarks] == [
        "all voxels of image 2 of the scan have the same value, 0"
    ]
