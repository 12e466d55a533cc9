"""Post-processing of labels that exist."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.core.labels.postprocess import postprocess
from napari_hyperspace.core.volume import PostprocessingOptions
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, to_volume


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
