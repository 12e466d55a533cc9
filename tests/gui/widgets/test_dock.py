"""The dock by mouse and keyboard, with its controls found by objectName."""

from __future__ import annotations

import threading

import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QLabel,
    QProgressBar,
    QPushButton,
    QShortcut,
    QToolButton,
    QWidget,
)

from napari_hyperspace.core.volume import PostprocessingOptions
from napari_hyperspace.gui.widgets.dock import HyperspaceWidget
from napari_hyperspace.gui.widgets.parts import dialogs
from napari_hyperspace.gui.widgets.parts.collapsible import CollapsibleSection
from napari_hyperspace.gui.widgets.parts.theme import colors

NAMES = (
    *("open", "model", "layer", "device", "lock", "live", "budget", "fit_budget"),
    *("spacing", "spacing_z", "spacing_y", "spacing_x"),
    *("run", "cancel", "save", "estimate", "curve", "message"),
)


def test_every_control_has_its_object_name_and_class(dock, child):
    for name in NAMES:
        child(dock, name)
    for name in ("model", "layer", "device"):
        child(dock, name, QComboBox)
    for name in ("run", "cancel", "save"):
        child(dock, name, QPushButton)
    assert child(dock, "budget").value() == 300
    assert not child(dock, "live").isChecked()


@pytest.mark.parametrize("locked", [True, False])
def test_no_control_is_cut_off_at_a_width_of_350_pixels(dock, qtbot, locked):
    dock.show_message("A message " * 30)
    dock._spacing.lock.setChecked(locked)
    dock.resize(350, 900)
    qtbot.wait(50)
    for widget in dock._page.findChildren(QWidget):
        if widget.isVisible() and widget.parentWidget() is dock._page:
            assert widget.geometry().right() <= dock._page.width(), widget.objectName()
            if isinstance(widget, QPushButton | QComboBox) or not widget.objectName():
                assert widget.height() >= widget.minimumSizeHint().height()
    assert dock._page.width() <= 350


def test_nothing_moves_when_warnings_and_messages_come(dock, qtbot, child):
    """Two lines are reserved; a longer message takes its room from the page, not from buttons."""

    def places():
        names = ("run", "cancel", "save", "spacing", "cost.toggle", "live", "postprocessing.toggle")
        return [child(dock, name).mapTo(dock, QPoint(0, 0)) for name in names]

    dock.show_message("")
    dock.show_cost("about 1 s", True, ())
    qtbot.wait(20)
    before = places()
    notes = ("Outside the trained 0.8–4 mm: extrapolated.", "Coarser than two voxels.")
    dock.show_cost("about 1 s", True, notes)
    dock.show_message("A message of several lines. " * 20)
    qtbot.wait(20)
    assert places() == before


def test_lines_are_reserved_in_the_font_that_is_shown(dock, child):
    """The style sets another font than the one that the label was made with."""
    notes = child(dock, "notes", QLabel)
    notes.setStyleSheet("font-size: 30px")
    notes.ensurePolished()
    assert notes.minimumHeight() >= 2 * notes.fontMetrics().lineSpacing() >= 60
    notes.setText("one line\nand another one")
    assert notes.heightForWidth(300) <= notes.minimumHeight()


def test_run_and_message_stay_in_view_when_the_dock_is_low(make_dock, viewer, qtbot, child):
    dock = make_dock(viewer, 350, 300)
    for name in ("run", "cancel", "save", "result", "message", "progress"):
        widget = child(dock, name)
        bottom = widget.mapTo(dock, QPoint(0, widget.height())).y()
        assert 0 < bottom <= dock.height(), name


@pytest.mark.parametrize("locked", [True, False])
def test_the_dock_cannot_be_made_narrower_than_its_content(dock, qtbot, locked):
    dock._spacing.lock.setChecked(locked)
    child_sections = dock.findChildren(QPushButton)
    for button in child_sections:
        if button.objectName().endswith(".toggle"):
            button.click()
    qtbot.waitUntil(lambda: dock._page.minimumSizeHint().width() <= dock.minimumSizeHint().width())
    dock.resize(dock.minimumSizeHint().width(), 700)
    qtbot.wait(20)
    assert dock._page.width() >= dock._page.minimumSizeHint().width()


def test_the_stage_and_the_time_left_are_on_the_bar(dock, child):
    bar = child(dock, "progress", QProgressBar)
    dock.show_progress(0.5, "Segmenting · about 6 s left")
    assert bar.isTextVisible() and bar.value() == 500
    assert bar.text() == "Segmenting · about 6 s left"
    assert bar.accessibleDescription() == bar.text()
    dock.show_progress(None)
    assert bar.value() == 0 and not bar.isTextVisible()


def test_features_add_sections_and_actions(dock, qtbot, child, click):
    section = CollapsibleSection("Sweep", "hyperspace.sweep")
    dock.add_section(section)
    assert dock._page.isAncestorOf(section)
    chosen = []
    for button in (dock.help, dock.result):
        action = button.add("Do…", "do", "Does something", lambda: chosen.append(1))
        assert action.objectName() == f"{button.objectName()}.do"
        action.trigger()
    assert chosen == [1, 1]


def test_the_spacing_controls_change_the_choices(dock, qtbot, services, child, click):
    child(dock, "spacing").setValue(2.0)
    assert dock.controller.choices.spacing_mm == (2.0, 2.0, 2.0)
    qtbot.waitUntil(lambda: services.models["fake"].baked[-1] == (2.0, 2.0, 2.0))
    click(child(dock, "lock"))
    child(dock, "spacing_z").setValue(3.0)
    assert dock.controller.choices.spacing_mm == (3.0, 2.0, 2.0)
    assert not dock.controller.choices.locked


def test_a_run_by_mouse(dock, viewer, services, qtbot, child, click):
    assert child(dock, "run").isEnabled()
    assert not child(dock, "cancel").isEnabled()
    click(child(dock, "run"))
    assert not child(dock, "run").isEnabled()
    assert child(dock, "cancel").isEnabled()
    qtbot.waitUntil(lambda: child(dock, "run").isEnabled())
    assert len(viewer.layers) == 2
    assert child(dock, "message").text().startswith("Took ")
    assert child(dock, "save").isEnabled()


def test_cancel_by_mouse(dock, viewer, services, qtbot, child, click):
    services.steps, services.step_seconds = 1000, 0.05
    click(child(dock, "run"))
    qtbot.wait(100)
    click(child(dock, "cancel"))
    qtbot.waitUntil(lambda: child(dock, "run").isEnabled(), timeout=500)
    assert len(viewer.layers) == 1


def test_fit_to_budget_opens_the_lock(dock, qtbot, child, click):
    click(child(dock, "fit_budget"))
    qtbot.waitUntil(lambda: child(dock, "spacing_z").value() == 2.0)
    assert child(dock, "spacing_y").value() == 1.5
    assert not child(dock, "lock").isChecked()
    assert dock.controller.choices.spacing_mm == (2.0, 1.5, 1.5)


def test_post_processing_is_collapsed_and_off_by_default(dock, qtbot, child, click):
    choices = dock.controller.choices
    largest, fill = child(dock, "largest_component"), child(dock, "fill_holes")
    toggle = child(dock, "postprocessing.toggle")
    assert (choices.largest_component, choices.fill_holes_mm3) == (False, 0.0)
    assert not largest.isVisible()
    click(toggle)
    assert largest.isVisible()
    assert toggle.text() == "Post-processing"
    largest.click()
    assert (choices.largest_component, choices.fill_holes_mm3) == (True, 0.0)
    fill.click()
    child(dock, "fill_holes_mm3").setValue(12.5)
    assert (choices.largest_component, choices.fill_holes_mm3) == (True, 12.5)
    child(dock, "split_sides").click()
    assert choices.postprocessing() == PostprocessingOptions(True, 0.0, 12.5, split_sides=True)
    assert "left and right divided" in dock.controller.batch.describe()
    child(dock, "split_sides").click()
    assert not choices.split_sides
    click(toggle)
    assert toggle.text() == "Post-processing: on"  # also while it is collapsed
    largest.click()
    fill.click()
    assert (choices.largest_component, choices.fill_holes_mm3) == (False, 0.0)
    assert toggle.text() == "Post-processing"


def test_layers_are_chosen_by_name(dock, viewer, qtbot, add_scan, child):
    add_scan(viewer, "scan", scale=(3.0, 3.0, 3.0)).name = "scan"
    layers = child(dock, "layer")
    assert sorted(layers.itemText(i) for i in range(2)) == ["scan", "scan [1]"]
    layers.setCurrentIndex(layers.findText("scan [1]"))
    assert child(dock, "spacing").value() == 3.0


def test_live_preview_and_its_time(dock, viewer, services, qtbot, child):
    child(dock, "budget").setValue(150)
    child(dock, "live").setChecked(True)
    qtbot.waitUntil(lambda: any("preview" in layer.name for layer in viewer.layers))
    assert dock.controller.choices.preview_ms == 150
    child(dock, "live").setChecked(False)
    assert len(viewer.layers) == 1


def test_open_by_mouse(dock, viewer, services, qtbot, monkeypatch, oblique_volume, child, click):
    services.files["/a.nii"] = oblique_volume
    monkeypatch.setattr(dialogs.QFileDialog, "getOpenFileName", lambda *a: ("/a.nii", ""))
    click(child(dock, "open"))
    qtbot.waitUntil(lambda: "oblique" in viewer.layers)
    assert child(dock, "layer").currentText() == "oblique"
    assert not child(dock, "lock").isChecked()


def test_opening_a_folder_and_a_model_file(
    dock, viewer, services, qtbot, monkeypatch, oblique_volume, child
):
    services.files["/series"] = oblique_volume
    monkeypatch.setattr(dialogs.QFileDialog, "getExistingDirectory", lambda *a: "/series")
    dock.findChild(QAction, "hyperspace.open.folder").trigger()
    qtbot.waitUntil(lambda: "oblique" in viewer.layers)
    services.models["/m/mine.safetensors"] = services.models["other"]
    monkeypatch.setattr(
        dialogs.QFileDialog, "getOpenFileName", lambda *a: ("/m/mine.safetensors", "")
    )
    models = child(dock, "model")
    models.setCurrentIndex(models.findText("Open model file…"))
    assert models.currentText() == "mine"
    qtbot.waitUntil(lambda: dock.controller.models.model is services.models["other"])


def test_save_by_mouse_shows_the_receipt(dock, viewer, services, qtbot, monkeypatch, child, click):
    click(child(dock, "run"))
    qtbot.waitUntil(lambda: child(dock, "save").isEnabled())
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *a: ("/out.nii.gz", ""))
    click(child(dock, "save"))
    qtbot.waitUntil(lambda: "affine bit-identical" in child(dock, "message").text())
    assert services.written[0][1] == "/out.nii.gz"


def test_markup_in_names_is_shown_as_text(dock, viewer, services, qtbot, child):
    dock.show_message("<b>bold</b> <img src='x'>", "error")
    message = child(dock, "message", QLabel)
    assert message.text() == "<b>bold</b> <img src='x'>"
    constant = {"hyperspace.comparison.legend"}  # colored text without names
    for label in dock.findChildren(QLabel):
        if label.objectName() in constant:
            continue
        if label.objectName().startswith("hyperspace") or label.wordWrap():
            assert label.textFormat() == Qt.TextFormat.PlainText
    viewer.layers[0].name = "<h1>scan</h1>"
    tip = child(dock, "layer").itemData(0, Qt.ItemDataRole.ToolTipRole)
    assert "&lt;h1&gt;" in tip


def test_a_spacing_outside_the_trained_range_is_noted(dock, qtbot, child):
    child(dock, "spacing").setValue(6.0)
    notes = dock.findChild(QLabel, "hyperspace.notes")
    qtbot.waitUntil(lambda: "extrapolated" in notes.text())
    child(dock, "spacing").setValue(1.0)
    qtbot.waitUntil(lambda: not notes.text())


def test_the_dock_follows_the_theme(dock, viewer):
    viewer.theme = "light"
    assert dock._colors == colors("light")


def test_deleting_the_widget_disconnects_from_the_viewer(qtbot, viewer, services, add_scan):
    widget = HyperspaceWidget(viewer, services)
    controller = widget.controller
    qtbot.waitUntil(lambda: controller.models.model is not None)
    widget.deleteLater()
    qtbot.waitUntil(lambda: controller.closed)
    add_scan(viewer, "later")
    viewer.theme = "light"


def test_the_shortcuts_are_none_of_napari(dock):
    from napari.utils.shortcuts import default_shortcuts
    from qtpy.QtGui import QKeySequence

    taken = {
        QKeySequence(str(keys)).toString() for one in default_shortcuts.values() for keys in one
    }
    taken |= {f"Ctrl+Shift+{letter}" for letter in "COPT"}  # of napari's menus and its palette
    ours = {shortcut.key().toString() for shortcut in dock.findChildren(QShortcut)}
    assert {"Ctrl+Shift+R", "Ctrl+Shift+X", "Ctrl+Shift+H"} <= ours
    assert not ours & taken


def test_run_cancel_and_structures_by_keyboard(dock, viewer, services, qtbot, child):
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    dock.activateWindow()
    layers = child(dock, "layer")
    child(dock, "run").setFocus()
    qtbot.waitUntil(child(dock, "run").hasFocus)  # the window is active
    qtbot.keyClick(dock, Qt.Key.Key_H, keys)
    qtbot.waitUntil(layers.hasFocus)
    qtbot.keyClick(dock, Qt.Key.Key_R, keys)
    table = child(dock, "structures.table")
    qtbot.waitUntil(lambda: table.rowCount() == 2)
    chosen = []
    dock._structures.chosen.connect(chosen.append)
    for _ in range(3):
        qtbot.keyClick(dock, Qt.Key.Key_N, keys)
    assert chosen == [(1,), (2,), (1,)]
    services.gate = threading.Event()
    qtbot.keyClick(dock, Qt.Key.Key_R, keys)
    assert dock.controller.running
    qtbot.keyClick(dock, Qt.Key.Key_X, keys)
    qtbot.waitUntil(lambda: not dock.controller.running)
    assert child(dock, "message").text() == "Cancelled."
    qtbot.keyClick(dock, Qt.Key.Key_L, keys)
    assert dock.controller.choices.live


def test_every_control_has_a_visible_focus(dock, qtbot):
    """A control that looks the same with and without the focus cannot be used by keyboard."""
    kinds = (QPushButton, QToolButton, QComboBox, QAbstractSpinBox, QCheckBox)
    dock.activateWindow()
    controls = [one for kind in kinds for one in dock.findChildren(kind)]
    controls = [one for one in controls if one.isVisible() and one.isEnabled()]
    names = {one.objectName() for one in controls}
    assert {"hyperspace.run", "hyperspace.lock", "hyperspace.help", "hyperspace.model"} <= names
    for one in controls:
        dock.setFocus()
        before = one.grab().toImage()
        one.setFocus(Qt.FocusReason.TabFocusReason)
        qtbot.waitUntil(one.hasFocus)
        assert one.grab().toImage() != before, one.objectName()


def test_the_guide_and_the_shortcuts_are_in_the_menu_help(dock, qtbot, child):
    dock.findChild(QAction, "hyperspace.help.guide").trigger()
    assert "Live preview" in child(dock, "guide.text").toPlainText()
    dock.findChild(QAction, "hyperspace.help.shortcuts").trigger()
    text = child(dock, "shortcuts.text").toPlainText()
    assert "Next structure" in text and "Ctrl+Shift+R" in text


def test_scans_opened_before_are_offered_until_the_list_is_cleared(
    dock, services, viewer, qtbot, monkeypatch, tmp_path, oblique_volume, child
):
    monkeypatch.setenv("HYPERSPACE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "patient & co.nii"
    path.touch()
    services.files[str(path)] = oblique_volume
    menu = child(dock, "open").menu()
    menu.aboutToShow.emit()
    assert dock.findChild(QAction, "hyperspace.open.recent_1") is None
    before = [one.text() for one in menu.actions()]
    dock.controller.files.open(str(path))
    qtbot.waitUntil(lambda: not dock.controller.running)
    menu.aboutToShow.emit()
    recent = dock.findChild(QAction, "hyperspace.open.recent_1")
    assert recent.text() == "patient && co.nii"
    recent.trigger()
    qtbot.waitUntil(lambda: not dock.controller.running)
    assert len(viewer.layers) == 3
    dock.findChild(QAction, "hyperspace.open.clear").trigger()
    menu.aboutToShow.emit()
    assert [one.text() for one in menu.actions()] == before


def test_a_new_user_is_told_what_to_do(make_dock, services, monkeypatch, tmp_path, child):
    monkeypatch.setenv("HYPERSPACE_CACHE", str(tmp_path / "cache"))
    dock = make_dock(ViewerModel(), 350, 700)
    assert child(dock, "message").text().startswith("New here? Open a scan")


def test_preferences_take_effect_at_once_and_choices_are_remembered(
    viewer, services, stored, qtbot, make_dock, child, click
):
    chosen = stored()
    chosen.preview.budget_ms = 250
    dock = make_dock(viewer, 350, 700)
    qtbot.waitUntil(lambda: dock.controller.models.model is not None)
    assert child(dock, "budget").value() == 250
    chosen.preview.budget_ms = 640
    chosen.last.budget_gb = 2.5
    chosen.last.joined = False
    assert child(dock, "budget").value() == 640
    assert child(dock, "run_gigabytes").value() == 2.5
    assert not child(dock, "lock").isChecked()
    child(dock, "run_seconds").setValue(77.0)
    child(dock, "model").setCurrentIndex(child(dock, "model").findText("other"))
    child(dock, "lock").click()
    assert (chosen.run.budget_s, chosen.last.model, chosen.last.joined) == (77.0, "other", True)
    dock.controller.close()
