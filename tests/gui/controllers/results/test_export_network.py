"""Exporting a network from the dock."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.api.export_network import ExportedNetwork
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.progress import Progress


@pytest.fixture
def exported(services):
    """What was exported: model, spacing and path; an error is raised for `bad.onnx`."""
    done = []

    def steps(name, spacing_mm, path, should_stop):
        yield Progress(0.5, "exporting the network")
        if path.startswith("bad"):
            raise HyperspaceError("the network cannot be exported")
        done.append((name, spacing_mm, path))
        sizes = ((1, 1, 4, 4, 4), (2, 2, 2), (4, 4, 4))
        return ExportedNetwork(
            Path(path), Path(f"{path}.json"), "onnx", True, *sizes, 1e-6, 1e-5, 0.0
        )

    services.export_network_steps = steps
    return done


def test_the_network_of_the_labels_in_the_table_is_proposed(controller, view, qtbot, run, exported):
    controller.spacing.set_spacing((2.0, 1.0, 1.5))
    run(qtbot, controller)
    controller.spacing.set_spacing((3.0, 3.0, 3.0))
    view.answers["ask_spacing"] = [(2.0, 1.0, 1.25)]
    choice = controller.networks.choose()
    assert view.asked[-1][1][2] == (2.0, 1.0, 1.5)
    assert choice.suggestion == "fake-2x1x1.25mm.onnx"
    controller.networks.export(choice, "a.onnx")
    qtbot.waitUntil(lambda: not controller.running)
    assert exported == [("fake", (2.0, 1.0, 1.25), "a.onnx")]
    message, tone = view.last("message")
    assert message.startswith("Exported a.onnx: any batch, sizes in multiples of 2 × 2 × 2")
    assert tone == "good"


def test_without_labels_the_spacing_of_the_dock_is_proposed(controller, view, exported):
    controller.spacing.set_spacing((2.5, 2.5, 2.5))
    view.answers["ask_spacing"] = [None]
    assert controller.networks.choose() is None
    assert view.asked[-1][1][2] == (2.5, 2.5, 2.5)
    assert not exported


def test_errors_of_an_export_are_shown(controller, view, qtbot, exported):
    view.answers["ask_spacing"] = [(1.0, 1.0, 1.0)]
    controller.networks.export(controller.networks.choose(), "bad.onnx")
    qtbot.waitUntil(lambda: not controller.running)
    assert view.last("message") == ("the network cannot be exported", "error")


def test_nothing_is_exported_during_a_run(controller, view, services, qtbot, exported):
    services.steps, services.step_seconds = 50, 0.05
    controller.segmentation.run()
    assert controller.networks.choose() is None
    assert view.last("message")[1] == "warning"
    controller.segmentation.cancel()
    qtbot.waitUntil(lambda: not controller.running)
