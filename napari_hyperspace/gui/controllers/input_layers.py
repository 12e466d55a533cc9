"""The layers that are to be segmented: chosen among the viewer's, and watched. Main thread only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters import viewer as viewing
from napari_hyperspace.gui.adapters.layers import METADATA_KEY, LayerSource, take


class InputLayers:
    """One image layer for each input channel of a model.

    Parameters
    ----------
    viewer
        napari's.
    changed
        Called when other layers are chosen, with true, or when one of them was edited or moved,
        with false.
    listed
        Called when there is something else to choose from, or a name has changed.
    """

    def __init__(
        self, viewer: Any, changed: Callable[[bool], None], listed: Callable[[], None]
    ) -> None:
        self._viewer = viewer
        self._changed = changed
        self._listed = listed
        self._wanted = 1
        self._named: list[Any] = []
        self._sources: tuple[LayerSource, ...] | None = None
        self.layers: tuple[Any, ...] = ()
        events = viewer.layers.events
        self._emitters = (events.inserted, events.removed, events.reordered)

    def follow(self) -> None:
        """Begin: choose a first layer, and follow the viewer from now on."""
        for emitter in self._emitters:
            emitter.connect(self._viewer_changed)
        self._viewer_changed()

    def close(self) -> None:
        """Let go of the viewer and its layers."""
        for emitter in self._emitters:
            emitter.disconnect(self._viewer_changed)
        self._watch(())
        self._follow_names([])

    def candidates(self) -> list[tuple[str, str]]:
        """Return (key, name) of all layers that can be chosen."""
        return [(key_of(layer), layer.name) for layer in viewing.image_layers(self._viewer)]

    @property
    def keys(self) -> list[str]:
        """Keys of the chosen layers."""
        return [key_of(layer) for layer in self.layers]

    def want(self, channels: int) -> None:
        """Choose as many layers as a model has input channels."""
        self._wanted = channels
        self._choose(self.layers)

    def choose(self, key: str, channel: int = 0) -> None:
        """Choose a layer for a channel."""
        found = [one for one in viewing.image_layers(self._viewer) if key_of(one) == key]
        if found:
            layers = list(self.layers)
            layers[channel : channel + 1] = found
            self._choose(layers)

    def sources(self) -> tuple[LayerSource, ...]:
        """Return the chosen layers as they are now; the same objects until one changes.

        Raises
        ------
        HyperspaceError
            If none is chosen.
        """
        if not self.layers:
            raise HyperspaceError("there is no image to segment", fix="Open a scan first")
        if self._sources is None:
            self._sources = tuple(take(layer) for layer in self.layers)
        return self._sources

    def first(self) -> LayerSource | None:
        """Return the first channel's layer as it is now, if there is one."""
        return self.sources()[0] if self.layers else None

    def _viewer_changed(self, event: Any = None) -> None:
        candidates = viewing.image_layers(self._viewer)
        self._follow_names(candidates)
        kept = [layer for layer in self.layers if layer in candidates]
        opened = getattr(event, "value", None) if getattr(event, "type", "") == "inserted" else None
        if opened in candidates and opened.visible and self._wanted == 1:
            # A scan that was just opened is meant to be segmented; what others add may not be.
            kept = [opened] if METADATA_KEY in opened.metadata else kept
        self._choose(kept or candidates[:1])
        self._listed()

    def _choose(self, layers: Sequence[Any]) -> None:
        spare = [one for one in viewing.image_layers(self._viewer) if one not in layers]
        chosen = tuple([*layers, *spare][: self._wanted]) if layers else ()
        if chosen != self.layers:
            self._watch(chosen)
            self._sources = None
            self._changed(True)
        self._listed()

    def _watch(self, layers: tuple[Any, ...]) -> None:
        for layer in self.layers:
            viewing.unwatch(layer, self._edited)
        self.layers = layers
        for layer in layers:
            viewing.watch(layer, self._edited)

    def _edited(self, event: Any = None) -> None:
        self._sources = None
        self._changed(False)

    def _follow_names(self, layers: list[Any]) -> None:
        for layer in self._named:
            layer.events.name.disconnect(self._renamed)
        self._named = layers
        for layer in layers:
            layer.events.name.connect(self._renamed)

    def _renamed(self, event: Any = None) -> None:
        self._listed()


def key_of(layer: Any) -> str:
    """Return what tells a layer from all others, whatever its name."""
    return str(id(layer))
