"""Boxes of localization: found, cropped and pasted in the geometry of the scan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import (
    Finding,
    below_the_top,
    coarse_spacing,
    crop,
    crop_grid,
    find,
    found_box,
    implausible,
    inside,
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


CHECKED = Localization(4.0, 8.0, (140.0, 190.0, 150.0), (600.0, 2000.0), 180.0)
BOX = (slice(0, 1), slice(0, 1), slice(0, 1))


@pytest.mark.parametrize(
    ("extent", "volume", "share", "is_cut", "reason"),
    [
        ((150, 180, 140), 1300, 0.9, False, ""),
        ((60, 180, 140), 300, 0.9, True, ""),  # a slab of a brain
        ((60, 180, 140), 300, 0.9, False, "a volume of 300 ml"),
        ((150, 180, 140), 2100, 0.9, True, "a volume of 2100 ml"),
        ((228, 180, 140), 1500, 0.9, True, "something 228 mm long"),
        ((150, 180, 190), 1500, 0.9, False, "something 190 mm long"),
        ((150, 180, 140), 1300, 0.4, False, "several separate parts"),
    ],
)
def test_what_was_found_must_be_plausible(extent, volume, share, is_cut, reason) -> None:
    problem = implausible(CHECKED, Finding(BOX, extent, volume, share, is_cut))
    assert reason in problem and bool(reason) == bool(problem)


def test_nothing_is_checked_unless_the_model_asks_for_it() -> None:
    unchecked = Localization(4.0, 8.0, (140.0, 190.0, 150.0))
    assert not implausible(unchecked, None)
    assert not implausible(unchecked, Finding(BOX, (999, 999, 999), 9e9, 0.1, False))
    assert implausible(CHECKED, None) == "nothing was found"


def test_a_finding_is_measured_in_canonical_order() -> None:
    array = np.zeros((20, 30, 25), np.uint8)
    array[4:10, 0:16, 5:15] = 1
    array[15:17, 25:27, 20:22] = 2
    affine = np.array([[0.0, -2, 0, 0], [0, 0, 3, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    finding = find(Localization(2.0, 0.0, (30, 30, 30)), Volume(array, Grid(array.shape, affine)))
    assert finding is not None
    # The axes of the array: superior in 1 mm, left in 2 mm, anterior in 3 mm.
    assert finding.extent_mm == (6, 30, 32)
    assert finding.volume_ml == pytest.approx(6 * 16 * 10 * 6 / 1000)
    assert finding.share == pytest.approx(960 / 968)
    assert finding.is_cut


@pytest.mark.parametrize("upside_down", [False, True])
def test_the_part_below_the_top_of_the_head(upside_down: bool) -> None:
    """Air, then a head of 150 mm and a neck: 100 mm from its top are kept, whatever the axes."""
    rng = np.random.default_rng(2)
    head = np.abs(rng.normal(0, 0.02, (40, 44, 125)))
    head[8:32, 6:38, 25:] = 1.0
    step = -2.0 if upside_down else 2.0  # the last axis goes down, or up
    array = head[..., ::-1] if upside_down else head
    affine = np.diag([4.0, 4.0, -step, 1.0])
    box = below_the_top(
        Localization(4.0, 8.0, (140, 190, 150), None, 100.0),
        Volume(array.astype(np.float32), Grid(array.shape, affine)),
    )
    assert box is not None and box[:2] == (slice(0, 40), slice(0, 44))
    kept = np.zeros(125, bool)
    kept[box[2]] = True
    kept = kept[::-1] if upside_down else kept
    first, last = np.flatnonzero(kept)[[0, -1]]
    assert 23 <= first <= 25 and last == first + 49 and kept.sum() == 50


def test_nothing_is_left_out_below_a_low_top() -> None:
    array = np.zeros((30, 30, 30), np.float32)
    grid = Grid.from_spacing(array.shape, (4, 4, 4))
    assert below_the_top(CHECKED, Volume(array, grid)) is None  # no head
    array[1:, 5:25, 5:25] = 1
    assert below_the_top(CHECKED, Volume(array, grid)) is None  # 180 mm are more than there is
    low = Localization(4.0, 8.0, (140, 190, 150), (1, 2))
    assert below_the_top(low, Volume(array, grid)) is None


def test_a_box_of_a_crop_is_a_box_of_the_whole() -> None:
    outer = (slice(3, 20), slice(0, 9), slice(5, 7))
    assert inside(outer, (slice(1, 4), slice(2, 9), slice(0, 2))) == (
        slice(4, 7),
        slice(2, 9),
        slice(5, 7),
    )
