"""Shows and hides structures of Labels layers: hidden ones get transparent colors."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from napari_hyperspace.gui.adapters.viewer import hide_values


@dataclass
class _LayerColors:
    """The hidden label values of a layer; its own colormap and the one that hides them."""

    hidden: set[int] = field(default_factory=set)
    own: Any = None
    replaced_by: Any = None


class StructureVisibility:
    """Remembers per layer which label values are hidden; the labels stay as they are."""

    def __init__(self) -> None:
        self._layers: WeakKeyDictionary[Any, _LayerColors] = WeakKeyDictionary()

    def own_colormap(self, layer: Any) -> Any:
        """Return the layer's colormap as it is while nothing is hidden."""
        return self._layers[layer].own if self.hides(layer) else layer.colormap

    def hides(self, layer: Any) -> bool:
        """Whether the layer has a colormap that hides values."""
        colors = self._layers.get(layer)
        return colors is not None and colors.replaced_by is layer.colormap

    def is_visible(self, layer: Any, values: Iterable[int]) -> bool:
        """Whether any of these values is shown."""
        colors = self._layers.get(layer)
        return colors is None or not colors.hidden.issuperset(values)

    def set_visible(self, layer: Any, values: Iterable[int], visible: bool) -> None:
        """Show or hide values from the next `paint` on."""
        hidden = self._layers.setdefault(layer, _LayerColors()).hidden
        if visible:
            hidden.difference_update(values)
        else:
            hidden.update(values)

    def paint(self, layer: Any, values: Collection[int], only: Collection[int] = ()) -> None:
        """Give the layer a colormap in which hidden values are transparent.

        Parameters
        ----------
        layer
            A Labels layer.
        values
            All its values.
        only
            Hide all other values, too; empty: do not.
        """
        colors = self._layers.setdefault(layer, _LayerColors())
        if not self.hides(layer):
            colors.own = layer.colormap
        hidden = set(colors.hidden)
        if only:
            hidden |= set(values) - set(only)
        layer.colormap = hide_values(colors.own, values, hidden) if hidden else colors.own
        colors.replaced_by = layer.colormap if hidden else None
