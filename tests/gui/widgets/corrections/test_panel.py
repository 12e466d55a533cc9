"""The section Correct by mouse."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Labels
from qtpy.QtWidgets import QAbstractButton

from napari_hyperspace.gui.adapters.layers import RESULT_KEY
from napari_hyperspace.gui.models.correction import AdaptState, PaintingState

pytestmark = pytest.mark.usefixtures("no_fronts")

BUTTONS = ("paint", "fix", "draw", "refine", "adapt", "before", "after", "keep", "discard")


@pytest.fixture
def opened(dock, child, click, qtbot):
    """The dock with the section expanded, once the models are known."""
    click(child(dock, "correct.toggle"))
    painting = dock.controller.corrections.painting
    painting._rest_s = 0.0
    qtbot.waitUntil(lambda: painting.state.possible is not None, timeout=60_000)
    return dock


@pytest.fixture
def result(viewer):
    """A result on the scan."""
    values = np.zeros((12, 14, 16), np.uint8)
    values[3:8, 4:9, 4:8] = 1
    layer = Labels(values, name="result", units="mm", metadata={RESULT_KEY: {"model": "fake"}})
    viewer.add_layer(layer)
    layer.brush_size = 1
    return layer


def hint(dock, child) -> str:
    return child(dock, "correct.hint").text()


def test_the_section_is_collapsed_at_first_and_says_what_it_does(dock, child, click, qtbot):
    assert not child(dock, "correct.paint").isVisible()
    click(child(dock, "correct.toggle"))
    assert child(dock, "correct.paint").isVisible()
    qtbot.waitUntil(lambda: "Paint structure" in hint(dock, child), timeout=60_000)


def test_every_control_has_a_name_and_a_description(opened, child):
    controls = [child(opened, f"correct.{name}") for name in BUTTONS]
    controls += [
        child(opened, f"correct.{name}")
        for name in ("spacing", "model", "where", "box_spacing", "depth")
    ]
    for control in controls:
        assert control.accessibleName() and control.accessibleDescription() and control.toolTip()


def test_painting_by_button_and_brush(opened, child, click, viewer, qtbot):
    paint, fix = child(opened, "correct.paint"), child(opened, "correct.fix")
    click(paint)
    painting = opened.controller.corrections.painting
    layer = painting.layer
    assert paint.isChecked() and not fix.isChecked()
    assert "one or a few slices" in hint(opened, child)
    layer.brush_size = 1
    with layer.block_history():
        layer.paint((6, 7, 8), 1)
    qtbot.waitUntil(lambda: "Answered" in hint(opened, child), timeout=60_000)
    assert (layer.data > 0).sum() == 27
    click(paint)
    assert not paint.isChecked() and layer.mode == "pan_zoom"


def test_the_other_button_changes_what_strokes_mean(opened, child, click, viewer, result):
    viewer.layers.selection.active = result
    paint, fix = child(opened, "correct.paint"), child(opened, "correct.fix")
    click(fix)
    painting = opened.controller.corrections.painting
    assert fix.isChecked() and painting.layer is result
    assert "Correcting label 1" in hint(opened, child)
    click(paint)
    assert paint.isChecked() and not fix.isChecked() and painting.layer is not result
    click(child(opened, "correct.toggle"))
    assert painting.layer is None


def test_the_spacing_of_answers_is_taken(opened, child, click, qtbot):
    child(opened, "correct.spacing").setValue(2.0)
    painting = opened.controller.corrections.painting
    assert painting.state.finest_mm == 2.0
    click(child(opened, "correct.paint"))
    with painting.layer.block_history():
        painting.layer.paint((6, 7, 8), 1)
    qtbot.waitUntil(lambda: "Answered at 2 mm" in hint(opened, child), timeout=60_000)


def test_without_a_model_the_buttons_are_off_and_the_hint_says_why(
    dock, child, click, services, qtbot
):
    services.refiner = None
    click(child(dock, "correct.toggle"))
    qtbot.waitUntil(lambda: "none is installed" in hint(dock, child), timeout=60_000)
    assert not child(dock, "correct.paint").isEnabled()
    assert not child(dock, "correct.fix").isEnabled()


def test_the_chooser_of_models_is_shown_if_there_are_several(opened, child):
    panel, chooser = child(opened, "correct"), child(opened, "correct.model")
    assert not chooser.isVisible()
    panel.show_painting(PaintingState(models=(("a", "one"), ("b", "two")), model="b"))
    assert chooser.isVisible() and chooser.currentText() == "two"


def test_a_box_is_refined_by_buttons(opened, child, click, viewer, result, qtbot):
    refine, where = child(opened, "correct.refine"), child(opened, "correct.where")
    estimate = child(opened, "correct.estimate")
    qtbot.waitUntil(lambda: "Press Draw" in estimate.text())
    assert not refine.isEnabled()
    click(child(opened, "correct.draw"))
    layer = viewer.layers.selection.active
    assert layer.mode == "add_rectangle"
    corners = [[6, 2, 2], [6, 2, 10], [6, 10, 10], [6, 10, 2]]
    layer.add_rectangles([np.array(corners, float)])
    qtbot.waitUntil(lambda: "about" in estimate.text())
    assert where.currentText() == "in a rectangle"
    child(opened, "correct.box_spacing").setValue(1.5)
    child(opened, "correct.depth").setValue(4)
    qtbot.waitUntil(refine.isEnabled)
    before = result.data.copy()
    click(refine)
    qtbot.waitUntil(lambda: opened.controller.running)
    qtbot.waitUntil(lambda: not opened.controller.running)
    changed = np.argwhere(result.data != before)
    assert len(changed) and changed[:, 0].min() >= 4 and changed[:, 0].max() <= 8
    assert opened.controller.corrections.box.state.spacing_mm == 1.5


def test_an_adapted_model_is_compared_and_discarded_by_buttons(
    opened, child, click, viewer, result, qtbot
):
    adapt = child(opened, "correct.adapt")
    qtbot.waitUntil(adapt.isEnabled)
    click(adapt)
    keep = child(opened, "correct.keep")
    qtbot.waitUntil(keep.isVisible)
    assert not adapt.isVisible() and "before" in child(opened, "correct.adapt_text").text()
    click(child(opened, "correct.before"))
    assert child(opened, "correct.before").isChecked()
    assert not child(opened, "correct.after").isChecked()
    assert not viewer.layers["adapted · scan"].data.any()
    click(child(opened, "correct.after"))
    assert viewer.layers["adapted · scan"].data.any()
    click(child(opened, "correct.discard"))
    assert "adapted · scan" not in viewer.layers and adapt.isVisible()


def test_a_kept_model_is_chosen_in_the_dock(opened, child, click, viewer, result, services, qtbot):
    services.added_models = lambda: {name: None for name in services.kept}
    qtbot.waitUntil(child(opened, "correct.adapt").isEnabled)
    click(child(opened, "correct.adapt"))
    qtbot.waitUntil(child(opened, "correct.keep").isVisible)
    click(child(opened, "correct.keep"))
    qtbot.waitUntil(lambda: child(opened, "model").currentText() == "fake adapted")


def test_texts_are_shown_as_they_are(opened, child):
    panel = child(opened, "correct")
    panel.show_adapt(AdaptState(text="<b>name</b>", waiting=True, shows_after=False))
    assert child(opened, "correct.adapt_text").text() == "<b>name</b>"
    shown = [b for b in panel.findChildren(QAbstractButton) if b.isVisible() and b.isChecked()]
    assert child(opened, "correct.before") in shown


@pytest.mark.parametrize("text", ["short", "word " * 24])
def test_a_long_hint_covers_nothing(opened, child, qtbot, text):
    panel, hint = child(opened, "correct"), child(opened, "correct.hint")
    panel.show_painting(PaintingState(hint=text))
    qtbot.wait(20)
    assert hint.height() >= hint.heightForWidth(hint.width())
    assert hint.geometry().bottom() < child(opened, "correct.where").geometry().top()
