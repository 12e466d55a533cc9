"""Refinement of a box: where it is, what it takes, and that it can be taken back."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters.layers import take
from napari_hyperspace.gui.adapters.regions import rectangle_box
from napari_hyperspace.gui.models.correction import DRAW_HINT


@pytest.fixture
def box(controller, result, qtbot):
    found = controller.corrections.box
    qtbot.waitUntil(lambda: controller.structures.layer is result)
    found.set_active(True)
    return found


def rectangle(viewer, axis, at=6.0, low=2.0, high=9.0):
    """Draw a rectangle in a plane across an axis."""
    corners = []
    for a, b in ((low, low), (low, high), (high, high), (high, low)):
        place = [a, b]
        place.insert(axis, at)
        corners.append(place)
    viewer.layers[-1].add_rectangles([corners])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rectangle_in_any_plane_is_as_deep_as_wide_around_its_slice(controller, box, axis):
    box.draw()
    rectangle(controller.viewer, axis)
    controller.viewer.dims.set_point(0, 1.0)  # the user has scrolled on
    source = take(controller.viewer.layers["scan"])
    found = rectangle_box(controller.viewer, source, 0.0)
    sides = [each.stop - each.start for each in found]
    assert sides[axis] in (7, 8) and sum(sides) in (21, 22)
    assert (found[axis].start + found[axis].stop) / 2 == pytest.approx(6.5, abs=0.5)
    deep = rectangle_box(controller.viewer, source, 4.0)
    assert deep[axis].stop - deep[axis].start in (4, 5)
    assert [deep[i] for i in range(3) if i != axis] == [found[i] for i in range(3) if i != axis]


def test_the_box_is_refined_as_one_step_of_undo_and_nothing_else_changes(
    controller, box, result, qtbot, view
):
    assert box.state.spacing_mm == 1.0  # half of that of the labels
    assert box.state.estimate == DRAW_HINT and not box.state.can_start
    box.draw()
    rectangle(controller.viewer, 0)
    qtbot.waitUntil(lambda: box.is_idle and "about" in box.state.estimate)
    assert box.state.can_start
    before = result.data.copy()
    box.start()
    qtbot.waitUntil(lambda: not controller.running)
    source = take(controller.viewer.layers["scan"])
    place = rectangle_box(controller.viewer, source, 0.0)
    outside = np.ones(before.shape, bool)
    outside[place] = False
    np.testing.assert_array_equal(result.data[outside], before[outside])
    assert (result.data != before).any()
    assert "have changed" in view.messages[-1][0] and view.messages[-1][1] == "good"
    result.undo()
    np.testing.assert_array_equal(result.data, before)


def test_what_the_canvas_shows_can_be_refined(controller, box, result, qtbot):
    box.choose_where("view")
    qtbot.waitUntil(lambda: box.is_idle and "mm · about" in box.state.estimate)
    box.start()
    qtbot.waitUntil(lambda: not controller.running)
    assert len(result._undo_history) == 1


def test_painting_meanwhile_stops_the_refinement(controller, box, result, qtbot, services, view):
    box.choose_where("view")
    services.gate = threading.Event()
    box.start()
    qtbot.waitUntil(lambda: controller.running)
    before = result.data.copy()
    result.paint((1, 1, 1), 2)
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    before[1, 1, 1] = 2
    np.testing.assert_array_equal(result.data, before)
    assert "changed during the refinement" in view.messages[-1][0]


def test_labels_of_another_model_are_refused(controller, box, result, qtbot, view):
    import pandas as pd

    result.features = pd.DataFrame({"index": [1], "name": ["another name"]})
    box.choose_where("view")
    box.start()
    qtbot.waitUntil(lambda: not controller.running)
    assert "not made by this model" in view.messages[-1][0]
    assert len(result._undo_history) == 0


def test_without_labels_it_says_what_to_do(controller, view):
    found = controller.corrections.box
    found.set_active(True)
    assert "Run a segmentation first" in found.state.estimate
    found.start()
    assert "Run a segmentation first" in view.messages[-1][0]


def test_without_a_scan_there_is_nothing_to_draw_on(controller, view):
    controller.viewer.layers.clear()
    controller.corrections.box.draw()
    assert "no scan" in view.messages[-1][0]


def test_a_rectangle_outside_of_the_scan_is_explained(controller, box, viewer):
    box.draw()
    rectangle(viewer, 0, low=40, high=50)
    with pytest.raises(HyperspaceError, match="outside the scan"):
        rectangle_box(viewer, take(viewer.layers["scan"]), 0.0)
    assert "outside the scan" in box.state.estimate and not box.state.can_start
