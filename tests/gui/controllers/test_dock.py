"""The controllers together, from the first estimate to closing."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel

from napari_hyperspace.gui.controllers.dock import DockController


def test_initial_model_and_spacing(controller, view):
    assert view.last("models") == ([("fake", "fake"), ("other", "other")], "fake")
    assert view.last("scan") == ("12 × 14 × 16 · 1 mm",)
    assert controller.choices.spacing_mm == (1.0, 1.0, 1.0)
    assert view.last("model")[0] == "front, back · trained at 0.8–4 mm"
    assert view.last("ready") == {"run": True, "cancel": False, "save": False}


def test_without_a_scan_nothing_can_be_run(qtbot, view, services, make_scan):
    viewer = ViewerModel()
    controller = DockController(viewer, view, view, services)
    qtbot.waitUntil(lambda: controller.models.model is not None)
    controller.segmentation.run()
    controller.budget.fit(1.0, None)
    controller.scan.correct_spacing()
    assert view.last("ready") == {"run": False, "cancel": False, "save": False}
    assert "no image" in view.last("message")[0]
    viewer.add_layer(make_scan())
    assert view.last("ready")["run"]
    controller.close()


def test_closing_stops_the_run(viewer, view, services, qtbot, results):
    """Fault 62 of the list of bad inputs."""
    controller = DockController(viewer, view, view, services)
    qtbot.waitUntil(lambda: controller.models.model is not None)
    services.gate = threading.Event()
    controller.segmentation.run()
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    controller.close()
    qtbot.waitUntil(lambda: not controller.running)
    assert results(viewer) == []
    controller.close()


def test_closing_disconnects_from_the_viewer(qtbot, viewer, view, services, make_scan):
    controller = DockController(viewer, view, view, services)
    qtbot.waitUntil(lambda: controller.models.model is not None)
    controller.close()
    view.said.clear()
    viewer.add_layer(make_scan(name="later"))
    viewer.dims.set_point(0, 3)
    viewer.layers[0].scale = (2, 2, 2)
    assert view.said == []


def test_a_run_removes_the_preview(controller, viewer, services, qtbot, previews, settle):
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    services.gate = threading.Event()
    controller.segmentation.run()
    assert previews(viewer) == []
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    controller.choices.live = False
    settle(qtbot, controller)
    assert previews(viewer) == []
    assert [type(one).__name__ for one in viewer.layers] == ["Image", "Labels"]


def test_a_paused_dock_estimates_nothing_until_it_continues(
    controller, viewer, services, qtbot, previews, settle
):
    controller.live.set_live(True)
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    controller.set_paused(True)
    assert previews(viewer) == []
    settle(qtbot, controller)
    services.estimated.clear()
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    settle(qtbot, controller)
    assert services.estimated == []
    controller.set_paused(False)
    qtbot.waitUntil(lambda: (2.0, 2.0, 2.0) in services.estimated)


def test_closing_the_panel_says_that_the_run_was_stopped(controller, view, services, qtbot):
    from napari.utils.notifications import notification_manager

    notification_manager.records.clear()
    controller.set_paused(True)
    controller.set_paused(False)
    assert notification_manager.records == []  # no job was running
    services.gate = threading.Event()
    controller.segmentation.run()
    controller.set_paused(True)
    qtbot.waitUntil(lambda: not controller.running)
    (record,) = notification_manager.records
    assert record.message == "“Segmenting scan” was stopped: the HyperSpace panel was closed."
    assert view.last("message") == (record.message, "warning")
