"""The window that segments a folder, by mouse and keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QComboBox, QFileDialog, QLineEdit, QTableWidget

from napari_hyperspace.gui.controllers.results.batch import BatchRequest, BatchRow
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.windows.batch import BatchWindow


@pytest.fixture
def window(dock):
    dock.findChild(QAction, "hyperspace.open.batch").trigger()
    return dock.findChild(BatchWindow)


def test_there_is_one_window_at_a_time(window, dock, child, click, qtbot):
    action = dock.findChild(QAction, "hyperspace.open.batch")
    action.trigger()
    assert dock.findChildren(BatchWindow) == [window]
    click(child(window, "batch.close"))
    action.trigger()
    (again,) = [one for one in dock.findChildren(BatchWindow) if one.isVisible()]
    assert again is not window


def test_each_control_is_described_for_screen_readers(window, child):
    names = ("source", "target", "browse_source", "browse_target", "policy", "spacing", "seconds")
    for name in (*names, "gigabytes", "table", "progress", "save", "run", "cancel", "close"):
        control = child(window, f"batch.{name}")
        assert control.accessibleName() and control.accessibleDescription(), name


def test_what_the_user_asks_for_is_run(window, child, click, qtbot, monkeypatch, tmp_path):
    asked = []
    window._controller.run = asked.append
    run = child(window, "batch.run")
    assert not run.isEnabled()
    assert "Model fake" in child(window, "batch.with").text()
    scans = str(tmp_path / "scans")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: scans)
    click(child(window, "batch.browse_source"))
    assert child(window, "batch.target", QLineEdit).text() == f"{scans}-labels"
    click(run)
    policy, spacing = child(window, "batch.policy", QComboBox), child(window, "batch.spacing")
    assert not spacing.isVisible()
    policy.setCurrentIndex(1)
    assert spacing.isVisible()
    qtbot.keyClicks(spacing, "1,1,3")
    click(run)
    policy.setCurrentIndex(2)
    assert child(window, "batch.seconds").isVisible()
    child(window, "batch.seconds").setValue(5)
    child(window, "batch.gigabytes").setValue(2)
    target = child(window, "batch.target")
    target.selectAll()
    qtbot.keyClicks(target, "/own")
    child(window, "batch.source").setText("/others")
    click(run)
    labels = f"{scans}-labels"
    assert asked == [
        BatchRequest(scans, labels, "native", "", 30.0, 0.0),
        BatchRequest(scans, labels, "fixed", "1,1,3", 30.0, 0.0),
        BatchRequest("/others", "/own", "budget", "1,1,3", 5.0, 2.0),
    ]


def test_rows_are_shown_and_opened_by_a_double_click(window, child, qtbot):
    opened = []
    window._controller.open_result = opened.append
    rows = [
        BatchRow("<b>a</b>.nii"),
        BatchRow("b.nii", "failed: damaged", tone="error"),
        BatchRow("c.nii", "labels in c.nii", "2 mm", "1.5 s", "good"),
    ]
    window.show_rows(rows)
    table = child(window, "batch.table", QTableWidget)
    assert [table.item(row, 0).text() for row in range(3)] == [row.name for row in rows]
    assert [table.item(2, column).text() for column in (1, 2, 3)] == [
        "2 mm",
        "1.5 s",
        "labels in c.nii",
    ]
    bad, good = window._colors.bad, window._colors.good
    assert [table.item(row, 3).foreground().color() for row in (1, 2)] == [bad, good]
    assert "&lt;b&gt;" in table.item(0, 0).toolTip()
    place = table.visualItemRect(table.item(2, 0)).center()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    qtbot.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert opened == [2]


def test_buttons_follow_the_batch(window, child, click, qtbot, monkeypatch):
    cancelled = []
    window._controller.cancel = lambda: cancelled.append(True)
    child(window, "batch.source").setText("/scans")
    window.show_state("scan 1 of 4…", "plain", 0.25)
    run, cancel = child(window, "batch.run"), child(window, "batch.cancel")
    assert (run.isEnabled(), cancel.isEnabled()) == (False, True)
    assert child(window, "batch.progress").value() == 250
    window._cancel.click()
    window.show_state("done", "good", None)
    assert (run.isEnabled(), cancel.isEnabled()) == (True, False)
    saved = []
    window._controller.export = saved.append
    save = child(window, "batch.save")
    assert not save.isEnabled()  # there are no results
    window.show_rows([BatchRow("a.nii")])
    window.show_state("done", "good", None)
    monkeypatch.setattr(dialogs, "ask_table_path", lambda parent, suggestion: suggestion)
    click(save)
    assert saved == [str(Path("/scans-labels/results.csv"))]
    click(child(window, "batch.close"))
    qtbot.waitUntil(lambda: not window._controller._window)
