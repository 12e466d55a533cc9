"""Structures segmented again around strokes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.api.corrections.strokes import (
    Strokes,
    answer_spacing,
    boxes_around,
    correct_steps,
)
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from tests.models import linear_model

SHAPE = (24, 20, 28)


@pytest.fixture
def scan() -> Volume:
    values = np.random.default_rng(0).normal(100, 20, SHAPE).astype(np.float32)
    return Volume(values, Grid(SHAPE, np.diag([1.0, 2.0, 1.5, 1.0])), "scan")


def strokes_of(scan: Volume, present, include=None, exclude=None, rough=None) -> Strokes:
    def volume(array) -> Volume:
        return scan.with_array(np.zeros(SHAPE, np.uint8) if array is None else array)

    kept = None if rough is None else volume(rough)
    return Strokes(volume(present), volume(include), volume(exclude), kept)


def boxed(box, value: int = 1) -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[box] = value
    return array


LARGE = (slice(6, 16), slice(5, 13), slice(8, 20))


def test_a_rough_mask_is_replaced_by_the_answer(scan: Volume) -> None:
    """The margin is positive in a part of what was painted, and where nothing was."""
    rough = boxed(LARGE, 3)
    model = linear_model(image=1.0, mask=0.5)
    result = run_to_end(correct_steps(scan, strokes_of(scan, rough, rough=rough), [3], model))
    normal = (scan.array - scan.array.mean(dtype=np.float64)) / scan.array.std(dtype=np.float64)
    expected = np.where(normal + 0.5 * (rough == 3) > 0, 3, 0)
    clear = np.abs(normal + 0.5 * (rough == 3)) > 1e-3
    assert np.array_equal(result.labels[clear], expected[clear])


def test_strokes_are_exact_whatever_the_model_says(scan: Volume) -> None:
    present = boxed(LARGE, 2)
    include, exclude = boxed((5, slice(4, 6), slice(3, 6)), 2), boxed((9, 7, slice(9, 14)), 2)
    present[include > 0], present[exclude > 0] = 2, 0
    for offset in (-5.0, 5.0):
        model = linear_model(offset=offset)
        strokes = strokes_of(scan, present, include, exclude)
        labels = run_to_end(correct_steps(scan, strokes, [2], model)).labels
        assert (labels[include > 0] == 2).all()
        assert (labels[exclude > 0] == 0).all()
        assert (labels == 2).sum() == (
            (include > 0).sum() if offset < 0 else labels.size - (exclude > 0).sum()
        )


def test_labels_change_in_the_kept_part_only(scan: Volume) -> None:
    present = boxed(LARGE, 1)
    include = boxed((8, 8, slice(9, 12)), 1)
    kept = (slice(4, 12), slice(0, 20), slice(5, 15))
    strokes = strokes_of(scan, present, include)
    result = run_to_end(
        correct_steps(scan, strokes, [1], linear_model(offset=-5.0), kept=kept, band_mm=2.0)
    )
    outside = np.ones(SHAPE, bool)
    outside[kept] = False
    assert np.array_equal(result.labels[outside], present[outside])
    assert (result.labels[6:10, 5:13, 8:13] == 1).sum() == 3  # the strokes


def test_lost_voxels_go_to_their_neighbors_and_erased_ones_to_none(
    scan: Volume,
) -> None:
    present = boxed((slice(None), slice(None), slice(0, 14)), 1)
    present[:, :, 14:] = 2
    erased = boxed((slice(8, 10), slice(8, 10), slice(12, 14)), 1)
    present[erased > 0] = 0
    strokes = strokes_of(scan, present, exclude=erased)
    labels = run_to_end(correct_steps(scan, strokes, [1], linear_model(offset=-5.0))).labels
    assert np.array_equal(labels == 0, erased > 0)
    assert np.array_equal(labels == 2, erased == 0)


def test_other_structures_can_be_protected(scan: Volume) -> None:
    present = boxed(LARGE, 1)
    present[6:16, 5:13, 20:24] = 4
    strokes, grows = strokes_of(scan, present), linear_model(offset=5.0)
    grown = run_to_end(correct_steps(scan, strokes, [1], grows)).labels
    assert (grown == 1).all()
    kept = run_to_end(correct_steps(scan, strokes, [1], grows, protect_others=True)).labels
    assert np.array_equal(kept == 4, present == 4)
    assert np.array_equal(kept == 1, present != 4)


def test_a_structure_of_which_nothing_is_left_is_removed(scan: Volume) -> None:
    erased = boxed(LARGE, 1)
    strokes = strokes_of(scan, np.zeros(SHAPE, np.uint8), exclude=erased)
    assert not run_to_end(correct_steps(scan, strokes, [1], linear_model(offset=5.0))).labels.any()


def test_a_small_structure_is_seen_as_a_whole_and_a_large_one_near_the_strokes() -> None:
    grid = Grid((200, 200, 100), np.diag([1.0, 1.0, 2.0, 1.0]))
    hint = (slice(90, 100), slice(95, 96), slice(40, 45))
    seen, kept = boxes_around(grid, hint, hint, context_mm=16, changed_mm=20)
    assert seen == (slice(74, 116), slice(79, 112), slice(32, 53))
    assert [(each.start, each.stop) for each in kept] == [(0, 42), (0, 33), (0, 21)]
    whole = (slice(10, 190), slice(20, 180), slice(0, 100))
    seen, kept = boxes_around(grid, hint, whole, context_mm=16, changed_mm=20)
    assert seen == (slice(54, 136), slice(59, 132), slice(22, 63))
    assert kept == (slice(16, 66), slice(16, 57), slice(8, 33))


def test_the_spacing_of_an_answer_fits_scan_model_and_time() -> None:
    model = linear_model()
    grid = Grid((100, 100, 20), np.diag([-0.5, -0.5, -3.0, 1.0]))
    assert answer_spacing(grid, model, 1.0, 10**6) == (3.0, 1.0, 1.0)
    z, y, x = answer_spacing(grid, model, 1.0, 20_000)
    assert (z, y) == (3.0, x)
    assert 50 * 50 * 60 / (z * y * x) <= 20_000 < 50 * 50 * 60 / (z * y * x) * 2**0.5
    model.trained_range_mm = ((0.5, 2.0), (1.5, 2.0), (0.5, 2.0))
    assert answer_spacing(grid, model, 1.0, 10**6) == (2.0, 1.5, 1.0)
