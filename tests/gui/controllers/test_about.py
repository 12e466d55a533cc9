"""Texts about the program and what is open, without the names of layers and files."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel

from napari_hyperspace.gui.controllers.dock import DockController
from napari_hyperspace.gui.jobs.services import Services

NAME = "Mustermann"


def test_diagnostics_describe_the_scan_without_its_name(controller, viewer):
    layer = viewer.layers["scan"]
    layer.name = f"{NAME}^Erika"
    layer.metadata["path"] = f"/home/{NAME}/{NAME}.nii.gz"
    viewer.add_points(np.zeros((1, 3)), name=NAME)
    controller.choices.spacing_mm = (2.0, 1.5, 1.5)
    text = controller.about.diagnostics({"Qt": "6"})
    for line in (
        "window:\n  Qt: 6",
        "layers: 1 Image, 1 Points",
        "scan: 12 × 14 × 16 voxels, 1 × 1 × 1 mm, float64, oblique 0.0°",
        "model: fake",
        "working spacing: 2 × 1.5 × 1.5 mm",
        "versions:\n  napari-hyperspace: ",
    ):
        assert line in text
    assert NAME not in text


def test_the_file_of_an_own_model_is_not_named(controller, services, qtbot, tmp_path):
    path = str(tmp_path / f"{NAME}.safetensors")
    services.models[path] = services.models["fake"]
    controller.models.add_file(path)
    text = controller.about.diagnostics({})
    assert "model: not a bundled one" in text and NAME not in text


def test_without_a_scan_there_is_still_a_report(qtbot, view, services):
    controller = DockController(ViewerModel(), view, view, services)
    text = controller.about.diagnostics({})
    assert "layers: none" in text and "scan: none" in text
    controller.close()


def test_the_text_about_the_program_is_that_of_the_package(controller):
    assert controller.about.about() == Services().about()
