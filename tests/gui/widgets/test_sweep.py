"""The section Sweep by mouse and keyboard."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pytestqt")
import pyqtgraph as pg
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QAction, QImage
from qtpy.QtWidgets import QWidget

from napari_hyperspace.gui.models.sweep import StructureCurve, SweepCurves
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.theme import colors
from napari_hyperspace.gui.widgets.sweep_plot import SweepPlot
from tests.gui.sweep_services import SweepServices


@pytest.fixture
def services() -> SweepServices:
    return SweepServices()


@pytest.fixture
def swept(dock, child, qtbot):
    """The dock after a sweep over three spacings, started by mouse."""
    qtbot.mouseClick(child(dock, "sweep.toggle"), Qt.MouseButton.LeftButton)
    child(dock, "sweep.count").setValue(3)
    start = child(dock, "sweep.start")
    qtbot.waitUntil(start.isEnabled)
    qtbot.waitUntil(lambda: "3 spacings" in child(dock, "sweep.estimate").text())
    qtbot.mouseClick(start, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not dock.controller.running and "Knee" in knee(dock, child))
    return dock


def knee(dock, child) -> str:
    return child(dock, "sweep.knee").text()


def place_of(plot: SweepPlot, spacing_mm: float) -> QPoint:
    box = plot._plots[0].getViewBox()
    scene = box.mapViewToScene(QPointF(np.log10(spacing_mm), 0.5))
    return plot.mapFromScene(scene)


def test_a_click_on_a_spacing_shows_its_labels_and_moves_the_slider(swept, child, qtbot, viewer):
    plot, shown = child(swept, "sweep.plot"), child(swept, "sweep.shown")
    assert shown.text().startswith("Shown: 1 mm")
    left = Qt.MouseButton.LeftButton
    qtbot.mouseClick(plot.viewport(), left, pos=place_of(plot, 1.9))
    assert shown.text().startswith("Shown: 2 mm")
    assert swept.controller.choices.spacing_mm == pytest.approx((2, 2, 2))
    assert child(swept, "spacing").value() == pytest.approx(2)
    qtbot.waitUntil(lambda: "fake 2 mm, sweep · scan" in viewer.layers)
    qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert shown.text().startswith("Shown: 4 mm")
    qtbot.keyClick(plot, Qt.Key.Key_Right)
    assert shown.text().startswith("Shown: 4 mm")
    qtbot.keyClick(plot, Qt.Key.Key_Home)
    assert shown.text().startswith("Shown: 1 mm")
    child(swept, "sweep.loss").setValue(0.5)
    assert "Knee: 4 mm" in knee(swept, child) or "Knee: 2 mm" in knee(swept, child)
    qtbot.mouseClick(child(swept, "sweep.use_knee"), left)
    spacing = swept.controller.choices.spacing_mm[0]
    assert f"Knee: {spacing:g} mm" in knee(swept, child)
    qtbot.mouseClick(child(swept, "sweep.stability"), left)
    qtbot.waitUntil(lambda: "stability · scan" in viewer.layers)


def test_a_row_of_the_table_emphasizes_its_curves(swept, child, qtbot):
    swept.controller.structures.select((2,))
    panel = swept._structures
    panel.chosen.emit((2,))
    assert child(swept, "sweep.plot")._curves.emphasized == (2,)


@pytest.mark.parametrize("suffix", ["csv", "png", "svg"])
def test_exports(swept, child, qtbot, tmp_path, monkeypatch, suffix):
    asked = []
    monkeypatch.setattr(
        dialogs,
        "ask_table_path" if suffix == "csv" else "ask_figure_path",
        lambda parent, suggestion, *_: asked.append(suggestion) or str(tmp_path / f"a.{suffix}"),
    )
    action = swept.findChild(QAction, f"hyperspace.sweep.export.{suffix}")
    action.trigger()
    assert asked[0].endswith(f".{suffix}")
    assert child(swept, "message").text() == f"Saved a.{suffix}."
    path = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        assert len(path.read_text().splitlines()) == 4
    elif suffix == "png":
        plot, image = child(swept, "sweep.plot"), QImage(str(path))
        assert image.width() == 3 * plot.width()
    else:
        assert ET.parse(path).getroot().tag.endswith("svg")
        assert "working spacing (mm)" in path.read_text(encoding="utf-8")


def test_every_control_has_a_name_for_screen_readers(dock, child, qtbot):
    names = ("low", "high", "count", "axis", "where", "reference", "start", "plot", "loss")
    for name in (*names, "use_knee", "stability", "export"):
        control = child(dock, f"sweep.{name}", QWidget)
        assert control.accessibleName() and control.toolTip(), name


def test_nothing_is_cut_off_at_the_smallest_width(swept, qtbot):
    swept.resize(swept.minimumSizeHint().width(), 900)
    qtbot.wait(20)
    content = swept._sweep.content()
    for widget in content.findChildren(QWidget):
        if widget.isVisible() and widget.parentWidget() is content:
            assert widget.geometry().right() <= content.width(), widget.objectName()
            assert widget.width() >= widget.minimumSizeHint().width() or widget.inherits(
                "QComboBox"
            )


def test_the_plot_takes_any_values(qtbot):
    plot = SweepPlot()
    qtbot.addWidget(plot)
    nan = float("nan")
    structures = (StructureCurve(1, "one", "#ff0000", (0.0, 0.0), (nan, nan)),)
    curves = SweepCurves(
        (1.0, 1.0001), (1.0, 1.0), "z", None, (nan, nan), "x", (0.0, 0.0), (0.0, 0.0), structures
    )
    plot.setCurves(curves)
    wide = StructureCurve(2, "two", "#00ff00", (1e-3, 500.0), (1.0, 0.2))
    plot.setCurves(
        SweepCurves(
            *((0.5, 30.0), (0.5, 30.0), "", (0.8, 4.0), (1.0, 0.1), "the finest"),
            *((0.01, 900.0), (1e-4, 12.0), (*structures, wide), (2,), 1, 0),
        )
    )
    for theme in ("dark", "light"):
        plot.setColors(colors(theme))
        plot.grab()
    plot.setCurves(None)
    plot.grab()


def test_all_points_of_a_plot_are_one_item(qtbot):
    """Drawing happens for each finished spacing on the main thread: one item per curve is slow."""
    plot = SweepPlot()
    qtbot.addWidget(plot)
    nan, positions = float("nan"), (1.0, 2.0, 4.0)
    structures = tuple(
        StructureCurve(i, str(i), "#ff0000", (1.0, 0.9, nan), (10.0, float(i), nan))
        for i in range(1, 14)
    )
    curves = SweepCurves(
        *(positions, (1.0, 4.0), "", None, (1.0, 0.9, 0.8), "the finest"),
        *((9.0, 3.0, 1.0), (2.0, 1.0, 1.0), structures),
    )
    for emphasized in ((), (3,)):
        plot.setCurves(replace(curves, emphasized=emphasized))
        points = [
            [item for item in one.items if isinstance(item, pg.ScatterPlotItem)]
            for one in plot._plots
        ]
        assert [len(items) for items in points] == [1] * 4
        n_shown = len(emphasized) or len(structures)
        counts = [len(items[0].getData()[0]) for items in points]
        assert counts == [2 * n_shown + 3, 2 * n_shown, 3, 3]  # a mean; points that are numbers
    plot.grab()
