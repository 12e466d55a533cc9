"""From strokes to what a model is given: a rough mask, and voxels inside and outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.gui.adapters.painting.strokes import Stroke, Voxels, flat_indices
from napari_hyperspace.gui.adapters.regions import Box

CONTEXT_MM = 16.0
"""Seen around what was painted."""
CHANGED_MM = 16.0
"""How far from strokes the labels of a large structure may change."""

_DEEPEST_MM = 32.0  # seen beyond painted slices, of a structure that is wide in them
_NOTHING: Voxels = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class PaintedPart:
    """What was painted in a part of a scan, in the array order of its layer.

    Parameters
    ----------
    seen
        The part that the model sees.
    kept
        The part of ``seen`` that may change; `None`: all of it.
    present, include, exclude, rough
        As in `napari_hyperspace.api.corrections.strokes.Strokes`, of ``seen``.
    values
        The structures to segment.
    protect_others
        Whether voxels of other structures stay as they are.
    """

    seen: Box
    kept: Box | None
    present: NDArray[Any]
    include: NDArray[Any]
    exclude: NDArray[Any]
    rough: NDArray[Any] | None
    values: tuple[int, ...]
    protect_others: bool


class _Outline(NamedTuple):
    """The voxels of a structure in the slices of a stroke, as they were after it."""

    axis: int
    start: int
    stop: int
    voxels: Voxels


class Hints:
    """What strokes mean.

    Rough strokes make a rough mask: all of the structure in each slice that was painted on, as the
    user left it, and what there was before the first stroke. What is erased is outside. Exact
    strokes are voxels inside and outside of the present structure.

    Parameters
    ----------
    rough
        Whether the strokes are rough.
    """

    def __init__(self, rough: bool = False) -> None:
        self.rough = rough
        self._outlines: dict[int, dict[int, _Outline]] = {}  # by id of the stroke
        self._before: dict[int, Voxels] = {}  # the structures before the first rough stroke

    def outline(self, stroke: Stroke, labels: NDArray[Any], axis: int) -> None:
        """Remember a structure in the slices of a rough stroke that was just made.

        Parameters
        ----------
        stroke
            The stroke.
        labels
            The array of the layer. napari may report an edit before it makes it.
        axis
            The axis through the slices.
        """
        for value in stroke.values:
            if value not in self._before:
                now = np.flatnonzero(labels == value)
                self._before[value] = np.setdiff1d(now, stroke.voxels)
        outlines = self._outlines[id(stroke)] = {}
        for value, voxels in stroke.gained.items():
            depth = np.unravel_index(voxels, labels.shape)[axis]
            start, stop = int(depth.min()), int(depth.max()) + 1
            slab = [slice(None)] * 3
            slab[axis] = slice(start, stop)
            place = np.argwhere(labels[tuple(slab)] == value)
            place[:, axis] += start
            there = np.union1d(flat_indices(place, labels.shape), voxels)
            outlines[value] = _Outline(axis, start, stop, there)

    def part(
        self,
        grid: Grid,
        labels: NDArray[Any],
        strokes: Sequence[Stroke],
        pending: Sequence[Stroke],
        protect_others: bool,
    ) -> PaintedPart:
        """Return what the model is given for strokes that are not answered yet.

        Parameters
        ----------
        grid
            Of the layer.
        labels
            The array of the layer.
        strokes
            All strokes that were not undone.
        pending
            Those that are not answered.
        protect_others
            Whether exact strokes leave voxels of other structures as they are.
        """
        values = sorted({v for stroke in pending for v in (stroke.gained or stroke.lost)})
        include, exclude = _inside_and_outside(strokes)
        if self.rough:
            rough = {value: self._rough(strokes, value, labels.shape) for value in values}
            known = [voxels for voxels in rough.values() if voxels.size]
            if not known:  # all of it was erased
                known = [stroke.voxels for stroke in pending]
            seen, kept = _around_rough(grid, _bounds(np.concatenate(known), labels.shape)), None
            include, protect_others = {}, True
        else:
            hints = _bounds(np.concatenate([s.voxels for s in pending]), labels.shape)
            seen, kept = _around_strokes(grid, hints, labels, values)
        present = labels[seen].copy()

        def filled(voxels: Mapping[int, Voxels]) -> NDArray[Any]:
            return _filled(voxels, labels.shape, seen, present.dtype)

        return PaintedPart(
            seen,
            kept,
            present,
            filled(include),
            filled(exclude),
            filled(rough) if self.rough else None,
            tuple(values),
            protect_others,
        )

    def _rough(self, strokes: Sequence[Stroke], value: int, shape: tuple[int, ...]) -> Voxels:
        voxels = self._before.get(value, _NOTHING)
        for stroke in strokes:
            outline = self._outlines.get(id(stroke), {}).get(value)
            if outline is not None:
                depth = np.unravel_index(voxels, shape)[outline.axis]
                elsewhere = voxels[(depth < outline.start) | (depth >= outline.stop)]
                voxels = np.union1d(elsewhere, outline.voxels)
            if value in stroke.lost:
                voxels = np.setdiff1d(voxels, stroke.lost[value])
        return voxels


def _inside_and_outside(
    strokes: Sequence[Stroke],
) -> tuple[dict[int, Voxels], dict[int, Voxels]]:
    """Return the voxels inside and outside of each structure; of two strokes the later counts."""
    include: dict[int, Voxels] = {}
    exclude: dict[int, Voxels] = {}
    for stroke in strokes:
        for one, other, changed in (
            (include, exclude, stroke.gained),
            (exclude, include, stroke.lost),
        ):
            for value, voxels in changed.items():
                one[value] = np.union1d(one.get(value, _NOTHING), voxels)
                other[value] = np.setdiff1d(other.get(value, _NOTHING), voxels)
    return include, exclude


def _bounds(voxels: Voxels, shape: tuple[int, ...]) -> Box:
    if not voxels.size:
        raise HyperspaceError("nothing was painted")
    a, b, c = (
        slice(int(index.min()), int(index.max()) + 1) for index in np.unravel_index(voxels, shape)
    )
    return a, b, c


def _around_rough(grid: Grid, painted: Box) -> Box:
    """Return the box of a rough mask with its context; through painted slices it is deeper."""
    steps = grid.spacing_mm
    sides = [(each.stop - each.start) * step for each, step in zip(painted, steps, strict=True)]
    ends = []
    for axis, (each, n, step) in enumerate(zip(painted, grid.shape, steps, strict=True)):
        width = min(sides[:axis] + sides[axis + 1 :])
        margin = CONTEXT_MM
        if sides[axis] < width:
            margin = min(max(CONTEXT_MM, width / 2), _DEEPEST_MM)
        voxels = round(margin / step)
        ends.append(slice(max(0, each.start - voxels), min(n, each.stop + voxels)))
    return ends[0], ends[1], ends[2]


def _around_strokes(
    grid: Grid, hints: Box, labels: NDArray[Any], values: Sequence[int]
) -> tuple[Box, Box]:
    """Return what the model sees of a structure around strokes, and what may change of it."""
    from napari_hyperspace.api.corrections.strokes import boxes_around

    near, _ = boxes_around(
        grid,
        hints,
        (slice(0, labels.shape[0]), slice(0, labels.shape[1]), slice(0, labels.shape[2])),
        context_mm=CONTEXT_MM,
        changed_mm=CHANGED_MM,
    )
    there = np.isin(labels[near], values)
    painted = tuple(
        slice(hint.start - each.start, hint.stop - each.start)
        for hint, each in zip(hints, near, strict=True)
    )
    there[painted] = True
    structure = []
    for axis, each in enumerate(near):
        index = np.flatnonzero(there.any(axis=tuple(i for i in range(3) if i != axis)))
        structure.append(slice(each.start + int(index[0]), each.start + int(index[-1]) + 1))
    return boxes_around(
        grid,
        hints,
        (structure[0], structure[1], structure[2]),
        context_mm=CONTEXT_MM,
        changed_mm=CHANGED_MM,
    )


def _filled(
    voxels: Mapping[int, Voxels], shape: tuple[int, ...], box: Box, dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Return label values in a box."""
    part = np.zeros([each.stop - each.start for each in box], dtype)
    low = np.array([each.start for each in box])
    for value, flat in voxels.items():
        index = np.stack(np.unravel_index(flat, shape), axis=1) - low
        index = index[((index >= 0) & (index < part.shape)).all(axis=1)]
        part[tuple(index.T)] = value
    return part
