"""The plug-in's settings in napari's preferences."""

from __future__ import annotations

from typing import Protocol, cast

from napari_hyperspace.gui.models.choices import Choices, Outside

_PLUGIN = "napari-hyperspace"
_RUN_BUDGET_S = 30.0  # before napari 0.9; the manifest has the same default


class PreviewSettings(Protocol):
    """The settings under "Live preview"; see the manifest."""

    budget_ms: int
    rest_ms: int


class RunSettings(Protocol):
    """The settings under "Segmentation"; see the manifest."""

    outside: Outside
    budget_s: float


class PluginSettings(Protocol):
    """The plug-in's settings, which napari builds from the manifest."""

    preview: PreviewSettings
    run: RunSettings


def load_choices() -> Choices:
    """Return the initial choices of the dock."""
    choices = Choices()
    settings = _plugin_settings()
    if settings is not None:
        choices.preview_ms = int(settings.preview.budget_ms)
        choices.rest_ms = int(settings.preview.rest_ms)
        choices.outside = settings.run.outside
    return choices


def run_budget_s() -> float:
    """Return the initial time budget of a run."""
    settings = _plugin_settings()
    return _RUN_BUDGET_S if settings is None else float(settings.run.budget_s)


def _plugin_settings() -> PluginSettings | None:
    """Return the plug-in's settings; `None` before napari 0.9, or if it is not installed."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return cast(PluginSettings, get_plugin_settings(_PLUGIN))
    except KeyError:
        return None
