"""Combo boxes over (key, name) pairs."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.gui.widgets.parts.choosers import Chooser


def test_a_chooser_emits_keys_and_runs_its_action(qtbot):
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
