"""The settings in napari's preferences, as the manifest declares them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("napari")
from npe2 import PluginManager, PluginManifest

import napari_hyperspace
from napari_hyperspace.gui.models import settings

MANIFEST = PluginManifest.from_file(Path(napari_hyperspace.__file__).parent / "napari.yaml")


def test_choices_start_from_the_preferences(monkeypatch):
    from napari.settings import _plugin_config_generator

    manager = PluginManager()
    manager.register(MANIFEST)
    model = _plugin_config_generator.plugin_configuration_generator(manager)["napari-hyperspace"]
    chosen = model(config_path=None)
    defaults = settings.Choices()
    assert chosen.preview.budget_ms == defaults.preview_ms
    assert chosen.preview.rest_ms == defaults.rest_ms
    assert chosen.run.outside == defaults.outside
    chosen.preview.budget_ms = 500
    chosen.run.outside = "clamp"
    monkeypatch.setattr(settings, "_plugin_settings", lambda: chosen)
    choices = settings.load_choices()
    assert (choices.preview_ms, choices.outside) == (500, "clamp")
    assert settings.run_budget_s() == 30.0


def test_choices_before_napari_0_9(monkeypatch):
    monkeypatch.setattr(settings, "_plugin_settings", lambda: None)
    assert settings.load_choices() == settings.Choices()
    assert settings.run_budget_s() == 30.0
