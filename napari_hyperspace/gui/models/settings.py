"""What the user has set in napari's preferences for this plug-in."""

from __future__ import annotations

from typing import Any

from napari_hyperspace.gui.models.state import Choices

_PLUGIN = "napari-hyperspace"


def load_choices() -> Choices:
    """Return the choices to begin with."""
    choices = Choices()
    settings = _plugin_settings()
    if settings is not None:
        choices.preview_ms = int(settings.preview.budget_ms)
        choices.rest_ms = int(settings.preview.rest_ms)
        choices.outside = settings.run.outside
    return choices


def run_budget_s() -> float:
    """Return the time that a run may take, to begin with."""
    settings = _plugin_settings()
    return 30.0 if settings is None else float(settings.run.budget_s)


def _plugin_settings() -> Any:
    """Return the settings of this plug-in; `None` before napari 0.9, or if it is not installed."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings(_PLUGIN)
    except KeyError:
        return None
