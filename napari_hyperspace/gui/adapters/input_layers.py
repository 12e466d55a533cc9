"""The layers to segment: chosen among the viewer's, and watched for changes. Main thread only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters.layers import METADATA_KEY, LayerSource, take
from napari_hyperspace.gui.adapters.viewer import (
    image_layers,
    is_of_view,
    scan_made_from,
    unwatch_layer,
    watch_layer,
)


class InputLayers:
    """One image layer per input channel of the model.

    Parameters
    ----------
    viewer
        napari's viewer.
    """

    changed = Signal(bool)
    """True: other layers were chosen. False: one of them was edited or moved."""
    opened = Signal(object)
    """A scan that was opened by this plug-in, and is chosen now."""
    listed = Signal()
    """The layers to choose from, their names or the chosen ones have changed."""

    def __init__(self, viewer: Any) -> None:
        self._viewer = viewer
        self._n_channels = 1
        self._named: list[Any] = []
        self._added_hidden: Any = None
        self._fills: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._sources: tuple[LayerSource, ...] | None = None
        self.layers: tuple[Any, ...] = ()
        events = viewer.layers.events
        self._emitters = (events.inserted, events.removed, events.reordered)

    def follow(self) -> None:
        """Choose a layer, and follow the viewer from now on."""
        for emitter in self._emitters:
            emitter.connect(self._viewer_changed)
        self._viewer.layers.selection.events.active.connect(self._selected)
        self._viewer_changed()

    def close(self) -> None:
        """Disconnect from the viewer and its layers."""
        for emitter in self._emitters:
            emitter.disconnect(self._viewer_changed)
        self._viewer.layers.selection.events.active.disconnect(self._selected)
        self._watch(())
        self._follow_names([])

    def candidates(self) -> list[tuple[str, str]]:
        """Return (key, name) of every layer that can be chosen."""
        return [(key_of(layer), layer.name) for layer in image_layers(self._viewer)]

    @property
    def keys(self) -> list[str]:
        """Keys of the chosen layers."""
        return [key_of(layer) for layer in self.layers]

    def set_channels(self, n_channels: int) -> None:
        """Choose as many layers as a model has input channels."""
        self._n_channels = n_channels
        self._choose(self.layers)

    def choose(self, key: str, channel: int = 0) -> None:
        """Choose the layer of an input channel; if another channel has it, they change places."""
        found = [layer for layer in image_layers(self._viewer) if key_of(layer) == key]
        if found:
            layers = list(self.layers)
            former = layers[channel : channel + 1]
            if found[0] in layers and former:
                layers[layers.index(found[0])] = former[0]
            layers[channel : channel + 1] = found
            self._choose(layers)

    def sources(self) -> tuple[LayerSource, ...]:
        """Return the chosen layers as they are now; the same objects until a layer changes.

        Raises
        ------
        HyperspaceError
            If no layer is chosen.
        """
        if not self.layers:
            raise HyperspaceError("there is no image to segment", fix="Open a scan first")
        if self._sources is None:
            self._sources = tuple(take(layer, self._fills.get(layer)) for layer in self.layers)
        return self._sources

    def first(self) -> LayerSource | None:
        """Return the layer of the first channel as it is now; `None` if no layer is chosen."""
        return self.sources()[0] if self.layers else None

    def fill(self, value: float) -> None:
        """Replace voxels of the chosen layers that are not finite, in every later snapshot."""
        for layer in self.layers:
            self._fills[layer] = value
        self._sources = None
        self.changed.emit(False)

    def _viewer_changed(self, event: Any = None) -> None:
        if is_of_view(event):
            return
        candidates = image_layers(self._viewer)
        self._follow_names(candidates)
        kept = [layer for layer in self.layers if layer in candidates]
        inserted: Any = event.value if getattr(event, "type", "") == "inserted" else None
        is_scan = inserted in candidates and inserted.visible and METADATA_KEY in inserted.metadata
        if inserted is not None and not inserted.visible:
            self._added_hidden = inserted  # napari selects what is added, although it is hidden
        if is_scan and self._n_channels == 1:
            kept = [inserted]
        self._choose(kept or candidates[:1])
        if is_scan:
            self.opened.emit(inserted)

    def _selected(self, event: Any = None) -> None:
        """Choose the image that the user selects, or that of the labels that they select."""
        if self._n_channels != 1:  # it is not known which of the channels
            return
        active = self._viewer.layers.selection.active
        if active is None or active is self._added_hidden:
            return
        self._added_hidden = None
        scan = scan_made_from(active) or active
        if scan in image_layers(self._viewer) and scan not in self.layers:
            self._choose([scan])

    def _choose(self, layers: Sequence[Any]) -> None:
        spare = [layer for layer in image_layers(self._viewer) if layer not in layers]
        chosen = tuple([*layers, *spare][: self._n_channels]) if layers else ()
        if chosen != self.layers:
            self._watch(chosen)
            self._sources = None
            self.changed.emit(True)
        self.listed.emit()

    def _watch(self, layers: tuple[Any, ...]) -> None:
        for layer in self.layers:
            unwatch_layer(layer, self._edited)
        self.layers = layers
        for layer in layers:
            watch_layer(layer, self._edited)

    def _edited(self, event: Any = None) -> None:
        self._sources = None
        self.changed.emit(False)

    def _follow_names(self, layers: list[Any]) -> None:
        for layer in self._named:
            layer.events.name.disconnect(self._renamed)
        self._named = layers
        for layer in layers:
            layer.events.name.connect(self._renamed)

    def _renamed(self, event: Any = None) -> None:
        self.listed.emit()


def key_of(layer: Any) -> str:
    """Return a key that identifies a layer even if it is renamed."""
    return str(id(layer))
