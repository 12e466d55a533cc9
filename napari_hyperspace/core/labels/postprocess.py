"""Optional cleaning of a label map after segmentation, and dividing left and right.

Sizes are in mm³.

Structures are connected across faces, edges and corners (26 neighbors), holes across faces only
(6 neighbors): the pair for which inside and outside are well defined on a voxel grid.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.labels.sides import describe_sides, divide_sides
from napari_hyperspace.core.structures import laterality_of
from napari_hyperspace.core.volume import (
    Laterality,
    PostprocessingOptions,
    PostprocessingStep,
    Volume,
    VolumeMetadata,
    digest_of_labels,
)

__all__ = ["CONNECTIVITY", "apply_postprocessing", "postprocess"]

CONNECTIVITY = {"structure": 26, "hole": 6}

_STRUCTURE = ndimage.generate_binary_structure(3, 3)
_HOLE = ndimage.generate_binary_structure(3, 1)
_OTHER_SIDE = 0.5  # a second part of at least this share of the largest is the other side
_FEW = 65535  # up to this largest value, `find_objects` is called with the values themselves


def postprocess(
    labels: Volume,
    *,
    largest_component: bool = False,
    smallest_component_mm3: float = 0.0,
    fill_holes_mm3: float = 0.0,
    split_sides: bool = False,
    names: Mapping[int, str] | None = None,
    sides: Mapping[int, Laterality] | None = None,
) -> Volume:
    """Remove small errors from a label map; without options the label map is returned as it is.

    Parts of structures are removed first, then holes are filled, then left and right are divided.

    Parameters
    ----------
    labels
        Whole numbers, 0 for the background.
    largest_component
        Keep the largest connected part of each structure. A structure that does not lie on one
        side of the body, left or right, also keeps its second largest part if that is at least
        half as large.
    smallest_component_mm3
        Remove connected parts smaller than this.
    fill_holes_mm3
        Fill enclosed background up to this volume, not at the border of the volume, with the label
        that most of its faces touch.
    split_sides
        Divide the structures that have one label for both sides of the body, as the model's card
        states, at the mid-sagittal plane of the labels: value v becomes 1000 + v on the left and
        2000 + v on the right, and its name begins with "left" or "right". The head may be tilted,
        and the field of view partial. Without a plane of symmetry there is a warning, and the
        labels stay as they are.
    names
        Names of the label values; by default those in the metadata of ``labels``.
    sides
        Sides of the label values, see `Laterality`; by default those in the metadata of
        ``labels``, unless names are given. A label whose side is not stated is on the side that
        its name begins with, "left" or "right".

    Returns
    -------
    Volume
        On the same grid. Each step is added to ``metadata["postprocessing"]``; see
        `PostprocessingStep`. The record of the labels, if they have one, is completed.

    Raises
    ------
    HyperspaceError
        If the labels are not whole numbers ≥ 0, or a volume is not a finite number ≥ 0.
    """
    _check(labels, smallest_component_mm3, "smallest_component_mm3")
    _check(labels, fill_holes_mm3, "fill_holes_mm3")
    before = labels.array
    if not before.any():
        _warn(labels, "is all background: nothing to post-process")
        return labels
    if sides is None:
        sides = labels.metadata.get("label_sides", {}) if names is None else {}
    if names is None:
        names = labels.metadata.get("label_names", {})
    voxel_mm3 = labels.grid.voxel_volume_ml * 1000
    cleaned = before.copy()
    steps: list[PostprocessingStep] = []

    def done(step: str, changed: int = 0, what: str = "") -> None:
        steps.append(
            {
                "step": step,
                "connectivity": CONNECTIVITY.get(what, 0),
                "changed_mm3": round(changed * voxel_mm3, 6),
            }
        )

    if largest_component or smallest_component_mm3 > 0:
        removed = _remove_parts(
            cleaned,
            lambda value: laterality_of(value, names, sides).side is not None,
            largest_component,
            math.ceil(smallest_component_mm3 / voxel_mm3 - 1e-9),
        )
        if largest_component:
            words = "largest component of each structure"
            words += f", none below {smallest_component_mm3:g} mm³" * (smallest_component_mm3 > 0)
        else:
            words = f"components below {smallest_component_mm3:g} mm³ removed"
        done(words, removed, "structure")
    if fill_holes_mm3 > 0:
        filled = _fill_holes(cleaned, math.floor(fill_holes_mm3 / voxel_mm3 + 1e-9))
        done(f"holes up to {fill_holes_mm3:g} mm³ filled", filled, "hole")
    metadata: VolumeMetadata = {**labels.metadata}
    if split_sides:
        divided = divide_sides(labels.with_array(cleaned), sides)
        if divided.reason:
            _warn(labels, f"has left and right under one label: {divided.reason}")
            done(f"left and right not divided: {divided.reason}")
        else:
            changed = int(np.count_nonzero(divided.array != cleaned))
            unknown = labels.metadata.get("orientation_unknown")
            note = " (the file does not state its orientation: they may be swapped)"
            done(f"left and right divided{note if unknown else ''}", changed)
            cleaned = divided.array
            metadata = describe_sides({**metadata, "label_names": names, "label_sides": sides})
    if not steps:
        return labels
    former = labels.metadata.get("postprocessing", ())
    metadata["postprocessing"] = (*former, *steps)
    record = labels.metadata.get("record")
    if record is not None:
        options = PostprocessingOptions(
            largest_component, smallest_component_mm3, fill_holes_mm3, split_sides
        )
        metadata["record"] = replace(
            record,
            postprocessing=(*record.postprocessing, options),
            labels_digest=digest_of_labels(cleaned),
        )
    return labels.with_array(cleaned, metadata=metadata)


def apply_postprocessing(labels: Volume, options: PostprocessingOptions) -> Volume:
    """Return post-processed labels; see `postprocess`. With default options they are unchanged."""
    return postprocess(labels, **asdict(options))


def _warn(labels: Volume, what: str) -> None:
    text = f"{labels.name or 'the label map'} {what}"
    warnings.warn(text, HyperspaceWarning, stacklevel=3)


def _check(labels: Volume, volume_mm3: float, field: str) -> None:
    if labels.dtype.kind not in "iu":
        raise HyperspaceError(
            "post-processing works on label maps",
            where=labels.name or None,
            found=f"values of type {labels.dtype}",
            expected="whole numbers",
        )
    if labels.dtype.kind == "i" and labels.array.size and int(labels.array.min()) < 0:
        negative = labels.array[labels.array < 0]
        raise HyperspaceError(
            "label values must not be negative",
            where=labels.name or None,
            found=", ".join(
                f"{value} ({count} voxels)"
                for value, count in zip(*np.unique(negative, return_counts=True), strict=True)
            ),
        )
    if not (math.isfinite(volume_mm3) and volume_mm3 >= 0):
        raise HyperspaceError(
            "a volume must be a finite number, 0 or more", field=field, found=volume_mm3
        )


def _remove_parts(
    labels: NDArray[Any], is_sided: Callable[[int], bool], largest: bool, smallest: int
) -> int:
    """Remove parts in place: all but the largest, or those below a number of voxels.

    Each structure is processed within its bounding box.

    Returns
    -------
    int
        Number of voxels removed.
    """
    removed = 0
    for value, box in _boxes(labels):
        region = labels[box]
        parts, n = ndimage.label(region == value, _STRUCTURE)
        if n < 2 and smallest < 2:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        keep = sizes >= smallest
        if largest:
            keep &= _largest(sizes, sided=is_sided(value))
        dropped = np.append(False, ~keep)[parts]
        region[dropped] = 0
        removed += int(dropped.sum())
    return removed


def _boxes(labels: NDArray[Any]) -> list[tuple[int, tuple[slice, ...]]]:
    """Return each label value with its bounding box."""
    if int(labels.max()) <= _FEW:
        found: list[tuple[slice, ...] | None] = list(ndimage.find_objects(labels))
        return [(value, box) for value, box in enumerate(found, start=1) if box is not None]
    values = np.unique(np.append(labels, labels.dtype.type(0)))  # sparse values: by their ranks
    boxes = ndimage.find_objects(np.searchsorted(values, labels))
    return list(zip(values[1:].tolist(), boxes, strict=True))


def _largest(sizes: NDArray[Any], *, sided: bool) -> NDArray[np.bool_]:
    """Return which parts to keep: the largest, and the one on the other side of the body."""
    order = np.argsort(-sizes, kind="stable")
    keep = np.zeros(len(sizes), dtype=bool)
    keep[order[0]] = True
    if not sided and len(sizes) > 1 and sizes[order[1]] >= _OTHER_SIDE * sizes[order[0]]:
        keep[order[1]] = True
    return keep


def _fill_holes(labels: NDArray[Any], largest: int) -> int:
    """Fill enclosed background of up to a number of voxels in place; return how many it filled."""
    holes, n = ndimage.label(labels == 0, _HOLE)
    sizes = np.bincount(holes.ravel(), minlength=n + 1)
    small = sizes <= largest
    small[0] = False
    for axis in range(3):
        for end in (0, -1):
            small[holes.take(end, axis)] = False  # touches the border of the volume
    filled = 0
    boxes = ndimage.find_objects(holes)
    for hole in np.flatnonzero(small).tolist():
        box = tuple(slice(part.start - 1, part.stop + 1) for part in boxes[hole - 1])
        region = labels[box]
        inside = holes[box] == hole
        region[inside] = _touching(region, inside)
        filled += int(inside.sum())
    return filled


def _touching(labels: NDArray[Any], inside: NDArray[np.bool_]) -> int:
    """Return the label that most faces of a region touch; the smallest one of a tie."""
    faces = []
    for axis in range(3):
        for step in (1, -1):
            beside = np.roll(labels, step, axis)  # the region does not touch the box's border
            faces.append(beside[inside & ~np.roll(inside, step, axis)])
    values, counts = np.unique(np.concatenate(faces), return_counts=True)
    return int(values[counts.argmax()])
