"""From strokes to a rough mask, voxels inside and outside, and the part that the model sees."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.gui.adapters.painting.hints import CONTEXT_MM, Hints
from napari_hyperspace.gui.adapters.painting.strokes import Stroke, flat_indices

SHAPE = (60, 80, 90)
GRID = Grid(SHAPE, np.diag([2.0, 1.0, 1.0, 1.0]))


def voxels(*boxes):
    mask = np.zeros(SHAPE, bool)
    for box in boxes:
        mask[box] = True
    return flat_indices(np.argwhere(mask), SHAPE)


def stroke(gained=None, lost=None):
    return Stroke(gained or {}, lost or {}, (object(), object()))


def make(labels, hints, strokes, pending=None, protect=False):
    part = hints.part(GRID, labels, strokes, strokes if pending is None else pending, protect)
    whole = {}
    for name in ("present", "include", "exclude", "rough"):
        values = getattr(part, name)
        if values is not None:
            whole[name] = np.zeros(SHAPE, values.dtype)
            whole[name][part.seen] = values
    return part, whole


SQUARE = (30, slice(40, 52), slice(40, 50))


def test_a_painted_slice_is_a_rough_mask_with_its_context():
    labels = np.zeros(SHAPE, np.uint8)
    labels[SQUARE] = 3
    hints, one = Hints(rough=True), stroke({3: voxels(SQUARE)})
    hints.outline(one, labels, 0)
    part, whole = make(labels, hints, [one])
    assert part.values == (3,) and part.kept is None and part.protect_others
    np.testing.assert_array_equal(whole["rough"], labels)
    np.testing.assert_array_equal(whole["present"], labels)
    assert not part.include.any() and not part.exclude.any()
    steps = round(CONTEXT_MM / 2)
    assert part.seen == (slice(30 - steps, 31 + steps), slice(24, 68), slice(24, 66))


def test_the_context_through_slices_grows_with_a_wide_structure():
    wide = (30, slice(10, 70), slice(15, 75))
    labels = np.zeros(SHAPE, np.uint8)
    labels[wide] = 1
    hints, one = Hints(rough=True), stroke({1: voxels(wide)})
    hints.outline(one, labels, 0)
    part, _ = make(labels, hints, [one])
    assert part.seen == (slice(15, 46), slice(0, 80), slice(0, 90))


def test_a_slice_that_was_painted_on_again_counts_as_it_is_now():
    """The answer came between two strokes: the second slice is all that the user sees there."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[SQUARE] = 3
    hints, one = Hints(rough=True), stroke({3: voxels(SQUARE)})
    hints.outline(one, labels, 0)
    labels[25:36, 42:50, 42:48] = 3  # the answer
    more = (33, slice(50, 55), slice(42, 48))
    labels[more] = 3
    two = stroke({3: voxels(more)})
    hints.outline(two, labels, 0)
    _, whole = make(labels, hints, [one, two], [two])
    expected = np.zeros(SHAPE, np.uint8)
    expected[SQUARE] = 3
    expected[33, 42:55, 42:48] = 3
    np.testing.assert_array_equal(whole["rough"], expected)


def test_an_edit_that_napari_has_only_announced_counts():
    hints, one = Hints(rough=True), stroke({3: voxels(SQUARE)})
    hints.outline(one, np.zeros(SHAPE, np.uint8), 0)
    labels = np.zeros(SHAPE, np.uint8)
    labels[SQUARE] = 3
    _, whole = make(labels, hints, [one])
    np.testing.assert_array_equal(whole["rough"], labels)


def test_what_is_erased_is_outside_and_no_longer_rough():
    labels = np.zeros(SHAPE, np.uint8)
    labels[SQUARE] = 3
    hints, one = Hints(rough=True), stroke({3: voxels(SQUARE)})
    hints.outline(one, labels, 0)
    wrong = (30, slice(48, 52), slice(40, 50))
    labels[wrong] = 0
    two = stroke(lost={3: voxels(wrong)})
    hints.outline(two, labels, 0)
    part, whole = make(labels, hints, [one, two], [two])
    assert part.values == (3,)
    np.testing.assert_array_equal(whole["rough"], labels)
    assert (whole["exclude"][wrong] == 3).all()
    assert np.count_nonzero(whole["exclude"]) == 40


def test_a_structure_that_was_there_before_is_rough_as_a_whole():
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:24, 30:40, 30:40] = 3
    labels[26, 30:40, 30:40] = 3
    hints, one = Hints(rough=True), stroke({3: voxels((26, slice(30, 40), slice(30, 40)))})
    hints.outline(one, labels, 0)
    _, whole = make(labels, hints, [one])
    np.testing.assert_array_equal(whole["rough"], labels)


def test_exact_strokes_are_inside_or_outside_and_the_later_one_counts():
    labels = np.zeros(SHAPE, np.uint8)
    labels[20:40, 20:60, 20:60] = 5
    added, erased = (30, slice(58, 64), 40), (30, slice(56, 60), 40)
    labels[added], labels[erased] = 5, 0
    one, two = stroke({5: voxels((30, slice(60, 64), 40))}), stroke(lost={5: voxels(erased)})
    part, whole = make(labels, Hints(), [one, two])
    assert part.values == (5,) and part.rough is None and not part.protect_others
    assert np.array_equal(np.flatnonzero(whole["include"]), one.gained[5])
    assert np.array_equal(np.flatnonzero(whole["exclude"]), two.lost[5])
    again = stroke({5: two.lost[5]})
    _, whole = make(labels, Hints(), [one, two, again])
    assert not whole["exclude"].any()
    assert np.count_nonzero(whole["include"]) == 8


def test_of_a_large_structure_only_what_is_near_the_strokes_changes():
    labels = np.full(SHAPE, 2, np.uint8)
    labels[30, 40:44, 40:44] = 0
    part, _ = make(labels, Hints(), [stroke(lost={2: voxels((30, slice(40, 44), slice(40, 44)))})])
    assert part.seen == (slice(14, 47), slice(8, 76), slice(8, 76))
    assert part.kept == (slice(8, 25), slice(16, 52), slice(16, 52))
    small = np.zeros(SHAPE, np.uint8)
    small[29:32, 38:46, 38:46] = 2
    part, _ = make(small, Hints(), [stroke({2: voxels((30, slice(40, 44), slice(40, 44)))})])
    assert part.seen == (slice(21, 40), slice(22, 62), slice(22, 62))
    assert part.kept == (slice(0, 19), slice(0, 40), slice(0, 40))


def test_painting_over_another_structure_segments_the_new_one():
    labels = np.full(SHAPE, 2, np.uint8)
    labels[SQUARE] = 9
    part, whole = make(labels, Hints(), [stroke({9: voxels(SQUARE)}, {2: voxels(SQUARE)})])
    assert part.values == (9,)
    assert (whole["exclude"][SQUARE] == 2).all()
    assert (whole["include"][SQUARE] == 9).all()


def test_nothing_painted_is_refused():
    with pytest.raises(HyperspaceError, match="nothing was painted"):
        Hints(rough=True).part(GRID, np.zeros(SHAPE, np.uint8), [], [stroke({1: voxels()})], False)
