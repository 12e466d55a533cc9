from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.gui.models.scales import Scale
from napari_hyperspace.gui.models.spacings import (
    coarse_preview_spacing,
    curve_spacings,
    first_spacing,
    mean_spacing,
    spacing_notes,
)

CUBE = ((0.8, 4.0),) * 3


@pytest.mark.parametrize(
    ("trained", "native", "expected"),
    [
        (CUBE, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        (CUBE, (0.7, 0.7, 0.7), (0.8, 0.8, 0.8)),
        (CUBE, (6.5, 0.69, 0.69), (4.0, 0.8, 0.8)),
        (CUBE, (1.01, 1.0, 0.98), (1.0, 1.0, 1.0)),
        (None, (5.0, 0.7, 0.7), (5.0, 0.7, 0.7)),
        (((0.5, 2.0), (0.5, 2.0)), (5.0, 0.3, 3.0), (5.0, 0.5, 2.0)),  # a 2-D model
    ],
)
def test_first_spacing(trained, native, expected):
    assert first_spacing(trained, native) == expected


def test_the_curve_keeps_the_proportions():
    points = curve_spacings(Scale(0.4, 8.0), (3.0, 1.0, 1.5))
    means = [mean_spacing(point) for point in points]
    assert means[0] == pytest.approx(0.4)
    assert means[-1] == pytest.approx(8.0)
    np.testing.assert_allclose(np.diff(np.log(means)), np.log(20) / 39)
    for z, y, x in points:
        assert (z / y, x / y) == pytest.approx((3.0, 1.5))


def test_spacing_notes():
    assert spacing_notes((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), CUBE) == ()
    assert spacing_notes((0.79999,) * 3, (0.79999,) * 3, CUBE) == ()  # rounded in a header
    (outside,) = spacing_notes((1.0, 6.0, 1.0), (1.0, 6.0, 1.0), CUBE)
    assert "0.8–4 mm along y: extrapolated" in outside
    (clamped,) = spacing_notes((6.0, 6.0, 6.0), (6.0, 6.0, 6.0), CUBE, "clamp")
    assert "0.8–4 mm: the nearest" in clamped
    (skipped,) = spacing_notes((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), CUBE)
    assert "two voxels along z:" in skipped
    (skipped,) = spacing_notes((3.0, 3.0, 3.0), (1.0, 1.0, 1.0), CUBE)
    assert "two voxels:" in skipped
    (finer,) = spacing_notes((1.0, 1.0, 1.0), (5.0, 1.0, 1.0), None)
    assert "Finer than the scan along z" in finer


def test_coarse_spacing_stays_in_the_trained_range():
    assert coarse_preview_spacing((1.0, 3.0, 5.0), CUBE) == (2.0, 4.0, 5.0)
    assert coarse_preview_spacing((1.0, 3.0, 5.0), None) == (2.0, 6.0, 10.0)
