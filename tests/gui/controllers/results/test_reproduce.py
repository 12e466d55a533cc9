"""Code and commands for the labels in the table, and what is said about them."""

from __future__ import annotations

import shlex

import numpy as np
import pytest

pytest.importorskip("pytestqt")

import napari_hyperspace as hs
from napari_hyperspace.core.volume import PostprocessingOptions
from napari_hyperspace.gui.adapters import layers as convert
from napari_hyperspace.gui.adapters.readers import read_layers
from napari_hyperspace.gui.controllers.results.reproduce import ReproduceController
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import save_model
from napari_hyperspace.nets.plain.config import UNetConfig
from napari_hyperspace.nets.plain.factory import ConstantFactory
from tests.gui.conftest import FakeServices, MockView


def test_a_result_of_an_image_without_a_file_has_a_placeholder(
    controller, viewer, view, qtbot, run
):
    assert controller.reproduce.python() is None
    assert "no labels" in view.last("message")[0]
    run(qtbot, controller)
    code = controller.reproduce.python()
    assert "hs.read('SCAN.nii.gz')" in code
    assert "hs.load_model('fake', digest=" in code
    message, tone = view.last("message")
    assert message.startswith("Copied as Python. Replace SCAN.nii.gz")
    assert tone == "warning"
    assert "SCAN.nii.gz" in shlex.split(controller.reproduce.command())


def test_painted_labels_are_said_to_differ(controller, viewer, view, qtbot, results, run):
    run(qtbot, controller)
    (labels,) = results(viewer)
    labels.data = labels.data + 1
    assert controller.reproduce.python() is not None
    assert "edited after the run" in view.last("message")[0]


def test_labels_that_were_not_made_here_have_no_code(controller, viewer, view):
    viewer.add_labels(np.ones((4, 4, 4), np.uint8), name="painted")
    assert controller.reproduce.python() is None
    assert controller.reproduce.command() is None
    assert "does not say how it was made" in view.last("message")[0]


def test_names_are_saved_as_a_table(controller, viewer, view, qtbot, run, tmp_path):
    run(qtbot, controller)
    assert controller.reproduce.suggest_table_path() == "fake-1-mm-scan_dseg.tsv"
    controller.reproduce.save_table(str(tmp_path / "a_dseg.tsv"))
    assert (tmp_path / "a_dseg.tsv").read_text().startswith("index\tname\tcolor\n1\tfront\t#ff8800")
    assert view.last("message")[1] == "good"
    controller.reproduce.save_table(str(tmp_path / "a.doc"))
    assert view.last("message")[1] == "error"


@pytest.fixture
def scan_file(tmp_path):
    """A scan whose first voxel is not that of its layer."""
    affine = np.array([[0, -0.9, 0, 8], [1.1, 0, 0, -4], [0, 0, 1.3, 2], [0, 0, 0, 1]])
    array = np.random.default_rng(0).normal(size=(14, 12, 10)).astype(np.float32)
    hs.write(hs.Volume(array, hs.Grid(array.shape, affine)), tmp_path / "scan one.nii")
    return tmp_path / "scan one.nii"


@pytest.fixture
def own_model(tmp_path):
    import torch

    torch.manual_seed(0)
    network = UNetConfig(channels=2, out_channels=3, convs_per_level=1, strides=((2, 2, 2),))
    labels = (LabelClass(value=1, name="a"), LabelClass(value=2, name="b"))
    return save_model(
        Model(ConstantFactory(network), ModelCard(name="own", labels=labels)),
        tmp_path / "own.safetensors",
    )


class RealRuns(FakeServices):
    """Loads models, segments and post-processes; only the estimates are fakes."""

    load_model = Services.load_model
    segment_steps = Services.segment_steps
    postprocess = Services.postprocess


def run_to_the_end(qtbot, dock):
    dock.segmentation.run()
    qtbot.waitUntil(lambda: not dock.running, timeout=60_000)


@pytest.fixture
def dock(qtbot, own_model):
    """The controllers with the package's own services."""
    from napari.components import ViewerModel

    from napari_hyperspace.gui.controllers.dock import DockController
    from napari_hyperspace.gui.models.choices import Choices

    view = MockView()
    choices = Choices(device="cpu", model=str(own_model))
    dock = DockController(ViewerModel(), view, view, RealRuns(), choices)
    yield dock
    dock.segmentation.cancel()
    qtbot.waitUntil(lambda: not dock.running)
    dock.close()


def opened(viewer, path):
    from napari.layers import Layer

    (layer,) = read_layers(str(path))
    return viewer.add_layer(Layer.create(*layer))


def test_copied_code_makes_the_labels_of_a_corrected_scan_again(
    dock, scan_file, qtbot, results, tmp_path, monkeypatch
):
    viewer = dock.viewer
    layer = opened(viewer, scan_file)
    layer.scale = (1.7, 0.8, 1.25)  # corrected
    dock.segmentation.set_postprocessing(PostprocessingOptions(True, 0.0, 5.0))
    dock.spacing.set_spacing((1.5, 1.1, 2.0))
    run_to_the_end(qtbot, dock)
    (labels,) = results(viewer)
    expected = convert.to_volume(*labels.as_layer_data_tuple()[:2])
    assert expected.array.any()
    monkeypatch.chdir(tmp_path)
    code = dock.reproduce.python()
    assert "spacing_mm=" in code.partition("\n")[2].split("load_model")[0]
    exec(compile(code, "code", "exec"), {})
    again = hs.read(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(again.array, expected.array)
    assert again.spacing_mm == pytest.approx(expected.spacing_mm, rel=1e-6)


def test_a_result_that_was_saved_and_opened_again_can_be_copied(
    dock, scan_file, qtbot, results, tmp_path
):
    viewer = dock.viewer
    opened(viewer, scan_file)
    run_to_the_end(qtbot, dock)
    (labels,) = results(viewer)
    volume = convert.to_volume(*labels.as_layer_data_tuple()[:2])
    hs.write(volume, tmp_path / "saved.nii.gz")
    viewer.layers.remove(labels)
    again = opened(viewer, tmp_path / "saved.nii.gz")
    reproduce = ReproduceController(viewer, dock._view, Services(), lambda: again)
    assert reproduce.suggest_table_path() == str(tmp_path / "saved_dseg.tsv")
    code = reproduce.python()
    assert repr(str(scan_file)) in code  # the only image on its grid
    assert "hs.load_model('MODEL.safetensors'" in code  # the file of an own model is not known
    assert volume.metadata["record"].model_digest in code
    assert "edited" not in dock._view.last("message")[0]
