"""Strokes on a Labels layer: what they changed, and whether they were undone. Main thread only.

napari reports each edit by its event ``paint``, with the item that it adds to the layer's history:
which voxels had which values before and after. Undoing reports nothing: then the history itself is
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.gui.adapters.regions import Box

if TYPE_CHECKING:
    from napari.layers import Labels

Voxels = NDArray[np.int64]
"""Sorted flat indices into the array of a layer."""

_EVENTS = ("set_data",)  # emitted after undo and redo, among others


@dataclass(frozen=True, eq=False)
class Stroke:
    """One edit of the user: a drag of the brush or the eraser, a polygon, a fill.

    Parameters
    ----------
    gained
        Voxels that got a label value, by that value.
    lost
        Voxels that had a label value and have another one now, by the former value.
    """

    gained: Mapping[int, Voxels]
    lost: Mapping[int, Voxels]
    _atoms: tuple[object, ...] = field(repr=False)

    @property
    def values(self) -> set[int]:
        """The structures that it is about."""
        return {*self.gained, *self.lost}

    @property
    def voxels(self) -> Voxels:
        """All voxels that it changed."""
        return np.unique(np.concatenate([*self.gained.values(), *self.lost.values()]))


class PaintedLayer:
    """Follows the strokes on a Labels layer, and writes answers into it.

    An answer is one step of napari's own undo: before it, the layer shows what was painted.

    Parameters
    ----------
    layer
        A Labels layer whose array is in memory.
    stroked
        Called with each new stroke.
    pressed, released
        Called when the user presses and releases a mouse button on the layer.
    undone
        Called after the user has undone or redone strokes or answers.
    """

    def __init__(
        self,
        layer: Labels,
        *,
        stroked: Callable[[Stroke], None],
        pressed: Callable[[], None],
        released: Callable[[], None],
        undone: Callable[[], None],
    ) -> None:
        self.layer = layer
        self._stroked = stroked
        self._pressed = pressed
        self._released = released
        self._undone = undone
        self._known: list[Stroke] = []
        self._inactive: set[int] = set()  # ids of strokes that were undone
        self._answers: list[object] = []  # the edits by which they were written
        self._answers_undone: set[int] = set()
        self._writing = False
        layer.events.paint.connect(self._painted)
        for name in _EVENTS:
            getattr(layer.events, name).connect(self._changed)
        layer.mouse_drag_callbacks.append(self._dragged)

    def close(self) -> None:
        """Disconnect from the layer."""
        layer = self.layer
        layer.events.paint.disconnect(self._painted)
        for name in _EVENTS:
            getattr(layer.events, name).disconnect(self._changed)
        if self._dragged in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._dragged)

    @property
    def strokes(self) -> list[Stroke]:
        """The strokes that were not undone, in their order."""
        return [stroke for stroke in self._known if id(stroke) not in self._inactive]

    def write(self, box: Box, labels: NDArray[Any]) -> int:
        """Write labels into a box as one step of undo; return how many voxels have changed."""
        with self._own():
            return write_labels(self.layer, box, labels)

    @contextmanager
    def _own(self) -> Iterator[None]:
        before, self._writing = self._writing, True
        try:
            yield
        finally:
            self._writing = before

    def _painted(self, event: Any) -> None:
        if self._writing:
            self._answers.append(event.value[0])
            self._answers_undone.clear()
            return
        self._forget_undone()
        stroke = stroke_of(event.value, np.shape(self.layer.data))
        if stroke.values:
            self._known.append(stroke)
            self._stroked(stroke)

    def _dragged(self, layer: Any, event: Any) -> Iterator[None]:
        self._pressed()
        yield
        while event.type == "mouse_move":
            yield
        self._released()

    def _changed(self, event: Any = None) -> None:
        """Compare the strokes with the layer's history: some may have been undone or redone."""
        undone, done = (self._in_history(f"_{which}_history") for which in ("redo", "undo"))
        before = set(self._inactive)
        for stroke in self._known:
            if id(stroke) in undone:
                self._inactive.add(id(stroke))
            elif id(stroke) in done:
                self._inactive.discard(id(stroke))
        answers_before = self._answers_undone
        taken_back = _ends(self.layer, "_redo_history")
        self._answers_undone = {id(one) for one in self._answers if id(one) in taken_back}
        if self._inactive != before or self._answers_undone != answers_before:
            self._undone()

    def _forget_undone(self) -> None:
        """Forget strokes that can no longer be redone: napari has cleared its list of them."""
        done = self._in_history("_undo_history")
        history = getattr(self.layer, "_undo_history", ())
        full = len(history) == getattr(history, "maxlen", None)  # it has dropped the oldest ones
        self._known = [
            stroke
            for stroke in self._known
            if id(stroke) in done or (full and id(stroke) not in self._inactive)
        ]
        self._inactive.clear()

    def _in_history(self, name: str) -> set[int]:
        """Return ids of the strokes in a list of napari's, which may hold them reversed."""
        ends = _ends(self.layer, name)
        return {
            id(stroke) for stroke in self._known if any(id(atom) in ends for atom in stroke._atoms)
        }


def _ends(layer: Labels, name: str) -> set[int]:
    """Return ids of the first and the last edit of each item of one of napari's lists."""
    return {id(item[end]) for item in getattr(layer, name, ()) for end in (0, -1) if item}


def write_labels(layer: Labels, box: Box, labels: NDArray[Any]) -> int:
    """Write labels into a box of a layer as one step of undo; return how many voxels changed."""
    changed = np.nonzero(labels != layer.data[box])
    count = int(changed[0].size)
    if count:
        places = tuple(index + each.start for index, each in zip(changed, box, strict=True))
        layer.data_setitem(places, labels[changed].astype(layer.data.dtype))
        layer.refresh()  # of views that napari does not update by an edit, such as contours
    return count


def stroke_of(item: Iterable[Any], shape: tuple[int, ...]) -> Stroke:
    """Return what an item of a layer's history changed."""
    atoms = tuple(item)
    flat, old, new = (np.concatenate(parts) for parts in zip(*map(_edit, atoms), strict=True))
    places, first = np.unique(flat_indices(flat, shape), return_index=True)
    reversed_places, last = np.unique(flat_indices(flat[::-1], shape), return_index=True)
    assert np.array_equal(places, reversed_places)
    before, after = old[first], new[::-1][last]
    changed = before != after
    places, before, after = places[changed], before[changed], after[changed]
    return Stroke(
        {int(value): places[after == value] for value in np.unique(after) if value > 0},
        {int(value): places[before == value] for value in np.unique(before) if value > 0},
        (atoms[0], atoms[-1]),
    )


def flat_indices(index: NDArray[Any], shape: tuple[int, ...]) -> Voxels:
    """Return flat indices of indices (n, 3)."""
    flat = np.ravel_multi_index(tuple(index.T), shape)
    return np.asarray(flat, dtype=np.int64)


def _edit(atom: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return indices (n, 3), former and new values of an edit, in either form that napari has."""
    if hasattr(atom, "slice_key"):
        shape = [each.stop - each.start for each in atom.slice_key]
        mask = np.ones(shape, bool) if atom.mask is None else atom.mask
        index = np.argwhere(mask) + [each.start for each in atom.slice_key]
        old = np.asarray(atom.old_values).reshape(-1).astype(np.int64)
        return index, old, np.full(len(index), atom.new_value, np.int64)
    places, old, new = atom
    index = np.stack([np.asarray(one).ravel() for one in places], axis=1)
    old = np.asarray(old).ravel().astype(np.int64)
    return index, old, np.broadcast_to(np.asarray(new, np.int64).ravel(), old.shape)
