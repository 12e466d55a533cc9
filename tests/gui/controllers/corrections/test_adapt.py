"""An adapted model: before and after, kept or discarded."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari_hyperspace.core.volume import Record, digest_of_labels
from napari_hyperspace.gui.adapters.layers import RESULT_KEY


@pytest.fixture
def adapted(controller, result, qtbot):
    """The controller after adapting."""
    qtbot.waitUntil(lambda: controller.structures.layer is result)
    found = controller.corrections.adapt
    found.start()
    qtbot.waitUntil(lambda: controller.running)
    qtbot.waitUntil(lambda: not controller.running and found.state.waiting)
    return found


def test_before_and_after_are_shown_at_once(adapted, viewer, result):
    layer = viewer.layers["adapted · scan"]
    np.testing.assert_array_equal(layer.data, result.data)
    assert not result.visible and adapted.state.shows_after and not adapted.state.can_start
    assert "0.700 before, 0.900 after" in adapted.state.text
    adapted.show_after(False)
    assert not layer.data.any() and not adapted.state.shows_after
    adapted.show_after(True)
    np.testing.assert_array_equal(layer.data, result.data)


def test_a_discarded_model_leaves_everything_as_it_was(adapted, viewer, result, services):
    adapted.discard()
    assert "adapted · scan" not in viewer.layers
    assert result.visible and viewer.layers.selection.active is result
    assert not adapted.state.waiting and adapted.state.can_start
    assert services.kept == []


def test_a_kept_model_is_chosen(adapted, controller, viewer, services, qtbot, view):
    adapted.show_after(False)
    adapted.keep()
    assert services.kept == ["fake adapted"]
    assert "Kept as “fake adapted”" in view.messages[-1][0]
    assert viewer.layers["adapted · scan"].data.any()
    assert not adapted.state.waiting


def test_a_model_that_cannot_be_kept_still_waits(adapted, services, view):
    services.kept.append("full")
    adapted.keep()
    assert "disk is full" in view.messages[-1][0] and adapted.state.waiting


def test_labels_that_were_not_corrected_are_refused(controller, result, qtbot, view):
    qtbot.waitUntil(lambda: controller.structures.layer is result)
    record = Record(
        model="fake",
        model_digest="0",
        spacing_mm=(2, 2, 2),
        precision="fp32",
        device="cpu",
        overlap=0.25,
        labels_digest=digest_of_labels(result.data),
    )
    result.metadata = {RESULT_KEY: {"model": "fake", "record": record}}
    controller.corrections.adapt.start()
    qtbot.waitUntil(lambda: controller.running)
    qtbot.waitUntil(lambda: not controller.running)
    assert "as the model made them" in view.messages[-1][0]
    assert not controller.corrections.adapt.state.waiting


def test_without_labels_there_is_nothing_to_adapt_to(controller, view):
    controller.corrections.adapt.start()
    assert "no labels" in view.messages[-1][0]
