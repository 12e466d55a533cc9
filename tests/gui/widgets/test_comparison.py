"""The section that compares two results, and the columns of the table, driven by mouse."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QToolButton, QWidget

from napari_hyperspace.core.volume import Record
from napari_hyperspace.gui.models.comparison import (
    ComparedResult,
    ComparisonState,
    describe_run,
)
from napari_hyperspace.gui.models.view import StructureRow
from napari_hyperspace.gui.widgets.comparison import ComparisonPanel
from napari_hyperspace.gui.widgets.structures import StructurePanel

BESIDE = ComparisonState(
    ComparedResult("scan · brain 2 mm", "12 s · 1.4 GB · fp32"),
    ComparedResult("<b>truth</b>", ""),
    "Mean Dice 0.900.",
    in_place=False,
    second_shown=False,
    different=True,
)
IN_PLACE = ComparisonState(
    BESIDE.first, BESIDE.second, BESIDE.summary, in_place=True, second_shown=True, different=True
)


@pytest.fixture
def panel(qtbot):
    panel = ComparisonPanel()
    qtbot.addWidget(panel)
    panel.show_comparison(BESIDE)
    panel.show()
    return panel


def part(panel, name, kind=QToolButton):
    return panel.findChild(kind, f"hyperspace.comparison.{name}")


def checked(panel):
    names = ("beside", "show_first", "show_second", "different")
    return [name for name in names if part(panel, name).isChecked()]


def test_names_and_costs_are_shown_as_plain_text(panel):
    assert part(panel, "first", QLabel).text() == "A: scan · brain 2 mm"
    assert part(panel, "first_facts", QLabel).text() == "12 s · 1.4 GB · fp32"
    assert part(panel, "second", QLabel).text() == "B: <b>truth</b>"
    assert part(panel, "second", QLabel).textFormat() == Qt.TextFormat.PlainText
    assert part(panel, "second_facts", QLabel).isHidden()
    assert part(panel, "summary", QLabel).text() == "Mean Dice 0.900."


def test_buttons_show_the_state_and_ask_for_another(panel, qtbot):
    assert checked(panel) == ["beside", "different"]
    said = []
    panel.besideChosen.connect(lambda: said.append("beside"))
    panel.placeChosen.connect(said.append)
    panel.differentToggled.connect(lambda on: said.append(("different", on)))
    panel.leaveRequested.connect(lambda: said.append("leave"))
    for name in ("show_first", "show_second", "beside", "different", "leave"):
        qtbot.mouseClick(part(panel, name), Qt.MouseButton.LeftButton)
    assert said == [False, True, "beside", ("different", False), "leave"]
    said.clear()
    panel.show_comparison(IN_PLACE)
    assert checked(panel) == ["show_second", "different"]
    assert not part(panel, "different").isEnabled()
    assert part(panel, "legend", QLabel).isHidden()
    assert said == []


def test_it_is_there_only_while_comparing(panel):
    assert panel.isVisible()
    panel.show_comparison(None)
    assert panel.isHidden()


def test_every_control_has_a_name_and_a_description(panel):
    for button in panel.findChildren(QToolButton):
        assert button.objectName() and button.accessibleName() and button.accessibleDescription()
    assert panel.findChildren(QWidget, "hyperspace.comparison.leave")


def test_the_cost_of_a_run_is_that_of_its_record():
    record = Record(
        model="brain",
        model_digest="",
        spacing_mm=(2, 2, 2),
        precision="fp32",
        device="cpu",
        overlap=0.25,
        seconds=12.3,
        peak_bytes=1_400_000_000,
    )
    assert describe_run({"record": record}) == "12 s · 1.4 GB · fp32"
    assert describe_run({"model": "brain"}) == ""


def test_the_table_has_columns_for_the_comparison_only(qtbot):
    panel = StructurePanel()
    qtbot.addWidget(panel)
    plain = [StructureRow((1,), "front", "#ff0000", True, 9, 1.5, 7.0)]
    compared = [
        StructureRow((1,), "front", "#ff0000", True, 9, 1.5, 7.0, 2.0, 0.9123),
        StructureRow((2,), "back", "#00ff00", True, 9, 4.0, 7.0, 1.0, 0.5),
        StructureRow((3,), "top", "#0000ff", True, 9, 4.0, 7.0, math.nan, math.nan),
    ]
    table = panel.table

    def shown():
        columns = [i for i in range(table.columnCount()) if not table.isColumnHidden(i)]
        return [table.horizontalHeaderItem(i).text() for i in columns]

    def texts(column):
        return [table.item(row, column).text() for row in range(table.rowCount())]

    panel.show_structures(plain, "labels", False)
    assert shown() == ["Structure", "ml", "mean"]
    panel.show_structures(compared, "labels", False)
    assert shown() == ["Structure", "ml", "B − A", "Dice"]
    assert texts(3) == ["+0.500", "−3.00", "–"]
    assert texts(4) == ["0.912", "0.500", "–"]
    table.sortItems(4)
    assert texts(0) == ["top", "back", "front"]
    panel.show_structures(plain, "labels", False)
    assert shown() == ["Structure", "ml", "mean"]
