"""Dialogs, answered without a user."""

from __future__ import annotations

import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.gui.widgets.parts import dialogs


def test_dialogs_return_the_answer_or_none(qtbot, dock, monkeypatch):
    monkeypatch.setattr(dialogs.Dialog, "exec", lambda self: True)
    assert dialogs.ask_spacing(dock, "t", "q", (5.0, 0.7, 0.6)) == (5.0, 0.7, 0.6)
    assert dialogs.ask_choice(dock, "t", "<b>q</b>", ["first", "second"]) == 0
    monkeypatch.setattr(dialogs.Dialog, "exec", lambda self: False)
    assert dialogs.ask_spacing(dock, "t", "q", (5.0, 0.7, 0.6)) is None
    assert dialogs.ask_choice(dock, "t", "q", ["first"]) is None
