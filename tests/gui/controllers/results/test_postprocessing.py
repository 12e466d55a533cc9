"""Post-processing of labels that exist."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.core.labels.postprocess import postprocess
from napari_hyperspace.core.labels.sides import colors_of_sides
from napari_hyperspace.core.volume import PostprocessingOptions
from napari_hyperspace.gui.adapters.label_attributes import label_names
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, label_sides, to_layer_data, to_volume
from napari_hyperspace.gui.adapters.viewer import add_layer
from tests.heads import COLORS, ISOTROPIC, head_on


def test_a_result_is_cleaned_into_a_new_layer(controller, viewer, view, qtbot, results, run):
    run(qtbot, controller)
    (plain,) = results(viewer)
    controller.segmentation.set_postprocessing(PostprocessingOptions(True, 0.0, 20.0))
    controller.postprocessing.apply()
    qtbot.waitUntil(lambda: not controller.running)
    cleaned, before = results(viewer)
    assert before is plain and not plain.visible and cleaned.visible
    assert cleaned.name == "fake 1 mm, post-processed · scan"
    assert viewer.layers[-1] is viewer.layers.selection.active is cleaned
    volume, made = (to_volume(*one.as_layer_data_tuple()[:2]) for one in (plain, cleaned))
    expected = postprocess(volume, largest_component=True, fill_holes_mm3=20)
    np.testing.assert_array_equal(made.array, expected.array)
    assert made.grid == volume.grid
    assert made.metadata["postprocessing"] == expected.metadata["postprocessing"]
    for key in ("model", "working_spacing_mm", "image", "label_names", "label_colors"):
        assert made.metadata[key] == volume.metadata[key]
    assert cleaned.metadata[IMAGE_KEY]() is viewer.layers["scan"]
    assert (cleaned.opacity, tuple(cleaned.scale)) == (plain.opacity, tuple(plain.scale))
    text, tone = view.last("message")
    assert text.startswith("Post-processing: largest component of each") and tone == "good"
    controller.postprocessing.apply()  # what is clean stays as it is
    qtbot.waitUntil(lambda: not controller.running)
    assert view.last("message") == ("Nothing had to be changed.", "good")
    assert len(results(viewer)) == 2


@pytest.mark.parametrize("labels", [False, True])
def test_without_labels_or_options_there_is_only_a_message(controller, viewer, view, qtbot, labels):
    if labels:
        viewer.add_labels(np.ones((12, 14, 16), int))
    controller.postprocessing.apply()
    text, tone = view.last("message")
    assert tone == "warning"
    assert text.startswith("Choose what to do" if labels else "There are no labels")
    assert not controller.running


def test_left_and_right_get_names_and_colors_of_their_own(controller, viewer, view, qtbot):
    labels, _ = head_on(ISOTROPIC, tilt_deg=(0, 8, -10))
    whole = add_layer(viewer, to_layer_data(labels, "labels"))
    viewer.layers.selection.active = whole
    controller.segmentation.set_postprocessing(PostprocessingOptions(split_sides=True))
    controller.postprocessing.apply()
    qtbot.waitUntil(lambda: not controller.running, timeout=60_000)
    divided = viewer.layers.selection.active
    assert divided is not whole and not whole.visible
    expected = postprocess(labels, split_sides=True)
    found = to_volume(*divided.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(found.array, expected.array)
    for key in ("label_names", "label_colors", "label_sides", "record"):
        assert found.metadata[key] == expected.metadata[key]
    assert label_names(divided)[2011] == "right hippocampus"
    assert label_sides(divided)[1011].side == "left"
    shade = colors_of_sides(COLORS[11])[1]
    assert found.metadata["label_colors"][2011] == shade
    text, tone = view.last("message")
    assert text == "Post-processing: left and right divided."
    assert tone == "good"
