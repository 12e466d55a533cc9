"""The panel of costs."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QLabel

from napari_hyperspace.gui.widgets.cost import CostPanel


@pytest.fixture
def panel(qtbot):
    panel = CostPanel()
    qtbot.addWidget(panel)
    panel.show_cost("about 9 s · 1.4 GB", True, ("Finer than the scan.",))
    return panel


def test_the_cost_of_other_choices_does_not_stand_for_long(panel, child):
    estimate, notes = (child(panel, name, QLabel) for name in ("estimate", "notes"))
    stale = panel.findChild(QTimer, "hyperspace.estimate.stale")
    panel.show_estimating("estimating…")
    panel.show_estimating("measuring this machine…")
    assert stale.isActive() and stale.isSingleShot()
    stale.timeout.emit()
    assert (estimate.text(), notes.text()) == ("measuring this machine…", "")


def test_an_estimate_that_comes_soon_replaces_the_former_one_without_a_flicker(panel, child):
    panel.show_estimating("estimating…")
    panel.show_cost("about 4 s · 1.0 GB", True, ())
    assert not panel.findChild(QTimer, "hyperspace.estimate.stale").isActive()
    assert child(panel, "estimate", QLabel).text() == "about 4 s · 1.0 GB"


def test_the_unit_of_the_memory_is_always_shown(panel, child, qtbot):
    """The box alone shows a unit neither at its smallest value nor while one types."""
    panel.section.expand(animate=False)
    panel.budget.show_budget(30.0, 0.0)
    panel.show()
    unit, box = child(panel, "run_gigabytes.unit", QLabel), child(panel, "run_gigabytes")
    assert unit.isVisible() and unit.text() == "GB"
    assert box.text() == "all free"
    with qtbot.waitSignal(panel.budget.fitRequested) as asked:
        panel.budget.button.click()
    assert asked.args == [30.0, None]
    box.setValue(2.5)
    with qtbot.waitSignal(panel.budget.fitRequested) as asked:
        panel.budget.button.click()
    assert asked.args == [30.0, 2.5e9]


def test_an_average_and_its_uncertainty_can_be_asked_for(panel, child):
    best, uncertainty = (child(panel, name, QCheckBox) for name in ("best", "uncertainty"))
    for box in (best, uncertainty):
        assert box.toolTip() == box.accessibleDescription() != ""
    assert not best.isChecked() and not uncertainty.isEnabled()
    best.click()
    assert uncertainty.isEnabled() and not uncertainty.isChecked()
    best.click()
    assert not uncertainty.isEnabled()
