"""Dialogs, answered by keyboard and mouse while they run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.importorskip("pytestqt")

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QDialog, QLabel, QPushButton, QWidget

from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.spacing_dialog import ExactBox, SpacingDialog

ODD = (5.000000001, 0.1018, 0.41015625001)


@pytest.fixture
def answer(qtbot) -> Callable[..., None]:
    """Press a button of the next dialog, after doing something in it."""

    def press(button: str, act: Callable[[QWidget], None] = lambda dialog: None) -> None:
        def pressed() -> None:
            dialog = QApplication.activeModalWidget()
            act(dialog)
            name = f"hyperspace.dialog.{button}"
            qtbot.mouseClick(dialog.findChild(QPushButton, name), Qt.MouseButton.LeftButton)

        QTimer.singleShot(0, pressed)

    return press


def box(dialog, axis):
    return dialog.findChild(ExactBox, f"hyperspace.dialog.spacing_{axis}")


def marks(dialog):
    return [dialog.findChild(QLabel, f"hyperspace.dialog.mark_{axis}").text() for axis in "zyx"]


@pytest.fixture
def parent(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


def test_a_choice_is_returned_or_none(parent, answer):
    answer("ok")
    assert dialogs.ask_choice(parent, "t", "<b>q</b>", ["first", "second"]) == 0
    answer("ok", lambda one: one.findChild(QWidget, "hyperspace.dialog.options").setCurrentIndex(1))
    assert dialogs.ask_choice(parent, "t", "q", ["first", "second"]) == 1
    answer("cancel")
    assert dialogs.ask_choice(parent, "t", "q", ["first"]) is None


@pytest.mark.parametrize("spacing", [ODD, (1e-4, 1 / 3, 250.0), (0.0005, 0.05, 50.0)])
def test_an_unedited_spacing_is_returned_bit_for_bit(parent, answer, spacing):
    answer("ok")
    assert dialogs.ask_spacing(parent, "t", "q", spacing) == spacing
    answer("cancel")
    assert dialogs.ask_spacing(parent, "t", "q", spacing) is None


def test_untouched_fields_keep_their_digits_and_changed_ones_are_marked(parent, answer, qtbot):
    def edit(dialog):
        assert marks(dialog) == ["", "", ""]
        assert box(dialog, "z").text() == "5 mm"
        box(dialog, "y").selectAll()
        qtbot.keyClicks(box(dialog, "y"), "0.35")
        assert marks(dialog) == ["", "● was 0.1018 mm", ""]

    answer("ok", edit)
    assert dialogs.ask_spacing(parent, "t", "q", ODD) == (ODD[0], 0.35, ODD[2])


def test_reset_sets_what_the_file_states(parent, answer, qtbot):
    def reset(dialog):
        assert marks(dialog) == ["● was 2.5 mm", "", ""]
        button = dialog.findChild(QPushButton, "hyperspace.dialog.reset")
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        assert marks(dialog) == ["", "", ""]
        assert not button.isEnabled()

    answer("ok", reset)
    file = (2.5, *ODD[1:])
    assert dialogs.ask_spacing(parent, "t", "q", ODD, file) == file


def test_the_first_field_has_the_focus_and_return_accepts(parent, qtbot):
    dialog = SpacingDialog("t", "q", ODD, None, parent)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.activateWindow()
    qtbot.waitUntil(lambda: dialog.focusWidget() is box(dialog, "z"))
    qtbot.keyClicks(dialog.focusWidget(), "3")  # replaces the selected number
    qtbot.keyClick(dialog.focusWidget(), Qt.Key.Key_Return)
    assert dialog.result() == QDialog.DialogCode.Accepted
    assert dialog.spacing() == (3.0, *ODD[1:])


@pytest.mark.parametrize(
    ("typed", "chosen", "path"),
    [
        ("result", 0, "result.nii.gz"),
        ("result.v2", 1, "result.v2.nrrd"),
        ("result.MHA", 0, "result.MHA"),
        ("result.nii", 1, "result.nii"),
        ("", 0, None),
    ],
)
def test_a_name_without_an_extension_gets_that_of_the_format(
    parent, monkeypatch, tmp_path, typed, chosen, path
):
    def ask(parent, title, suggestion, filters):
        return str(tmp_path / typed) if typed else "", filters.split(";;")[chosen]

    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", ask)
    expected = None if path is None else str(tmp_path / path)
    assert dialogs.ask_save_path(parent, "labels.nii.gz") == expected


@pytest.mark.parametrize("button", ["ok", "cancel"])
def test_a_file_that_gets_an_extension_is_replaced_only_on_request(
    parent, answer, monkeypatch, tmp_path, button
):
    existing = tmp_path / "table.csv"
    existing.touch()
    name = str(existing.with_suffix(""))
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *_: (name, ""))
    answer(button)
    expected = str(existing) if button == "ok" else None
    assert dialogs.ask_table_path(parent, "a.csv") == expected
