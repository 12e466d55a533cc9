"""The plug-in in whole viewers, with the real engine; needs an X server (real or Xvfb)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytestqt")
pytest.importorskip("napari")
from napari.layers import Image, Labels
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import QLabel, QWidget
from scipy.spatial.transform import Rotation

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.services import Services
from napari_hyperspace.gui.widgets import dialogs
from napari_hyperspace.gui.widgets.dock import HyperspaceWidget

MANIFEST = Path(hs.__file__).parent / "napari.yaml"
PLUGIN = "napari-hyperspace"


@pytest.fixture
def viewer(make_napari_viewer_proxy, qapp):
    if QGuiApplication.platformName() == "offscreen":
        pytest.skip("a whole viewer needs OpenGL: run under X or Xvfb")
    manager = PluginManager.instance()
    if PLUGIN not in manager:
        manager.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer_proxy()


class TinyModels(Services):
    """The real engine with a small model of random weights."""

    def __init__(self, model):
        self._model = model

    def bundled_models(self):
        return {"tiny": Path("tiny")}

    def load_model(self, name_or_path):
        return self._model


@pytest.fixture
def dock(viewer, tiny_model):
    widget = HyperspaceWidget(viewer, TinyModels(tiny_model))
    viewer.window.add_dock_widget(widget, name="HyperSpace")
    yield widget
    widget.controller.close()


def child(dock, name):
    return dock.findChild(QWidget, f"hyperspace.{name}")


def click(qtbot, widget, **options):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, **options)


def wait_for_estimate(qtbot, dock):
    # The first estimate on a machine measures it.
    qtbot.waitUntil(lambda: "fits" in child(dock, "estimate").text(), timeout=60_000)


def oblique(shape=(20, 24, 18), seed=0):
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (8, -12, 5), degrees=True).as_matrix()
    affine[:3, :3] = turn[:, (1, 0, 2)] * (-1.0, -1.0, 2.4)
    affine[:3, 3] = (41.5, -12.25, 63.125)
    values = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    return Volume(values, Grid(shape, affine), "oblique")


def test_the_manifest_is_sound():
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == PLUGIN
    assert manifest.contributions.widgets[0].display_name == "HyperSpace"
    assert all(one.id.startswith(f"{PLUGIN}.") for one in manifest.contributions.commands)


def test_the_widget_opens_from_the_plugins_menu(viewer, qtbot):
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "HyperSpace")
    assert isinstance(widget, HyperspaceWidget)
    assert dock.windowTitle().startswith("HyperSpace")
    for name in ("first", "second"):
        viewer.add_image(np.zeros((3, 4, 5)), units=("mm",) * 3, name=name)
    layers = child(widget, "layer")
    assert layers.currentText() == "first"
    layers.setCurrentIndex(layers.findText("second"))
    assert [layer.name for layer in widget.controller.chosen.layers] == ["second"]
    viewer.layers["second"].scale = (3, 2, 1)
    assert "3 × 2 × 1 mm" in widget.findChild(QLabel, "hyperspace.scan").text()
    widget.controller.close()


def test_a_scan_read_run_and_saved_by_mouse(viewer, dock, tiny_model, qtbot, tmp_path, monkeypatch):
    """File in, labels out: on the file's grid, bit for bit, and the same as without a viewer."""
    path = tmp_path / "scan.nii.gz"
    hs.write(oblique(), path)
    monkeypatch.setattr(dialogs.QFileDialog, "getOpenFileName", lambda *a: (str(path), ""))
    click(qtbot, child(dock, "open"))
    qtbot.waitUntil(lambda: len(viewer.layers) == 1)
    wait_for_estimate(qtbot, dock)
    slider = child(dock, "spacing")
    child(dock, "lock").setChecked(True)
    click(qtbot, slider, pos=QPoint(round(slider.position_of(2.0)), 14))
    spacing = slider.value()
    assert spacing == pytest.approx(2.0, rel=0.03)
    click(qtbot, child(dock, "run"))
    assert not child(dock, "run").isEnabled()
    qtbot.waitUntil(child(dock, "run").isEnabled, timeout=60_000)
    labels = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    assert labels.visible
    assert labels.data.shape == viewer.layers[0].data.shape
    saved = tmp_path / "labels.nii.gz"
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *a: (str(saved), ""))
    click(qtbot, child(dock, "save"))
    qtbot.waitUntil(saved.exists)
    qtbot.waitUntil(lambda: "affine bit-identical" in child(dock, "message").text())
    scan, written = hs.read(path), hs.read(saved)
    assert written.grid == scan.grid
    expected = hs.segment(scan, tiny_model, (spacing,) * 3)
    np.testing.assert_array_equal(written.array, expected.array)
    assert set(np.unique(expected.array)) > {0}


def test_fault_65_the_scan_is_not_overwritten(viewer, dock, qtbot, tmp_path, monkeypatch):
    path = tmp_path / "scan.nii"
    hs.write(oblique(), path)
    before = path.read_bytes()
    viewer.open(path, plugin=PLUGIN)
    labels = Labels(
        np.zeros(viewer.layers[0].data.shape, np.uint8), metadata=viewer.layers[0].metadata
    )
    viewer.add_layer(labels)
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *a: (str(path), ""))
    click(qtbot, child(dock, "save"))
    qtbot.waitUntil(lambda: "overwrite" in child(dock, "message").text())
    assert path.read_bytes() == before


def test_napari_reads_and_writes_with_the_plug_in(viewer, tmp_path):
    scan = oblique()
    path = tmp_path / "scan.nrrd"
    hs.write(scan, path)
    (layer,) = viewer.open(path, plugin=PLUGIN)
    assert tuple(str(unit) for unit in layer.units) == ("millimeter",) * 3
    np.testing.assert_allclose(layer.scale, scan.grid.canonical().spacing_mm)
    for name in ("copy.nii.gz", "copy.mha", "copy.nrrd"):
        (written,) = layer.save(str(tmp_path / name), plugin=PLUGIN)
        copy = hs.read(written)
        assert copy.grid.is_close(scan.grid, 1e-4)
        np.testing.assert_array_equal(copy.array, scan.array)
    labels = viewer.add_labels(
        np.zeros(layer.data.shape, np.uint8), metadata=layer.metadata, scale=layer.scale
    )
    (written,) = labels.save(str(tmp_path / "labels.nii.gz"), plugin=PLUGIN)
    assert hs.read(written).grid.is_close(scan.grid, 1e-4)


@pytest.mark.parametrize(
    ("key", "shape"), [("mni152", (189, 233, 197)), ("mni152_hippocampus", (36, 51, 35))]
)
def test_sample_images(viewer, key, shape):
    pytest.importorskip("nilearn")
    (layer,) = viewer.open_sample(PLUGIN, key)
    assert layer.data.shape == shape
    np.testing.assert_array_equal(layer.scale, (1, 1, 1))
    # Upright, and where MNI space has it: the right hippocampus lies at (27, -22, -14).
    low, high = layer.extent.world
    assert (low < (14, 22, -27)).all() and (high > (14, 22, -27)).all()


def test_without_nilearn_the_way_out_is_named(monkeypatch):
    import sys

    from napari_hyperspace.gui.samples import mni152

    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(hs.HyperspaceError, match=r"napari-hyperspace\[all\]"):
        mni152()


def test_the_preview_follows_the_view(viewer, dock, qtbot):
    viewer.add_image(
        np.random.default_rng(0).normal(size=(60, 70, 80)), units=("mm",) * 3, name="scan"
    )
    wait_for_estimate(qtbot, dock)
    child(dock, "live").setChecked(True)
    qtbot.waitUntil(
        lambda: any(layer.metadata.get("sharp") for layer in viewer.layers), timeout=60_000
    )
    (preview,) = (layer for layer in viewer.layers if "preview" in layer.name)
    low, high = preview.extent.world
    point = np.array((viewer.dims.point[0], *viewer.scene.camera.center[1:]))
    assert (low <= point).all() and (point <= high).all()
    assert viewer.layers.selection.active.name == "scan"


def test_fault_62_the_viewer_is_closed_during_a_run(viewer, dock, qtbot):
    viewer.add_image(np.random.default_rng(0).normal(size=(90, 90, 90)), units=("mm",) * 3)
    wait_for_estimate(qtbot, dock)
    child(dock, "spacing").setValue(0.5)
    click(qtbot, child(dock, "run"))
    qtbot.waitUntil(lambda: child(dock, "progress").value() > 0)
    controller = dock.controller
    viewer.close()
    qtbot.waitUntil(lambda: not controller.jobs.running, timeout=2000)


def test_a_removed_dock_rests_and_goes_on_when_docked_again(viewer, dock, qtbot):
    viewer.add_image(np.zeros((9, 9, 9)) + np.eye(9), units=("mm",) * 3)
    wait_for_estimate(qtbot, dock)
    child(dock, "live").setChecked(True)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    viewer.window.remove_dock_widget(dock)
    assert len(viewer.layers) == 1
    child(dock, "spacing").setValue(2.0)
    qtbot.wait(100)
    assert len(viewer.layers) == 1
    viewer.window.add_dock_widget(dock, name="again")
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)


@pytest.mark.slow
def test_the_window_stays_alive_while_segmenting(viewer, dock, qtbot):
    """A 5 ms timer goes on all the while; `benchmarks.heartbeat` measures its gaps."""
    scan = Image(np.random.default_rng(0).normal(size=(110, 110, 110)), units=("mm",) * 3)
    viewer.add_layer(scan)
    wait_for_estimate(qtbot, dock)
    child(dock, "spacing").setValue(1.0)
    beats = []
    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(lambda: beats.append(child(dock, "progress").value()))
    click(qtbot, child(dock, "run"))
    timer.start()
    qtbot.waitUntil(
        lambda: child(dock, "progress").value() > 900 or not dock.controller.jobs.running,
        timeout=120_000,
    )
    timer.stop()
    qtbot.waitUntil(lambda: not dock.controller.jobs.running, timeout=60_000)
    assert len(beats) > 10
    assert len(set(beats)) > 2  # and the progress bar moved meanwhile
