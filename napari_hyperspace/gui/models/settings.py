"""The plug-in's settings in napari's preferences, which also remember what the user chose last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from napari_hyperspace.gui.models.choices import Choices, Outside

_PLUGIN = "napari-hyperspace"

# Which field of `Choices` each setting is: group of settings, setting, field.
_FIELDS = (
    ("preview", "budget_ms", "preview_ms"),
    ("preview", "rest_ms", "rest_ms"),
    ("run", "outside", "outside"),
    ("run", "budget_s", "budget_s"),
    ("last", "budget_gb", "budget_gb"),
    ("last", "model", "model"),
    ("last", "device", "device"),
    ("last", "joined", "lock_preferred"),
)


class PreviewSettings(Protocol):
    """The settings under "Live preview"; see the manifest."""

    budget_ms: int
    rest_ms: int


class RunSettings(Protocol):
    """The settings under "Segmentation"; see the manifest."""

    outside: Outside
    budget_s: float


class LastSettings(Protocol):
    """The settings under "Used last"; see the manifest."""

    budget_gb: float
    model: str
    device: str
    joined: bool


class PluginSettings(Protocol):
    """The plug-in's settings, which napari builds from the manifest, and saves when they change."""

    preview: PreviewSettings
    run: RunSettings
    last: LastSettings


def load_choices() -> Choices:
    """Return the initial choices of the dock."""
    choices = Choices()
    settings = _plugin_settings()
    if settings is not None:
        for group, setting, field in _FIELDS:
            setattr(choices, field, getattr(getattr(settings, group), setting))
    return choices


class Remembered:
    """Stores choices in napari's settings, and takes over what is changed in its preferences.

    Parameters
    ----------
    choices
        The choices of the dock, made by `load_choices`.
    changed
        Called after the choices were changed by a change of the settings.
    """

    def __init__(self, choices: Choices, changed: Callable[[], None]) -> None:
        self._choices = choices
        self._changed = changed
        self._settings = _plugin_settings()
        self._connected: list[tuple[Any, Callable[..., None]]] = []
        if self._settings is None:
            return
        for group, setting, field in _FIELDS:
            self._connect(getattr(self._settings, group), setting, field)

    def close(self) -> None:
        """Disconnect from the choices and from the settings."""
        for emitter, callback in self._connected:
            emitter.disconnect(callback)
        self._connected.clear()

    def _connect(self, group: Any, setting: str, field: str) -> None:
        def remember(value: Any) -> None:
            setattr(group, setting, value)  # emits nothing if it is the same

        def take_over(event: Any) -> None:
            if getattr(self._choices, field) != event.value:
                setattr(self._choices, field, event.value)
                self._changed()

        for emitter, callback in (
            (getattr(self._choices.events, field), remember),
            (getattr(group.events, setting), take_over),
        ):
            emitter.connect(callback)
            self._connected.append((emitter, callback))


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
