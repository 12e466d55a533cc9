"""Figures of the structures of a label map: volume, extent, position, parts, brightness."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.core.errors import Cancelled, ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.volume import Volume

__all__ = ["StructureFigures", "figures_of"]

_PART_MM = 1.5  # voxels that connected parts are found in, at least
_TAIL = 0.01  # of a structure's voxels, at either end of an axis, that its extent leaves out
_SAMPLE = 200_000  # voxels of an image that an intensity is compared with


@dataclass(frozen=True)
class StructureFigures:
    """Figures of a structure that do not depend on the axes of the file.

    Parameters
    ----------
    volume_ml
        Its volume.
    extent_mm
        Length along each axis (z, y, x), without 1 % of the voxels at either end.
    center_mm
        Mean position relative to that of all structures (z, y, x).
    main_share
        Share of its voxels that its two largest connected parts have: one on each side of the body.
    brightness
        Share of the scan's voxels that are darker than its mean intensity; NaN without an image.
    is_cut
        Whether it reaches a face of the scan, so that a part of it may be out of view.
    """

    volume_ml: float
    extent_mm: Triple
    center_mm: Triple
    main_share: float
    brightness: float
    is_cut: bool


def figures_of(
    labels: Volume,
    groups: Mapping[str, Sequence[int]],
    image: Volume | None = None,
    should_stop: ShouldStop = lambda: False,
) -> dict[str, StructureFigures]:
    """Measure the structures of a label map; those without voxels are left out.

    Parameters
    ----------
    labels
        Whole numbers; 0 is the background.
    groups
        Label values of each structure, by its name.
    image
        On the same grid.
    should_stop
        Called between structures.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    """
    canonical = labels.canonical()
    array, steps = canonical.array, canonical.spacing_mm
    spans = [_span(array, axis) for axis in range(3)]
    start = [span.start for span in spans]
    index = _indices(array[tuple(spans)], groups)
    boxes: list[tuple[slice, ...] | None] = [*ndimage.find_objects(index, max_label=len(groups))]
    pixels = None if image is None else image.canonical().array
    levels = None if pixels is None else _levels(pixels)
    found: dict[str, StructureFigures] = {}
    centers: list[tuple[float, NDArray[np.float64]]] = []
    for place, (name, box) in enumerate(zip(groups, boxes, strict=True), start=1):
        if should_stop():
            raise Cancelled
        if box is None:
            continue
        mask = index[box] == place
        profiles = [mask.sum(axis=tuple({0, 1, 2} - {axis})) for axis in range(3)]
        voxels = int(profiles[0].sum())
        at = [start[axis] + box[axis].start for axis in range(3)]
        center = np.array(
            [
                step * (first + float((np.arange(len(row)) * row).sum()) / voxels)
                for step, first, row in zip(steps, at, profiles, strict=True)
            ]
        )
        z, y, x = (step * _length(row) for step, row in zip(steps, profiles, strict=True))
        cut = any(
            first == 0 or first + len(row) == size
            for first, row, size in zip(at, profiles, array.shape, strict=True)
        )
        brightness = math.nan
        if pixels is not None and levels is not None:
            inside = tuple(
                slice(first, first + len(row)) for first, row in zip(at, profiles, strict=True)
            )
            mean = float(pixels[inside][mask].mean(dtype=np.float64))
            below, until = np.searchsorted(levels, mean), np.searchsorted(levels, mean, "right")
            brightness = float(below + until) / 2 / len(levels)
        centers.append((float(voxels), center))
        found[name] = StructureFigures(
            voxels * labels.grid.voxel_volume_ml,
            (z, y, x),
            (center[0], center[1], center[2]),
            _main_share(mask, steps),
            brightness,
            cut,
        )
    return _relative(found, centers)


def _relative(
    found: Mapping[str, StructureFigures], centers: Sequence[tuple[float, NDArray[np.float64]]]
) -> dict[str, StructureFigures]:
    """Return figures with positions relative to the mean position of all structures."""
    if not centers:
        return {}
    total = sum(weight for weight, _ in centers)
    middle = sum((weight * center for weight, center in centers), np.zeros(3)) / total
    moved = {}
    for name, one in found.items():
        z, y, x = (float(value) for value in np.array(one.center_mm) - middle)
        moved[name] = StructureFigures(
            one.volume_ml, one.extent_mm, (z, y, x), one.main_share, one.brightness, one.is_cut
        )
    return moved


def _span(array: NDArray[Any], axis: int) -> slice:
    """Return the part of an axis that has labels."""
    places = np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis})))
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)


def _indices(array: NDArray[Any], groups: Mapping[str, Sequence[int]]) -> NDArray[np.int32]:
    """Return the number of each voxel's structure, from 1 on; 0 for values of none."""
    known = sorted((value, i) for i, of in enumerate(groups.values(), start=1) for value in of)
    values = np.array([value for value, _ in known])
    numbers = np.array([0, *(number for _, number in known)], np.int32)
    if not len(values):
        return np.zeros(array.shape, np.int32)
    place = np.searchsorted(values, array).clip(max=len(values) - 1)
    return numbers[np.where(values[place] == array, place + 1, 0)]


def _length(profile: NDArray[np.int64]) -> float:
    """Return the length in voxels of a profile without its tails."""
    share = np.cumsum(profile) / profile.sum()
    first = int(np.searchsorted(share, _TAIL, "right"))
    last = int(np.searchsorted(share, 1 - _TAIL))
    return float(max(1, last - first + 1))


def _main_share(mask: NDArray[np.bool_], steps: Sequence[float]) -> float:
    """Return the share of the two largest parts, on an array thinned to about 1.5 mm."""
    strides = tuple(slice(None, None, max(1, int(_PART_MM / step))) for step in steps)
    parts, count = ndimage.label(mask[strides], ndimage.generate_binary_structure(3, 3))
    if not count:
        return 1.0
    sizes = np.sort(np.bincount(parts.ravel())[1:])
    return float(sizes[-2:].sum() / sizes.sum())


def _levels(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return sorted intensities of a regular sample of the voxels."""
    stride = max(1, math.ceil((pixels.size / _SAMPLE) ** (1 / 3)))
    return np.sort(pixels[::stride, ::stride, ::stride], axis=None)
