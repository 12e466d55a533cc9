"""Boxes of localization: found, cropped and pasted in the geometry of the scan."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import (
    coarse_spacing,
    crop,
    crop_grid,
    found_box,
    paste,
    usual_box,
)
from napari_hyperspace.nets.base.localization import Localization
from tests.scans import rotated_affine


def test_first_pass_is_no_finer_than_the_second() -> None:
    assert coarse_spacing(Localization(3.0, 4.0, (30, 30, 30)), (5, 1, 3.5)) == (5, 3, 3.5)


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(5, 40)] * 3),
    steps=st.tuples(*[st.floats(0.4, 6)] * 3),
    corner=st.tuples(*[st.floats(0, 0.9)] * 3),
    size=st.tuples(*[st.floats(0.1, 1)] * 3),
)
def test_the_box_contains_what_was_found_and_the_margin(shape, steps, corner, size) -> None:
    localization = Localization(3.0, 2.0, (20, 20, 20))
    array = np.zeros(shape, np.uint8)
    start = [int(c * n) for c, n in zip(corner, shape, strict=True)]
    # Nothing is thinner than the first spacing: labels of the first pass come from a coarse grid.
    thick = [max(1, int(3.0 / step)) for step in steps]
    stop = [
        min(n, a + max(t, int(s * n))) for a, n, s, t in zip(start, shape, size, thick, strict=True)
    ]
    start = [max(0, b - max(b - a, t)) for a, b, t in zip(start, stop, thick, strict=True)]
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 1
    labels = Volume(array, Grid.from_spacing(shape, steps))
    box = found_box(localization, labels)
    assert box is not None
    for part, a, b, n, step in zip(box, start, stop, shape, labels.spacing_mm, strict=True):
        assert part.start <= max(0, a - int(2.0 / step)) and part.stop >= min(n, b)
        assert 0 <= part.start < part.stop <= n
    np.testing.assert_array_equal(paste(array[box], box, shape), array)
    part = crop(labels, box)
    np.testing.assert_allclose(
        part.grid.index_to_mm((0, 0, 0)), labels.grid.index_to_mm([each.start for each in box])
    )
    assert part.grid == crop_grid(labels.grid, box)


def test_the_usual_box_is_given_in_array_order() -> None:
    grid = Grid((41, 30, 53), rotated_affine((1.1, 2.0, 0.7), angle=0))
    box = usual_box(Localization(4.0, 5.0, (10.0, 1000.0, 21.0)), grid)
    canonical = grid.orientation.values_to_canonical([each.stop - each.start for each in box])
    steps = grid.orientation.values_to_canonical(grid.spacing_mm)
    sizes = grid.orientation.values_to_canonical(grid.shape)
    assert canonical == (round(10 / steps[0]), sizes[1], round(21 / steps[2]))
