"""Layers that the user deletes while the plug-in shows a preview of one of them."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")


@pytest.fixture
def previewed(controller, viewer, qtbot, make_scan, previews):
    """Three images, and a preview of the chosen one."""
    viewer.add_layer(make_scan(name="below"))
    viewer.add_layer(make_scan(name="above"))
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    return viewer


def test_all_layers_are_deleted_while_there_is_a_preview(controller, previewed, qtbot, settle):
    layers = list(previewed.layers)
    previewed.layers.select_all()
    previewed.layers.remove_selected()
    settle(qtbot, controller)
    assert len(previewed.layers) == 0
    assert all(layer not in previewed.layers for layer in layers)
    assert controller.layers.layers == ()


def test_the_list_is_cleared_while_there_is_a_preview(controller, previewed, qtbot, settle):
    previewed.layers.clear()
    settle(qtbot, controller)
    assert len(previewed.layers) == 0


def test_the_scan_is_deleted_before_its_preview(controller, previewed, qtbot, settle, previews):
    """napari goes through the selected layers in any order, one removal at a time."""
    (preview,) = previews(previewed)
    deleted = [*controller.layers.layers, preview]
    for layer in deleted:
        previewed.layers.remove(layer)
    controller.choices.live = False
    settle(qtbot, controller)
    assert [one.name for one in previewed.layers] == ["scan", "below"]


def test_a_preview_that_comes_late_is_not_shown(controller, previewed, qtbot, settle):
    """The scan is deleted while the preview of it is computed."""
    controller.live.query()
    previewed.layers.clear()
    settle(qtbot, controller)
    assert len(previewed.layers) == 0
