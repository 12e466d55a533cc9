"""Strokes on a Labels layer: what they changed, undoing, and answers as steps of undo."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("napari")
from napari.layers import Labels

from napari_hyperspace.gui.adapters.painting.strokes import PaintedLayer

SHAPE = (6, 8, 9)


class Followed:
    """A painted layer, and what it has reported."""

    def __init__(self, data=None):
        self.layer = Labels(np.zeros(SHAPE, np.uint8) if data is None else data)
        self.layer.brush_size = 1
        self.reported = []
        self.painted = PaintedLayer(
            self.layer,
            stroked=lambda stroke: self.reported.append(stroke),
            pressed=lambda: self.reported.append("pressed"),
            released=lambda: self.reported.append("released"),
            undone=lambda: self.reported.append("undone"),
        )

    def drag(self, places, value):
        """Paint several places as one stroke, as a drag of the mouse does."""
        with self.layer.block_history():
            for place in places:
                self.layer.paint(place, value)

    def cells(self, voxels):
        return {tuple(int(i) for i in np.unravel_index(each, SHAPE)) for each in voxels}


@pytest.fixture
def followed():
    return Followed()


def test_a_drag_is_one_stroke(followed):
    followed.drag([(2, 3, 4), (2, 3, 5), (2, 3, 4)], 7)
    (stroke,) = followed.reported
    assert set(stroke.gained) == {7} and not stroke.lost
    assert followed.cells(stroke.gained[7]) == {(2, 3, 4), (2, 3, 5)}
    assert followed.painted.strokes == [stroke]


def test_the_eraser_reports_what_was_there():
    data = np.zeros(SHAPE, np.uint8)
    data[2, 3, 3:6], data[2, 4, 3:6] = 5, 6
    followed = Followed(data)
    followed.drag([(2, 3, 4), (2, 4, 4), (2, 5, 4)], 0)
    (stroke,) = followed.reported
    assert not stroke.gained
    assert followed.cells(stroke.lost[5]) == {(2, 3, 4)}
    assert followed.cells(stroke.lost[6]) == {(2, 4, 4)}


def test_painting_over_another_structure_is_both():
    data = np.full(SHAPE, 3, np.uint8)
    followed = Followed(data)
    followed.layer.paint((1, 1, 1), 4)
    followed.layer.data_setitem((np.array([1, 1]), np.array([2, 3]), np.array([2, 2])), [4, 3])
    first, second = followed.reported
    assert followed.cells(first.gained[4]) == followed.cells(first.lost[3]) == {(1, 1, 1)}
    assert followed.cells(second.gained[4]) == followed.cells(second.lost[3]) == {(1, 2, 2)}


def test_a_stroke_that_changes_nothing_is_none(followed):
    followed.drag([(2, 3, 4)], 0)
    with followed.layer.block_history():
        followed.layer.paint((1, 1, 1), 2)
        followed.layer.paint((1, 1, 1), 0)
    assert followed.reported == []


def test_an_answer_is_one_step_of_undo_and_no_stroke(followed):
    followed.drag([(2, 3, 4), (2, 3, 5)], 7)
    painted = followed.layer.data.copy()
    answer = np.full((3, 4, 4), 7, np.uint8)
    box = (slice(1, 4), slice(2, 6), slice(3, 7))
    assert followed.painted.write(box, answer) == 3 * 4 * 4 - 2
    assert (followed.layer.data[box] == 7).all() and followed.layer.data.sum() == 7 * 48
    assert len(followed.reported) == 1
    followed.layer.undo()
    np.testing.assert_array_equal(followed.layer.data, painted)
    assert len(followed.painted.strokes) == 1 and followed.reported[1:] == ["undone"]
    followed.layer.redo()
    assert (followed.layer.data[box] == 7).all()
    followed.layer.undo()
    followed.layer.undo()
    assert not followed.layer.data.any() and followed.painted.strokes == []


def test_strokes_that_are_undone_and_painted_over_are_forgotten(followed):
    followed.drag([(1, 1, 1)], 1)
    followed.drag([(2, 2, 2)], 1)
    followed.layer.undo()
    first = followed.reported[0]
    assert followed.painted.strokes == [first]
    followed.layer.redo()
    assert len(followed.painted.strokes) == 2
    followed.layer.undo()
    followed.drag([(3, 3, 3)], 1)
    third = followed.reported[-1]
    assert followed.painted.strokes == [first, third]


def test_strokes_older_than_the_history_stay(followed):
    followed.drag([(0, 0, 0)], 1)
    limit = followed.layer._undo_history.maxlen
    for i in range(limit + 5):
        followed.drag([(2, i % 8, i // 8 % 9)], 1 + i // 72)
    assert len(followed.painted.strokes) == limit + 6
    followed.layer.undo()
    assert len(followed.painted.strokes) == limit + 5


def test_the_mouse_is_followed_and_left_alone_afterwards(followed):
    (callback,) = followed.layer.mouse_drag_callbacks[-1:]
    event = SimpleNamespace(type="mouse_press")
    steps = callback(followed.layer, event)
    next(steps)
    event.type = "mouse_move"
    next(steps)
    assert followed.reported == ["pressed"]
    event.type = "mouse_release"
    assert next(steps, None) is None
    assert followed.reported == ["pressed", "released"]
    followed.painted.close()
    assert callback not in followed.layer.mouse_drag_callbacks
    followed.drag([(1, 1, 1)], 1)
    assert followed.reported == ["pressed", "released"]
