"""Combo boxes over (key, name) pairs."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")
from qtpy.QtCore import Qt

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


def test_a_chooser_has_several_actions_and_tips_as_plain_text(qtbot):
    chooser = Chooser("any", "")
    qtbot.addWidget(chooser)
    acted = []
    for text in ("Open…", "Manage…", "Open…"):
        chooser.set_action(text, lambda text=text: acted.append(text))
    chooser.set_tips({"a": "<b>for</b> heads"})
    chooser.fill([("a", "first"), ("b", "second")], "a")
    assert [chooser.itemText(i) for i in (0, 1, 3, 4)] == ["first", "second", "Open…", "Manage…"]
    chooser.setCurrentIndex(4)
    assert acted == ["Manage…"] and chooser.currentIndex() == 0

    def tip(index):
        return chooser.itemData(index, Qt.ItemDataRole.ToolTipRole)

    assert tip(0) == "<qt>first<br>&lt;b&gt;for&lt;/b&gt; heads</qt>"
    chooser.set_tips({"b": "for feet"})
    assert tip(0) == "<qt>first</qt>" and tip(1) == "<qt>second<br>for feet</qt>"
