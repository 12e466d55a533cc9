"""Strokes and their answers: in place, one step of undo each, the newest stroke first."""

from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Image, Labels
from scipy import ndimage

from napari_hyperspace.gui.adapters.layers import METADATA_KEY, to_layer_data, to_volume
from napari_hyperspace.gui.models.correction import FIRST_HINT, NO_REFINER, ROUGH_HINT
from tests.gui.correction_services import CorrectionFakes

pytestmark = pytest.mark.usefixtures("no_fronts")

LINE = [(6, 7, x) for x in (6, 7, 8)]


def grown(mask):
    return ndimage.binary_dilation(mask, np.ones((3, 3, 3)))


def test_a_rough_stroke_becomes_a_structure_and_undo_brings_it_back(
    painting, viewer, answered, drag
):
    painting.start("rough")
    layer = painting.layer
    assert layer.name == "painted · scan" and layer.mode == "paint"
    assert viewer.layers.selection.active is layer
    assert painting.state.meaning == "rough" and painting.state.hint == ROUGH_HINT
    layer.brush_size = 1
    drag(layer, LINE, 1)
    painted = layer.data.copy()
    answered()
    np.testing.assert_array_equal(layer.data, grown(painted))
    assert painting.state.hint.startswith("Answered at 1 mm in") and painting.state.tone == "good"
    layer.undo()
    np.testing.assert_array_equal(layer.data, painted)
    assert painting.state.hint == ROUGH_HINT
    layer.undo()
    assert not layer.data.any()
    assert len(layer._undo_history) == 0


def test_the_eraser_takes_away_and_it_stays_away(painting, answered, drag):
    painting.start("rough")
    layer = painting.layer
    layer.brush_size = 1
    drag(layer, LINE, 1)
    painted = layer.data.copy()
    answered()
    wrong = [(6, 6, 6), (6, 6, 7)]
    drag(layer, wrong, 0)
    answered()
    expected = grown(painted)
    for place in wrong:
        expected[place] = False
    np.testing.assert_array_equal(layer.data > 0, expected)


def test_several_structures_on_one_layer_do_not_take_from_each_other(painting, answered, drag):
    painting.start("rough")
    layer = painting.layer
    layer.brush_size = 1
    drag(layer, LINE, 1)
    answered()
    first = layer.data == 1
    drag(layer, [(6, 7, 10), (6, 7, 11)], 2)
    answered()
    np.testing.assert_array_equal(layer.data == 1, first)
    assert (layer.data == 2).sum() == 4 * 9 - (first[:, :, 9:] > 0).sum()


def test_a_newer_stroke_cancels_the_answer(painting, qtbot, services, answered, drag):
    painting.start("rough")
    qtbot.waitUntil(lambda: painting.is_idle, timeout=60_000)  # the model is ready
    layer, services.gate = painting.layer, threading.Event()
    layer.brush_size = 1
    drag(layer, LINE, 1)
    asked = len(services.answers)
    qtbot.waitUntil(lambda: len(services.answers) > asked)
    assert painting.state.busy
    drag(layer, [(6, 9, 7)], 1)
    both = layer.data > 0
    qtbot.waitUntil(lambda: services.cancelled > 0)
    services.gate.set()
    answered()
    np.testing.assert_array_equal(layer.data > 0, grown(both))
    assert len(layer._undo_history) == 3  # two strokes and one answer


def test_pressing_the_button_cancels_and_releasing_it_asks_again(
    painting, qtbot, services, answered, drag
):
    painting.start("rough")
    qtbot.waitUntil(lambda: painting.is_idle, timeout=60_000)
    layer, services.gate = painting.layer, threading.Event()
    layer.brush_size = 1
    drag(layer, LINE, 1)
    painted = layer.data.copy()
    asked = len(services.answers)
    qtbot.waitUntil(lambda: len(services.answers) > asked)
    painting._press()
    services.gate.set()
    qtbot.waitUntil(lambda: painting.is_idle, timeout=60_000)
    np.testing.assert_array_equal(layer.data, painted)
    painting._release()
    answered()
    np.testing.assert_array_equal(layer.data, grown(painted))


def test_a_stroke_that_is_undone_is_not_answered(painting, qtbot, services, drag):
    painting.start("rough")
    qtbot.waitUntil(lambda: painting.is_idle, timeout=60_000)
    layer, services.gate = painting.layer, threading.Event()
    layer.brush_size = 1
    drag(layer, LINE, 1)
    layer.undo()
    services.gate.set()
    qtbot.waitUntil(lambda: painting.is_idle, timeout=60_000)
    qtbot.wait(20)
    assert not layer.data.any() and not painting.state.busy


def test_strokes_on_a_result_are_exact(painting, result, viewer, answered, drag):
    """The model would grow the structure by a voxel; what was erased stays away."""
    viewer.layers.selection.active = result
    painting.start("exact")
    assert painting.layer is result and result.mode == "paint"
    assert "label 1" in painting.state.hint
    before = result.data.copy()
    erased = [(5, 6, 5), (5, 6, 6)]
    drag(result, erased, 0)
    answered()
    expected = grown((before == 1) & (result.data != 0) | (before == 1))
    for place in erased:
        assert result.data[place] == 0
        expected[place] = False
    np.testing.assert_array_equal(result.data == 1, expected)
    assert len(result._undo_history) == 2


def test_others_can_be_protected_by_napari_s_own_option(painting, result, viewer, answered, drag):
    viewer.layers.selection.active = result
    result.preserve_labels = True
    painting.start("exact")
    two = result.data == 2
    drag(result, [(9, 6, 6)], 1)
    answered()
    np.testing.assert_array_equal(result.data == 2, two)
    assert (result.data == 1).sum() > 100


def test_the_selected_structure_is_named(painting, result, viewer, controller, qtbot):
    import pandas as pd

    result.features = pd.DataFrame({"index": [1, 2], "name": ["front", "back"]})
    viewer.layers.selection.active = result
    painting.start("exact")
    assert painting.state.hint.startswith("Correcting front (1)")
    result.selected_label = 2
    assert painting.state.hint.startswith("Correcting back (2)")


def test_a_result_is_not_painted_on_roughly_but_a_layer_of_the_user_is(painting, result, viewer):
    viewer.layers.selection.active = result
    painting.start("rough")
    own = painting.layer
    assert own is not result
    painting.stop()
    viewer.layers.selection.active = own
    painting.start("rough")
    assert painting.layer is own
    assert len([one for one in viewer.layers if isinstance(one, Labels)]) == 2


def test_the_same_choice_again_puts_the_brush_down(painting, qtbot):
    painting.start("rough")
    layer = painting.layer
    painting.start("rough")
    assert painting.layer is None and layer.mode == "pan_zoom"
    assert painting.state.meaning == "" and painting.state.hint == FIRST_HINT
    painting.start("rough")
    painting.set_active(False)
    assert painting.state.meaning == ""


def test_removing_the_layer_ends_painting(painting, viewer, drag):
    painting.start("rough")
    layer = painting.layer
    drag(layer, LINE, 1)
    viewer.layers.remove(layer)
    assert painting.layer is None and painting.state.meaning == ""


def test_without_labels_or_on_no_scan_it_says_what_to_do(painting, viewer):
    painting.start("exact")
    assert "Run a segmentation first" in painting.state.hint
    elsewhere = Labels(np.zeros((4, 4, 4), np.uint8), name="elsewhere", units="mm")
    viewer.add_layer(elsewhere)
    painting.start("exact")
    assert "not on the grid of a scan" in painting.state.hint
    assert painting.state.meaning == "" and painting.layer is None


def test_an_error_of_an_answer_is_shown(painting, services, answered, drag):
    painting.start("rough")
    answered()
    services.refiner.head = "labels"
    drag(painting.layer, LINE, 1)
    answered()
    assert painting.state.tone == "error" and "all its labels at once" in painting.state.hint
    assert painting.layer.data.any()


def test_an_image_with_values_that_are_not_finite_is_explained(painting, viewer, answered, drag):
    scan = viewer.layers["scan"]
    scan.data[6, 7, 8] = np.nan
    painting.start("rough")
    drag(painting.layer, LINE, 1)
    answered()
    assert "not finite" in painting.state.hint


def test_previews_are_turned_off(painting, controller, view):
    controller.choices.live = True
    painting.start("rough")
    assert not controller.choices.live


def test_closing_the_panel_puts_the_brush_down(painting, controller):
    painting.start("rough")
    controller.set_paused(True)
    assert painting.state.meaning == ""


def test_without_a_model_it_says_so(controller, services, qtbot):
    services.refiner = None
    painting = controller.corrections.painting
    painting.start("rough")  # before the models are known
    qtbot.waitUntil(lambda: painting.state.possible is not None)
    assert painting.state.hint == NO_REFINER and painting.state.tone == "warning"
    painting.start("rough")
    assert painting.layer is None and painting.state.meaning == ""
    services.refiner = CorrectionFakes().refiner
    painting.set_active(False)
    painting.set_active(True)
    qtbot.waitUntil(lambda: bool(painting.state.possible))


@pytest.mark.filterwarnings("ignore:the grid is sheared")
def test_answers_lie_on_an_oblique_scan_and_are_saved_on_its_grid(
    painting, viewer, oblique_volume, answered, drag
):
    data, attributes, _ = to_layer_data(oblique_volume)
    scan = Image(data.astype(np.float32), **attributes)
    viewer.add_layer(scan)
    painting.start("rough")
    layer = painting.layer
    assert layer.data.shape == scan.data.shape and METADATA_KEY in layer.metadata
    layer.brush_size = 3
    drag(layer, [tuple(n // 2 for n in data.shape)], 1)
    painted = layer.data.copy()

    answered()
    assert (layer.data != painted).any(), painting.state.hint
    volume = to_volume(*layer.as_layer_data_tuple()[:2])
    assert volume.affine.tobytes() == oblique_volume.affine.tobytes()
    assert volume.shape == oblique_volume.shape
    assert (volume.array > 0).any()
