"""The table of structures in the dock, by mouse and keys."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QFileDialog,
    QLabel,
    QTableWidget,
)

from napari_hyperspace.gui.adapters.label_attributes import label_attributes, label_metadata
from napari_hyperspace.gui.adapters.viewer import camera_of, label_layers, view_position
from napari_hyperspace.gui.models.formatting import format_ml

NAMES = {1: "left front", 2: "right front", 5: "stem"}
COLORS = {1: "#ff8800", 2: "#0088ff", 5: "#00cc44"}
SCALE, TRANSLATE = (2.0, 0.5, 1.5), (10.0, -4.0, 3.0)


def make_labels(name="labels", **options):
    values = np.zeros((8, 10, 12), np.uint8)
    values[1, 2:5, 2:5] = 1
    values[3, 2:6, 6:10] = 2
    values[6, 8, 9] = 5
    placed = {"scale": SCALE, "translate": TRANSLATE, "units": "mm", "name": name}
    return Labels(values, **(placed | label_attributes(NAMES, COLORS) | options))


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    image = np.arange(8 * 10 * 12, dtype=np.float32).reshape(8, 10, 12)
    viewer.add_layer(Image(image, scale=SCALE, translate=TRANSLATE, units="mm", name="scan"))
    return viewer


@pytest.fixture
def dock(qtbot, viewer, make_dock):
    widget = make_dock(viewer, 350, 900)
    qtbot.waitUntil(lambda: widget.controller.models.model is not None)
    return widget


@pytest.fixture
def labels(viewer, dock, qtbot):
    layer = viewer.add_layer(make_labels())
    settle(qtbot, dock)
    return layer


def settle(qtbot, dock):
    qtbot.waitUntil(lambda: dock.controller.structures.is_idle)
    qtbot.wait(20)


def table(dock):
    return dock.findChild(QTableWidget, "hyperspace.structures.table")


def texts(dock, column=0):
    return [table(dock).item(i, column).text() for i in range(table(dock).rowCount())]


def click_row(qtbot, dock, row, column=1):
    cell = table(dock).visualItemRect(table(dock).item(row, column))
    qtbot.mouseClick(table(dock).viewport(), Qt.MouseButton.LeftButton, pos=cell.center())


def click_box(qtbot, dock, row):
    cell = table(dock).visualItemRect(table(dock).item(row, 0))
    place = QPoint(cell.left() + 12, cell.center().y())
    qtbot.mouseClick(table(dock).viewport(), Qt.MouseButton.LeftButton, pos=place)


def alpha(layer, value):
    return layer.get_color(value)[3]


def test_there_is_no_table_without_labels(dock, viewer, child):
    assert not child(dock, "structures").isVisible()


def test_names_volumes_and_means(dock, labels, viewer, child):
    assert child(dock, "structures").isVisible()
    assert table(dock).isVisible()
    assert texts(dock) == ["left front", "right front", "stem"]
    # 9, 16 and 1 voxels of 1.5 mm³
    assert texts(dock, 1) == ["0.0135", "0.024", "0.0015"]
    image = viewer.layers["scan"].data
    means = [image[labels.data == value].mean() for value in (1, 2, 5)]
    assert texts(dock, 2) == [f"{mean:.0f}" for mean in means]


def test_a_click_selects_the_label_and_moves_the_view(dock, labels, viewer, qtbot):
    viewer.layers.selection.active = viewer.layers["scan"]
    click_row(qtbot, dock, 2)
    assert labels.selected_label == 5
    assert viewer.layers.selection.active is labels
    assert viewer.dims.point == pytest.approx((22.0, 0.0, 16.5))
    assert view_position(viewer) == pytest.approx((22.0, 0.0, 16.5))


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 0, 1), (0, 2, 1)])
def test_the_view_moves_for_each_order_of_axes(dock, labels, viewer, qtbot, order):
    viewer.dims.order = order
    click_row(qtbot, dock, 2)
    assert view_position(viewer) == pytest.approx((22.0, 0.0, 16.5))
    assert camera_of(viewer).center[1:] == pytest.approx(
        [(22.0, 0.0, 16.5)[axis] for axis in order[1:]]
    )


def test_keys_move_through_the_structures(dock, labels, viewer, qtbot):
    click_row(qtbot, dock, 0)
    qtbot.keyClick(table(dock), Qt.Key.Key_Down)
    assert labels.selected_label == 2


def test_a_check_box_hides_a_structure_and_keeps_the_labels(dock, labels, viewer, qtbot):
    before, point = labels.data.copy(), viewer.dims.point
    click_box(qtbot, dock, 1)
    assert [alpha(labels, value) for value in (1, 2, 5)] == [1, 0, 1]
    assert table(dock).item(1, 0).checkState() == Qt.CheckState.Unchecked
    np.testing.assert_array_equal(labels.data, before)
    assert viewer.dims.point == point  # the check box does not move the view
    # The table and files still have the colors.
    metadata = label_metadata({"features": labels.features, "colormap": labels.colormap})
    assert metadata["label_colors"][2] == COLORS[2]
    click_box(qtbot, dock, 1)
    assert [alpha(labels, value) for value in (1, 2, 5)] == [1, 1, 1]


def test_a_click_on_a_hidden_structure_shows_it(dock, labels, qtbot):
    click_box(qtbot, dock, 1)
    click_row(qtbot, dock, 1)
    assert alpha(labels, 2) == 1
    assert table(dock).item(1, 0).checkState() == Qt.CheckState.Checked


def test_only_the_selected_structure_is_shown(dock, labels, qtbot, child):
    own = labels.colormap
    click_box(qtbot, dock, 2)
    click_row(qtbot, dock, 0)
    child(dock, "structures.only").click()
    assert [alpha(labels, value) for value in (1, 2, 5)] == [1, 0, 0]
    click_row(qtbot, dock, 1)
    assert [alpha(labels, value) for value in (1, 2, 5)] == [0, 1, 0]
    child(dock, "structures.only").click()
    assert [alpha(labels, value) for value in (1, 2, 5)] == [1, 1, 0]  # as set by the check boxes
    click_box(qtbot, dock, 2)
    assert labels.colormap is own


def test_left_and_right_are_summed(dock, labels, qtbot, child):
    assert child(dock, "structures.sides").isVisible()
    child(dock, "structures.sides").click()
    assert texts(dock) == ["front", "stem"]
    assert texts(dock, 1) == ["0.0375", "0.0015"]
    click_row(qtbot, dock, 0)
    child(dock, "structures.only").click()
    assert [alpha(labels, value) for value in (1, 2, 5)] == [1, 1, 0]
    child(dock, "structures.only").click()
    click_box(qtbot, dock, 0)
    assert [alpha(labels, value) for value in (1, 2, 5)] == [0, 0, 1]


def test_without_sides_there_is_no_box_to_sum_them(dock, viewer, qtbot, child):
    viewer.add_layer(make_labels(**label_attributes({5: "stem"}, COLORS)))
    settle(qtbot, dock)
    assert not child(dock, "structures.sides").isVisible()
    assert texts(dock) == ["label 1", "label 2", "stem"]


def test_labels_of_other_programs_keep_napari_s_colors(dock, viewer, qtbot):
    plain = Labels(make_labels().data, scale=SCALE, translate=TRANSLATE, units="mm", name="other")
    viewer.add_layer(plain)
    settle(qtbot, dock)
    assert texts(dock) == ["label 1", "label 2", "label 5"]
    own = [plain.get_color(value)[:3] for value in (1, 2, 5)]
    click_box(qtbot, dock, 0)
    assert isinstance(plain.colormap, DirectLabelColormap)
    assert [alpha(plain, value) for value in (1, 2, 5)] == [0, 1, 1]
    np.testing.assert_allclose([plain.get_color(value)[:3] for value in (1, 2, 5)], own, atol=0.01)


def test_painting_updates_the_table(dock, labels, qtbot):
    labels.selected_label = 5
    labels.paint((6, 2, 2), 5)
    assert table(dock).item(2, 1).text() == "0.0015"
    settle(qtbot, dock)
    voxels = np.count_nonzero(labels.data == 5)
    assert voxels > 1
    assert table(dock).item(2, 1).toolTip() == f"{voxels} voxels"
    labels.data = np.zeros_like(labels.data)
    settle(qtbot, dock)
    assert texts(dock, 1) == ["–"] * 3


def test_a_value_painted_while_others_are_hidden(dock, labels, qtbot, child):
    click_row(qtbot, dock, 0)
    child(dock, "structures.only").click()
    labels.data_setitem((np.array([0]), np.array([0]), np.array([0])), 7)
    settle(qtbot, dock)
    assert texts(dock) == ["left front", "right front", "stem", "label 7"]
    assert [alpha(labels, value) for value in (1, 2, 5, 7)] == [1, 0, 0, 0]
    child(dock, "structures.only").click()
    assert alpha(labels, 7) == 1  # a value without a name is shown, too


def test_the_table_follows_the_active_labels(dock, labels, viewer, qtbot, child):
    other = make_labels("other", **label_attributes({1: "only one"}, {1: "#123456"}))
    other.data[other.data != 1] = 0
    viewer.add_layer(other)
    settle(qtbot, dock)
    assert texts(dock) == ["only one"]
    viewer.layers.selection.active = labels
    settle(qtbot, dock)
    assert texts(dock) == ["left front", "right front", "stem"]
    viewer.layers.selection.active = viewer.layers["scan"]
    settle(qtbot, dock)
    assert texts(dock) == ["left front", "right front", "stem"]
    viewer.layers.remove(labels)
    settle(qtbot, dock)
    assert texts(dock) == ["only one"]
    viewer.layers.remove(other)
    assert not child(dock, "structures").isVisible()


def test_means_are_of_the_image_on_the_same_grid(dock, labels, viewer, qtbot):
    viewer.layers["scan"].scale = (2.0, 0.5, 1.0)
    viewer.add_layer(Image(np.zeros((4, 4, 4)), units="mm", name="elsewhere"))
    settle(qtbot, dock)
    assert texts(dock, 2) == ["–"] * 3
    level = Image(np.full((8, 10, 12), 7.0), scale=SCALE, translate=TRANSLATE, units="mm")
    viewer.add_layer(level)
    settle(qtbot, dock)
    assert texts(dock, 2) == ["7.00"] * 3


def test_labels_of_more_dimensions_have_no_table(dock, labels, viewer, qtbot, child):
    viewer.add_layer(Labels(np.ones((2, 3, 4, 5), np.uint8), name="film"))
    settle(qtbot, dock)
    assert not child(dock, "structures").isVisible()
    viewer.layers.selection.active = labels
    settle(qtbot, dock)
    assert texts(dock) == ["left front", "right front", "stem"]


def test_the_table_can_be_sorted_by_volume(dock, labels, qtbot):
    table(dock).sortItems(1, Qt.SortOrder.DescendingOrder)
    assert texts(dock) == ["right front", "left front", "stem"]
    click_row(qtbot, dock, 0)
    assert labels.selected_label == 2


def test_the_table_is_exported_as_csv(
    dock, viewer, services, qtbot, tmp_path, monkeypatch, child, click
):
    click(child(dock, "run"))
    qtbot.waitUntil(lambda: not dock.controller.running)
    settle(qtbot, dock)
    path = tmp_path / "tàble.csv"
    asked = []
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *args: (asked.append(args[2]), (str(path), ""))[1]
    )
    click(child(dock, "structures.export"))
    assert asked[0].endswith(".csv")
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["structure"] for row in rows] == ["front", "back"]
    assert {(row["image"], row["model"], row["spacing_y_mm"]) for row in rows} == {
        ("scan", "fake", "0.8")
    }
    layer = label_layers(viewer)[0]
    assert [int(row["voxels"]) for row in rows] == [(layer.data == v).sum() for v in (1, 2)]


def test_a_table_that_cannot_be_written(dock, labels, qtbot, tmp_path, monkeypatch, child, click):
    """Fault 57 of the list of bad inputs."""
    path = tmp_path / "gone" / "table.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(path), ""))
    click(child(dock, "structures.export"))
    message = child(dock, "message")
    assert "cannot be written" in message.text()
    assert message.property("tone") == "error"


def test_3d_and_back_to_the_same_slices(dock, labels, viewer, qtbot, child, click):
    image = viewer.layers["scan"]
    viewer.dims.order = (2, 0, 1)  # slices from the side
    click(child(dock, "structures.space"))
    assert viewer.dims.ndisplay == 3
    assert not image.visible and labels.visible
    up = camera_of(viewer).up_direction
    assert up[0] < -0.8  # towards the head
    click_row(qtbot, dock, 2)
    assert camera_of(viewer).center == pytest.approx((22.0, 0.0, 16.5))
    viewer.dims.ndisplay = 2  # by napari's own button
    assert image.visible and viewer.dims.order == (2, 0, 1)
    assert not child(dock, "structures.space").isChecked()


def test_the_table_can_be_collapsed(dock, labels, qtbot, child, click):
    toggle = child(dock, "structures.toggle")
    click(toggle)
    assert not table(dock).isVisible()
    labels.data = labels.data.copy()
    settle(qtbot, dock)
    assert not table(dock).isVisible()
    click(toggle)
    assert table(dock).isVisible()


def test_a_table_of_many_rows_leaves_room_for_the_buttons(dock, viewer, qtbot, child):
    names = {value: f"left structure {value}" for value in range(1, 60)}
    viewer.add_layer(make_labels(**label_attributes(names, {})))
    settle(qtbot, dock)
    qtbot.wait(50)
    assert table(dock).rowCount() == 59
    assert dock._page.width() <= dock.width()
    assert child(dock, "structures.only").geometry().bottom() <= dock._page.height()


def test_the_totals_are_shown_and_the_table_is_copied(dock, labels, qtbot, child, click):
    settle(qtbot, dock)
    volumes = [one.volume_ml for one in dock.controller.structures.structures()]
    total = child(dock, "structures.total", QLabel)
    assert total.isVisible()
    assert total.text().startswith(f"Total {format_ml(sum(volumes))} ml")
    click(child(dock, "structures.copy"))
    lines = QGuiApplication.clipboard().text().splitlines()
    header = lines[0].split("\t")
    copied = [float(line.split("\t")[header.index("volume_ml")]) for line in lines[1:]]
    assert copied == pytest.approx(volumes, rel=1e-5)
