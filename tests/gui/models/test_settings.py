"""The settings in napari's preferences, as the manifest declares them."""

from __future__ import annotations

import pytest

pytest.importorskip("napari")

from napari_hyperspace.gui.models import settings


def test_choices_start_from_the_preferences(stored):
    chosen = stored()
    assert settings.load_choices() == settings.Choices()
    chosen.preview.budget_ms = 500
    chosen.run.outside = "clamp"
    choices = settings.load_choices()
    assert (choices.preview_ms, choices.outside) == (500, "clamp")


def test_choices_are_remembered_in_the_next_session(stored):
    stored()
    choices = settings.load_choices()
    remembered = settings.Remembered(choices, lambda: None)
    wanted = {
        "model": "/m/mine.safetensors",
        "device": "cuda:1",
        "budget_s": 12.5,
        "budget_gb": 3.5,
        "preview_ms": 700,
        "lock_preferred": False,
    }
    for field, value in wanted.items():
        setattr(choices, field, value)
    remembered.close()
    choices.preview_ms = 50  # closed: not remembered
    stored()
    later = settings.load_choices()
    assert {field: getattr(later, field) for field in wanted} == wanted


def test_preferences_that_change_are_taken_over(stored):
    chosen = stored()
    choices = settings.load_choices()
    changes = []
    remembered = settings.Remembered(choices, lambda: changes.append(choices.preview_ms))
    chosen.preview.budget_ms = 450
    chosen.run.outside = "clamp"
    assert (choices.preview_ms, choices.outside) == (450, "clamp")
    assert changes == [450, 450]
    choices.preview_ms = 460  # the user's own change needs no second one
    assert changes == [450, 450] and chosen.preview.budget_ms == 460
    remembered.close()
    chosen.preview.budget_ms = 470
    assert choices.preview_ms == 460


def test_choices_before_napari_0_9(monkeypatch):
    monkeypatch.setattr(settings, "_plugin_settings", lambda: None)
    choices = settings.load_choices()
    assert choices == settings.Choices()
    remembered = settings.Remembered(choices, lambda: None)
    choices.preview_ms = 700
    remembered.close()
