from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton, QWidget

from napari_hyperspace.gui.models.scales import Scale, make_scales
from napari_hyperspace.gui.models.spacings import LIMITS_MM
from napari_hyperspace.gui.widgets import dialogs
from napari_hyperspace.gui.widgets.choosers import Chooser
from napari_hyperspace.gui.widgets.curve import CostCurve
from napari_hyperspace.gui.widgets.dock import HyperspaceWidget
from napari_hyperspace.gui.widgets.slider import SpacingSlider
from napari_hyperspace.gui.widgets.spacing import SpacingPanel
from napari_hyperspace.gui.widgets.theme import colors

NAMES = (
    *("open", "model", "layer", "device", "lock", "live", "budget", "fit_budget"),
    *("spacing", "spacing_z", "spacing_y", "spacing_x"),
    *("run", "cancel", "save", "estimate", "curve", "message"),
)


def add_scan(viewer, name="scan", scale=(1.0, 1.0, 1.0)):
    values = np.random.default_rng(1).normal(size=(12, 14, 16))
    return viewer.add_layer(Image(values, scale=scale, units="mm", name=name))


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    add_scan(viewer)
    return viewer


@pytest.fixture
def dock(qtbot, viewer, services):
    widget = HyperspaceWidget(viewer, services)
    qtbot.addWidget(widget, before_close_func=lambda one: one.controller.close())
    widget.resize(350, 700)
    widget.show()
    qtbot.waitUntil(lambda: "fits" in child(widget, "estimate").text())
    return widget


def child(dock, name, kind=QWidget):
    found = dock.findChildren(kind, f"hyperspace.{name}")
    assert len(found) == 1, name
    return found[0]


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.fixture
def slider(qtbot):
    slider = SpacingSlider()
    qtbot.addWidget(slider)
    slider.resize(220, 40)
    slider.setScale(Scale(0.4, 8.0, (0.8, 4.0), (1.0,)))
    slider.show()
    return slider


def test_slider_answers_in_mm(slider, qtbot):
    with qtbot.waitSignal(slider.valueChanged) as heard:
        slider.setValue(2.5)
    assert heard.args == [2.5]
    assert slider.value() == 2.5
    slider.setValue(1 / 3)
    assert slider.value() == 1 / 3


def test_slider_grows_to_show_what_is_set(slider):
    slider.setValue(20.0)
    assert slider.value() == slider.scale().high == 20.0
    slider.setValue(1000.0)
    assert slider.value() == LIMITS_MM[1]


@pytest.mark.parametrize("spacing", [0.5, 1.0, 3.7])
def test_a_click_sets_the_spacing_drawn_there(slider, qtbot, spacing):
    moved = []
    slider.moved.connect(moved.append)
    qtbot.mouseClick(
        slider, Qt.MouseButton.LeftButton, pos=QPoint(round(slider.position_of(spacing)), 14)
    )
    assert slider.value() == pytest.approx(spacing, rel=0.02)
    assert moved == [slider.value()]


def test_dragging_goes_on_beyond_the_ends(slider, qtbot):
    qtbot.mousePress(slider, Qt.MouseButton.LeftButton, pos=QPoint(100, 14))
    slider.setValue(slider.value())
    qtbot.mouseMove(slider, QPoint(500, 14))
    qtbot.waitUntil(lambda: slider.value() == 8.0)
    qtbot.mouseRelease(slider, Qt.MouseButton.LeftButton, pos=QPoint(500, 14))


def test_keys_step(slider, qtbot):
    slider.setValue(2.0)
    qtbot.keyClick(slider, Qt.Key.Key_Right)
    assert slider.value() == pytest.approx(2.04)
    qtbot.keyClick(slider, Qt.Key.Key_PageDown)
    assert slider.value() == pytest.approx(2.04 / 1.02**8, rel=0.01)


def test_zones_and_native_tick_are_painted(slider):
    slider.setColors(colors("dark"))
    slider.setValue(8.0)
    image = slider.grab().toImage()
    ratio = image.devicePixelRatio()

    def pixel(spacing, y):
        return image.pixelColor(round(slider.position_of(spacing) * ratio), round(y * ratio))

    accent, mark = colors("dark").accent, colors("dark").mark
    for spacing in (0.9, 2.0, 3.8):
        assert pixel(spacing, 14).name() == accent.name()
    for spacing in (0.5, 6.0):
        assert pixel(spacing, 14).name() != accent.name()
    assert pixel(1.0, 4).name() == mark.name()
    assert pixel(2.0, 4).name() != mark.name()


@pytest.fixture
def panel(qtbot):
    panel = SpacingPanel()
    qtbot.addWidget(panel)
    panel.setScales(make_scales(((0.8, 4.0),) * 3, (1.0, 1.0, 1.0)))
    panel.show()
    return panel


def test_the_lock_opens_into_one_slider_an_axis(panel, qtbot):
    assert panel.together.isVisible()
    assert not any(slider.isVisible() for slider in panel.each)
    click(qtbot, panel.lock)
    assert not panel.together.isVisible()
    assert all(slider.isVisible() for slider in panel.each)


def test_one_slider_for_all_then_one_for_each(panel, qtbot):
    heard = []
    panel.spacingChanged.connect(heard.append)
    panel.together.setValue(2.0)
    assert heard == [(2.0, 2.0, 2.0)]
    click(qtbot, panel.lock)
    panel.each[0].setValue(4.0)
    assert heard[-1] == panel.spacing() == (4.0, 2.0, 2.0)
    panel.together.setValue(3.0)  # from outside, even while it is hidden
    assert heard[-1] == panel.spacing() == (3.0, 3.0, 3.0)
    panel.each[2].setValue(1.0)
    click(qtbot, panel.lock)
    assert len(set(panel.spacing())) == 1
    assert heard[-1] == panel.spacing()
    panel.each[1].setValue(1.5)  # locked: it moves all
    assert panel.spacing() == (1.5, 1.5, 1.5)


def test_showing_a_spacing_is_no_choice_of_the_users(panel):
    heard = []
    panel.spacingChanged.connect(heard.append)
    panel.setSpacing((3.0, 1.0, 1.0))
    assert panel.spacing() == (3.0, 1.0, 1.0)
    assert heard == []


def test_numbers_are_typed_in_mm(panel, qtbot):
    number = panel.findChild(QWidget, "hyperspace.spacing.number")
    number.lineEdit().selectAll()
    qtbot.keyClicks(number.lineEdit(), "2.75")
    qtbot.keyClick(number.lineEdit(), Qt.Key.Key_Return)
    assert panel.spacing() == (2.75, 2.75, 2.75)
    panel.together.setValue(1.23456)
    assert panel.together.value() == 1.23456  # the number beside it rounds, the slider does not
    assert number.value() == 1.23


def test_chooser_says_keys_and_runs_its_action(qtbot):
    chooser = Chooser("any", "")
    qtbot.addWidget(chooser)
    chosen, acted = [], []
    chooser.chosen.connect(chosen.append)
    chooser.set_action("Open…", lambda: acted.append(True))
    chooser.fill([("a", "Same name"), ("b", "Same name")], "b")
    assert (chooser.currentIndex(), chosen) == (1, [])
    chooser.setCurrentIndex(0)
    assert chosen == ["a"]
    chooser.setCurrentIndex(chooser.findText("Open…"))
    assert acted == [True]
    assert (chooser.current_key(), chooser.currentIndex(), chosen) == ("a", 0, ["a"])


def test_curve_shows_what_does_not_fit_and_the_point(qtbot):
    curve = CostCurve()
    qtbot.addWidget(curve)
    curve.setCurve((1, 2, 3, 4), (8.0, 1.0, 0.3, 0.1), (False, False, True, True), (0.8, 4.0))
    curve.setPoint(2.5, 0.5)
    curve.show()
    fits, too_large = (item.getData() for item in (curve._fits, curve._too_large))
    np.testing.assert_array_equal(np.isfinite(fits[1]), (False, False, True, True))
    np.testing.assert_array_equal(np.isfinite(too_large[1]), (True, True, True, False))
    np.testing.assert_allclose(fits[0], np.log10((1, 2, 3, 4)))
    np.testing.assert_allclose(curve._point.getData(), np.log10([[2.5], [0.5]]))
    np.testing.assert_allclose(curve._trained.getRegion(), np.log10((0.8, 4.0)))


def test_curve_shows_measured_dice_and_only_joins_what_is_known(qtbot):
    curve = CostCurve()
    qtbot.addWidget(curve)
    curve.resize(300, 130)
    curve.show()
    curve.setCurve((1, 2, 4), (8.0, 1.0, 0.3), (True,) * 3, (0.8, 4.0))
    curve.setAccuracy(((1.0, 0.9), (3.0, 0.7)), True, (2.0, 0.8))
    x, y = curve._dice.getData()
    np.testing.assert_allclose(x, np.log10((1, 3)))
    np.testing.assert_allclose(y, (0.9, 0.7))
    assert curve._dice.opts["pen"].style() == Qt.PenStyle.SolidLine
    np.testing.assert_allclose(curve._dice_point.getData(), [[np.log10(2)], [0.8]])
    assert curve._dice_axis.isVisible()
    low, high = curve._dice_axis.range
    assert low < 0.7 and high > 0.9
    times = curve.getPlotItem().getViewBox()
    qtbot.waitUntil(lambda: curve._accuracy.geometry() == times.sceneBoundingRect())
    assert curve._accuracy.viewRange()[0] == pytest.approx(times.viewRange()[0])
    curve.setAccuracy(((1.5, 0.9),), False, None)
    assert curve._dice.opts["pen"].style() == Qt.PenStyle.NoPen
    assert curve._dice_point.getData()[0].size == 0
    curve.setAccuracy((), False, None)
    assert not curve._dice_axis.isVisible()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_text_can_be_read_in_each_theme(theme):
    chosen = colors(theme)

    def contrast(one, other):
        def luminance(color):
            parts = np.array(color.getRgbF()[:3])
            linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
            return linear @ (0.2126, 0.7152, 0.0722)

        bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
        return (bright + 0.05) / (dim + 0.05)

    assert contrast(chosen.text, chosen.background) > 7
    assert contrast(chosen.faint, chosen.background) > 3
    assert contrast(chosen.good, chosen.background) > 3.5
    assert contrast(chosen.bad, chosen.background) > 3.5
    assert contrast(chosen.on_accent, chosen.accent) > 3


def test_every_control_has_its_name_and_kind(dock):
    for name in NAMES:
        child(dock, name)
    for name in ("model", "layer", "device"):
        child(dock, name, QComboBox)
    for name in ("run", "cancel", "save"):
        child(dock, name, QPushButton)
    assert child(dock, "budget").value() == 300
    assert not child(dock, "live").isChecked()


@pytest.mark.parametrize("locked", [True, False])
def test_nothing_is_cut_off_at_350_pixels(dock, qtbot, locked):
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


def test_spacing_controls_reach_the_choices(dock, qtbot, services):
    child(dock, "spacing").setValue(2.0)
    assert dock.controller.choices.spacing_mm == (2.0, 2.0, 2.0)
    qtbot.waitUntil(lambda: services.models["fake"].baked[-1] == (2.0, 2.0, 2.0))
    click(qtbot, child(dock, "lock"))
    child(dock, "spacing_z").setValue(3.0)
    assert dock.controller.choices.spacing_mm == (3.0, 2.0, 2.0)
    assert not dock.controller.choices.locked


def test_a_run_by_mouse(dock, viewer, services, qtbot):
    assert child(dock, "run").isEnabled()
    assert not child(dock, "cancel").isEnabled()
    click(qtbot, child(dock, "run"))
    assert not child(dock, "run").isEnabled()
    assert child(dock, "cancel").isEnabled()
    qtbot.waitUntil(lambda: child(dock, "run").isEnabled())
    assert len(viewer.layers) == 2
    assert child(dock, "message").text().startswith("Predicted ")
    assert child(dock, "save").isEnabled()


def test_cancel_by_mouse(dock, viewer, services, qtbot):
    services.steps, services.step_seconds = 1000, 0.05
    click(qtbot, child(dock, "run"))
    qtbot.wait(100)
    click(qtbot, child(dock, "cancel"))
    qtbot.waitUntil(lambda: child(dock, "run").isEnabled(), timeout=500)
    assert len(viewer.layers) == 1


def test_fit_to_budget_opens_the_lock(dock, qtbot):
    click(qtbot, child(dock, "fit_budget"))
    qtbot.waitUntil(lambda: child(dock, "spacing_z").value() == 2.0)
    assert child(dock, "spacing_y").value() == 1.5
    assert not child(dock, "lock").isChecked()
    assert dock.controller.choices.spacing_mm == (2.0, 1.5, 1.5)


def test_postprocessing_is_off_and_folded_until_asked_for(dock, qtbot):
    choices = dock.controller.choices
    largest, fill = child(dock, "largest_component"), child(dock, "fill_holes")
    toggle = child(dock, "postprocessing.toggle")
    assert (choices.largest_component, choices.fill_holes_mm3) == (False, 0.0)
    assert not largest.isVisible()
    click(qtbot, toggle)
    assert largest.isVisible()
    assert toggle.text() == "Post-processing"
    largest.click()
    assert (choices.largest_component, choices.fill_holes_mm3) == (True, 0.0)
    fill.click()
    child(dock, "fill_holes_mm3").setValue(12.5)
    assert (choices.largest_component, choices.fill_holes_mm3) == (True, 12.5)
    click(qtbot, toggle)
    assert toggle.text() == "Post-processing: on"  # though it is folded
    largest.click()
    fill.click()
    assert (choices.largest_component, choices.fill_holes_mm3) == (False, 0.0)
    assert toggle.text() == "Post-processing"


def test_layers_are_chosen_by_name(dock, viewer, qtbot):
    add_scan(viewer, "scan", scale=(3.0, 3.0, 3.0)).name = "scan"
    layers = child(dock, "layer")
    assert sorted(layers.itemText(i) for i in range(2)) == ["scan", "scan [1]"]
    layers.setCurrentIndex(layers.findText("scan [1]"))
    assert child(dock, "spacing").value() == 3.0


def test_live_and_budget(dock, viewer, services, qtbot):
    child(dock, "budget").setValue(150)
    child(dock, "live").setChecked(True)
    qtbot.waitUntil(lambda: any("preview" in layer.name for layer in viewer.layers))
    assert dock.controller.choices.preview_ms == 150
    child(dock, "live").setChecked(False)
    assert len(viewer.layers) == 1


def test_open_by_mouse(dock, viewer, services, qtbot, monkeypatch, oblique_volume):
    services.files["/a.nii"] = oblique_volume
    monkeypatch.setattr(dialogs.QFileDialog, "getOpenFileName", lambda *a: ("/a.nii", ""))
    click(qtbot, child(dock, "open"))
    qtbot.waitUntil(lambda: "oblique" in viewer.layers)
    assert child(dock, "layer").currentText() == "oblique"
    assert not child(dock, "lock").isChecked()


def test_open_folder_and_own_model(dock, viewer, services, qtbot, monkeypatch, oblique_volume):
    services.files["/series"] = oblique_volume
    monkeypatch.setattr(dialogs.QFileDialog, "getExistingDirectory", lambda *a: "/series")
    dock._open_folder.trigger()
    qtbot.waitUntil(lambda: "oblique" in viewer.layers)
    services.models["/m/mine.safetensors"] = services.models["other"]
    monkeypatch.setattr(
        dialogs.QFileDialog, "getOpenFileName", lambda *a: ("/m/mine.safetensors", "")
    )
    models = child(dock, "model")
    models.setCurrentIndex(models.findText("Open model file…"))
    assert models.currentText() == "mine"
    qtbot.waitUntil(lambda: dock.controller.models.model is services.models["other"])


def test_save_by_mouse_shows_the_receipt(dock, viewer, services, qtbot, monkeypatch):
    click(qtbot, child(dock, "run"))
    qtbot.waitUntil(lambda: child(dock, "save").isEnabled())
    monkeypatch.setattr(dialogs.QFileDialog, "getSaveFileName", lambda *a: ("/out.nii.gz", ""))
    click(qtbot, child(dock, "save"))
    qtbot.waitUntil(lambda: "affine bit-identical" in child(dock, "message").text())
    assert services.written[0][1] == "/out.nii.gz"


def test_untrusted_text_is_shown_as_it_is(dock, viewer, services, qtbot):
    dock.show_message("<b>bold</b> <img src='x'>", "error")
    message = child(dock, "message", QLabel)
    assert message.text() == "<b>bold</b> <img src='x'>"
    for label in dock.findChildren(QLabel):
        if label.objectName().startswith("hyperspace") or label.wordWrap():
            assert label.textFormat() == Qt.TextFormat.PlainText
    viewer.layers[0].name = "<h1>scan</h1>"
    tip = child(dock, "layer").itemData(0, Qt.ItemDataRole.ToolTipRole)
    assert "&lt;h1&gt;" in tip


def test_an_outside_spacing_is_shown(dock, qtbot):
    child(dock, "spacing").setValue(6.0)
    notes = dock.findChild(QLabel, "hyperspace.notes")
    qtbot.waitUntil(lambda: "extrapolated" in notes.text())
    assert notes.isVisible()
    child(dock, "spacing").setValue(1.0)
    qtbot.waitUntil(lambda: not notes.isVisible())


def test_the_theme_is_followed(dock, viewer):
    viewer.theme = "light"
    assert dock._colors == colors("light")


def test_dialogs_answer(qtbot, dock, monkeypatch):
    monkeypatch.setattr(dialogs.Dialog, "exec", lambda self: True)
    assert dialogs.ask_spacing(dock, "t", "q", (5.0, 0.7, 0.6)) == (5.0, 0.7, 0.6)
    assert dialogs.ask_choice(dock, "t", "<b>q</b>", ["first", "second"]) == 0
    monkeypatch.setattr(dialogs.Dialog, "exec", lambda self: False)
    assert dialogs.ask_spacing(dock, "t", "q", (5.0, 0.7, 0.6)) is None
    assert dialogs.ask_choice(dock, "t", "q", ["first"]) is None


def test_deleting_the_widget_lets_go_of_the_viewer(qtbot, viewer, services):
    widget = HyperspaceWidget(viewer, services)
    controller = widget.controller
    qtbot.waitUntil(lambda: controller.models.model is not None)
    widget.deleteLater()
    qtbot.waitUntil(lambda: controller.closed)
    add_scan(viewer, "later")
    viewer.theme = "light"
