"""The plug-in in whole viewers, with the real engine; needs an X server (real or Xvfb)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytestqt")
pytest.importorskip("napari")
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QCoreApplication, QMimeData, QPoint, QPointF, Qt, QTimer, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QGuiApplication
from qtpy.QtWidgets import QLabel, QWidget
from scipy.spatial.transform import Rotation

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import to_layer_data, to_volume
from napari_hyperspace.gui.controllers.files import dropped_dicom
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.widgets.dock import HyperspaceWidget
from napari_hyperspace.gui.widgets.parts import dialogs

MANIFEST = Path(hs.__file__).parent / "napari.yaml"
PLUGIN = "napari-hyperspace"
PLANES = ("coronal", "sagittal")


@pytest.fixture
def make_viewer(make_napari_viewer_proxy, qapp):
    if QGuiApplication.platformName() == "offscreen":
        pytest.skip("a whole viewer needs OpenGL: run under X or Xvfb")
    manager = PluginManager.instance()
    if PLUGIN not in manager:
        manager.register(PluginManifest.from_file(MANIFEST))
    return make_napari_viewer_proxy


@pytest.fixture
def viewer(make_viewer):
    return make_viewer()


class TinyModels(Services):
    """The package's own functions, with a small model of random weights."""

    def __init__(self, model):
        self._model = model

    def bundled_models(self):
        return {"tiny": Path("tiny")}

    def load_model(self, name_or_path):
        return self._model


def make_dock(viewer, model):
    widget = HyperspaceWidget(viewer, TinyModels(model))
    viewer.window.add_dock_widget(widget, name="HyperSpace")
    yield widget
    widget.controller.close()


@pytest.fixture
def dock(viewer, tiny_model):
    yield from make_dock(viewer, tiny_model)


@pytest.fixture
def shown_dock(make_viewer, make_model, qtbot):
    """The dock in a visible window, with a model for thick slices."""
    viewer = make_viewer(show=True)
    yield from make_dock(viewer, make_model(range_mm=(0.4, 7.0)))


def child(dock, name):
    return dock.findChild(QWidget, f"hyperspace.{name}")


def click(qtbot, widget, **options):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, **options)


def wait_for_estimate(qtbot, dock):
    # The first estimate on a machine measures it.
    qtbot.waitUntil(lambda: "GB" in child(dock, "estimate").text(), timeout=60_000)


def oblique(shape=(20, 24, 18), seed=0):
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", (8, -12, 5), degrees=True).as_matrix()
    affine[:3, :3] = turn[:, (1, 0, 2)] * (-1.0, -1.0, 2.4)
    affine[:3, 3] = (41.5, -12.25, 63.125)
    values = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    return Volume(values, Grid(shape, affine), "oblique")


def test_the_widget_opens_from_the_plugins_menu(viewer, qtbot):
    dock, widget = viewer.window.add_plugin_dock_widget(PLUGIN, "HyperSpace")
    assert isinstance(widget, HyperspaceWidget)
    assert dock.windowTitle().startswith("HyperSpace")
    for name in ("first", "second"):
        viewer.add_image(np.zeros((3, 4, 5)), units=("mm",) * 3, name=name)
    layers = child(widget, "layer")
    assert layers.currentText() == "second"  # napari has selected it
    viewer.layers.selection.active = viewer.layers["first"]
    assert layers.currentText() == "first"
    layers.setCurrentIndex(layers.findText("second"))
    assert not viewer.layers["first"].visible
    assert [layer.name for layer in widget.controller.layers.layers] == ["second"]
    viewer.layers["second"].scale = (3, 2, 1)
    assert "3 × 2 × 1 mm" in widget.findChild(QLabel, "hyperspace.scan").text()
    widget.controller.close()


def test_a_scan_is_read_segmented_and_saved_by_mouse(
    viewer, dock, tiny_model, qtbot, tmp_path, monkeypatch
):
    """The labels are on the grid of the file, bit for bit, and those of `segment`."""
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


def test_the_scan_is_not_overwritten(viewer, dock, qtbot, tmp_path, monkeypatch):
    """Fault 65 of the list of bad inputs."""
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
    # The layer contains the right hippocampus, which is at (27, -22, -14) in MNI space.
    low, high = layer.extent.world
    assert (low < (14, 22, -27)).all() and (high > (14, 22, -27)).all()


def make_dicom(folder, description, offset=0.0, spacing_mm=6.5):
    """Write twelve slices of 0.69 × 0.69 mm, rotated by 11 degrees, with pydicom."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    turn = Rotation.from_euler("x", 11, degrees=True).as_matrix()
    series = generate_uid()
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(12):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.SeriesInstanceUID, data.SeriesDescription, data.Modality = series, description, "MR"
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.Rows, data.Columns = 40, 36
        data.PixelSpacing = [0.69, 0.69]
        data.ImageOrientationPatient = np.round(turn[:, :2].T.ravel(), 9).tolist()
        place = turn[:, 2] * (k * spacing_mm) + (offset, 0, 0)
        data.ImagePositionPatient = np.round(place, 6).tolist()
        pixels = np.random.default_rng(k).integers(0, 900, (40, 36)).astype("<u2")
        data.PixelData = pixels.tobytes()
        pydicom.dcmwrite(folder / f"{description}{k:02d}", data, enforce_file_format=True)
    return folder


def drop(dock, *paths):
    """Drop files on the canvas as a file manager does."""
    widgets = dock.window().findChildren(QWidget)
    (target,) = (one for one in widgets if type(one).__name__ == "QtViewer")
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    common = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton)
    plain = Qt.KeyboardModifier.NoModifier
    QCoreApplication.sendEvent(target, QDragEnterEvent(QPoint(50, 50), *common, plain))
    QCoreApplication.sendEvent(target, QDropEvent(QPointF(50, 50), *common, plain))


@pytest.fixture
def no_questions(monkeypatch):
    """Fail if napari asks which reader to use."""
    from napari._qt import qt_viewer

    def asked(*args, **kwargs):
        raise AssertionError("napari asks for a reader")

    monkeypatch.setattr(qt_viewer, "handle_gui_reading", asked)


def test_a_dropped_dicom_folder_is_segmented_at_its_own_spacing(
    shown_dock, qtbot, tmp_path, no_questions
):
    dock, viewer = shown_dock, shown_dock.controller.viewer
    viewer.add_image(np.zeros((5, 5, 5)), units=("mm",) * 3, name="another scan")
    drop(dock, make_dicom(tmp_path / "study", "thick"))
    qtbot.waitUntil(lambda: "thick" in viewer.layers)
    qtbot.waitUntil(lambda: not dock.controller.running)
    wait_for_estimate(qtbot, dock)
    assert child(dock, "layer").currentText() == "thick"
    assert dock.controller.choices.spacing_mm == pytest.approx((6.5, 0.69, 0.69))
    assert "Outside" not in child(dock, "notes").text()
    click(qtbot, child(dock, "run"))
    qtbot.waitUntil(child(dock, "run").isEnabled, timeout=60_000)
    (labels,) = (layer for layer in viewer.layers if isinstance(layer, Labels))
    assert labels.data.shape == viewer.layers["thick"].data.shape == (12, 40, 36)
    expected = hs.segment(hs.read(tmp_path / "study"), dock.controller.models.model)
    found = to_volume(*labels.as_layer_data_tuple()[:2])
    np.testing.assert_array_equal(found.array, expected.array)
    assert found.grid == expected.grid


def test_several_dropped_series_become_layers_to_choose_from(
    shown_dock, qtbot, tmp_path, no_questions
):
    dock, viewer = shown_dock, shown_dock.controller.viewer
    folder = make_dicom(tmp_path / "study", "first")
    make_dicom(folder, "second", offset=5.0)
    drop(dock, *sorted(folder.iterdir()))  # all files instead of the folder
    qtbot.waitUntil(lambda: len(viewer.layers) == 2)
    layers = child(dock, "layer")
    assert {layers.itemText(i) for i in range(2)} == {"first", "second"}
    (shown,) = (layer for layer in viewer.layers if layer.visible)
    assert layers.currentText() == shown.name
    qtbot.waitUntil(lambda: viewer.layers.selection.active is shown)
    qtbot.waitUntil(lambda: "first" in child(dock, "message").text())
    qtbot.waitUntil(lambda: not dock.controller.running)


def test_other_files_than_dicom_are_left_to_napari(shown_dock, qtbot, tmp_path, monkeypatch):
    from napari._qt import qt_viewer

    asked = []
    monkeypatch.setattr(
        qt_viewer, "handle_gui_reading", lambda paths, *args, **kwargs: asked.extend(paths)
    )
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    drop(shown_dock, tmp_path / "pictures")
    assert asked == [str(tmp_path / "pictures")]
    assert not shown_dock.controller.running


def test_a_drop_is_taken_only_if_all_of_it_is_dicom(tmp_path):
    folder = make_dicom(tmp_path / "study", "first")
    slices = [str(path) for path in sorted(folder.iterdir())]
    notes = [str(folder / name) for name in ("notes.txt", "more.txt")]
    for path in notes:
        Path(path).write_text("no scan")
    assert dropped_dicom(slices) == dropped_dicom([str(folder)]) == str(folder)
    assert dropped_dicom(slices[:1]) == slices[0]
    assert (
        dropped_dicom(notes)
        is dropped_dicom(notes[:1])
        is dropped_dicom([*slices, notes[0]])
        is None
    )


def test_labels_in_three_dimensions_keep_their_proportions(shown_dock, qtbot):
    """A cube on an anisotropic grid is drawn as high as it is wide."""
    dock, viewer = shown_dock, shown_dock.controller.viewer
    values = np.zeros((8, 40, 20), np.uint8)
    values[2:6, 10:30, 5:15] = 1  # 20 × 20 × 20 mm
    colors = {"colormap": DirectLabelColormap(color_dict={None: "transparent", 1: "#ff0000"})}
    viewer.add_layer(Labels(values, scale=(5, 1, 2), units=("mm",) * 3, **colors))
    qtbot.waitUntil(lambda: dock.controller.structures.is_idle)
    dock.controller.structures.show_in_3d(True)
    viewer.scene.camera.set_view_direction((0, 1, 0), (-1, 0, 0))
    qtbot.wait(200)
    red = viewer.screenshot(flash=False)[..., 0] > 60
    rows, columns = (np.flatnonzero(red.any(axis=axis)) for axis in (1, 0))
    assert len(rows) > 50
    assert len(rows) == pytest.approx(len(columns), rel=0.05)


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


def test_all_layers_are_deleted_by_mouse_while_there_is_a_preview(shown_dock, qtbot):
    """The trash of napari's list, after Ctrl+A in it."""
    dock, viewer = shown_dock, shown_dock.controller.viewer
    for seed in range(3):
        values = np.random.default_rng(seed).normal(size=(30, 30, 30))
        viewer.add_layer(Image(values, units=("mm",) * 3, name=f"scan {seed}"))
    wait_for_estimate(qtbot, dock)
    child(dock, "live").setChecked(True)
    qtbot.waitUntil(lambda: len(viewer.layers) == 4, timeout=60_000)
    window = viewer.window._qt_viewer
    window.layers.setFocus()
    qtbot.keyClick(window.layers, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert len(viewer.layers.selection) == 4
    click(qtbot, window.layerButtons.deleteButton)
    qtbot.waitUntil(lambda: dock.controller.live.is_idle)
    qtbot.wait(50)
    assert len(viewer.layers) == 0
    assert child(dock, "layer").count() == 0


def test_closing_the_viewer_stops_the_run(viewer, dock, qtbot):
    """Fault 62 of the list of bad inputs."""
    viewer.add_image(np.random.default_rng(0).normal(size=(90, 90, 90)), units=("mm",) * 3)
    wait_for_estimate(qtbot, dock)
    child(dock, "spacing").setValue(0.5)
    click(qtbot, child(dock, "run"))
    qtbot.waitUntil(lambda: child(dock, "progress").value() > 0)
    controller = dock.controller
    viewer.close()
    qtbot.waitUntil(lambda: not controller.running, timeout=2000)


def test_a_removed_dock_pauses_until_it_is_docked_again(viewer, dock, qtbot):
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
def test_the_window_responds_while_segmenting(viewer, dock, qtbot):
    """A 5 ms timer keeps firing; `benchmarks.heartbeat` measures its gaps."""
    scan = Image(np.random.default_rng(0).normal(size=(170, 150, 160)), units=("mm",) * 3)
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
        lambda: child(dock, "progress").value() > 900 or not dock.controller.running,
        timeout=120_000,
    )
    timer.stop()
    qtbot.waitUntil(lambda: not dock.controller.running, timeout=60_000)
    assert len(beats) > 10
    assert len(set(beats)) > 2  # the progress bar moved


@pytest.mark.slow
def test_three_planes_are_switched_on_and_off_by_mouse(make_viewer, services, qtbot, request):
    viewer = make_viewer(show=True)
    dock = HyperspaceWidget(viewer, services)
    viewer.window.add_dock_widget(dock, name="HyperSpace")
    request.addfinalizer(dock.controller.close)
    data, attributes, _ = to_layer_data(oblique())
    scan = viewer.add_layer(Image(data, **attributes))
    window = dock.window()
    before = (viewer.dims.order, window.corner(Qt.Corner.BottomLeftCorner))
    button = child(dock, "planes")
    click(qtbot, button)
    views = [window.findChild(QWidget, f"hyperspace.planes.{name}") for name in PLANES]
    assert button.isChecked()
    qtbot.waitUntil(lambda: all(view.isVisible() for view in views))
    (coronal, sagittal) = (view.viewer for view in views)
    viewer.dims.set_point((0, 1, 2), scan.data_to_world((3, 4, 5)))
    qtbot.waitUntil(lambda: sagittal.dims.point == coronal.dims.point == viewer.dims.point)
    canvas = views[0].canvas.native
    click(qtbot, canvas, pos=QPoint(canvas.width() // 2, canvas.height() // 2))
    middle = [(size - 1) // 2 for size in data.shape]
    index = scan.world_to_data(viewer.dims.point)
    assert abs(index[0] - middle[0]) <= 1 and index[1] == 4 and abs(index[2] - middle[2]) <= 1
    assert viewer.dims.axis_labels[0] == "z (S–I)"
    click(qtbot, button)
    assert [layer.name for layer in viewer.layers] == ["oblique"]
    assert (viewer.dims.order, window.corner(Qt.Corner.BottomLeftCorner)) == before
    qtbot.wait(50)  # Qt deletes the two canvases
