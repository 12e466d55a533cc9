"""Segment structures again around strokes of a user, in a part of a scan."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.api.corrections.merge import BAND_MM, border_weights, merge_labels
from napari_hyperspace.api.corrections.refine import refine_steps
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.progress import Progress, as_part
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import Box
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import working_spacing
from napari_hyperspace.inference.protocols import SpacingModel

_MERGED = 0.97  # of the work is done before the answer is merged
_COARSEST_STEP = 16  # a factor of 16


@dataclass(frozen=True, eq=False)
class Strokes:
    """What a user has painted in a part of a scan.

    Parameters
    ----------
    present
        The labels as the user sees them, strokes included.
    include, exclude
        Strokes that are respected exactly, as label values: these voxels belong, or do not belong,
        to the structure of this value. 0: no stroke.
    rough
        A rough mask of the structures, as label values, from which they are segmented; `None`:
        they are segmented from the present labels.
    """

    present: Volume
    include: Volume
    exclude: Volume
    rough: Volume | None = None


@dataclass(frozen=True, eq=False)
class Corrected:
    """Structures that were segmented again.

    Parameters
    ----------
    labels
        Of the part, in its array order.
    spacing_mm
        Working spacing, in canonical order.
    seconds
        Wall time.
    """

    labels: NDArray[np.integer]
    spacing_mm: Triple
    seconds: float


def correct_steps(
    volume: Volume,
    strokes: Strokes,
    values: Sequence[int],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    kept: Box | None = None,
    protect_others: bool = False,
    band_mm: float = BAND_MM,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, Corrected]:
    """Segment structures again around strokes, step by step.

    Voxels that a structure loses get the label of the nearest voxel of another structure or of the
    background; erased voxels stay background.

    Parameters
    ----------
    volume
        The part of the scan that the model sees.
    strokes
        What the user has painted there, on the same grid.
    values
        The structures to segment.
    model
        A class-conditional model.
    spacing_mm, options, should_stop
        As in `refine_steps`.
    kept
        Where labels may change, as slices in array order; `None`: everywhere. At its faces inside
        of the part, the labels pass gradually from the present ones to the new ones.
    protect_others
        Whether voxels of other structures stay as they are.
    band_mm
        Width of the band in which they do.

    Yields
    ------
    Progress
        Before each step.

    Returns
    -------
    Corrected
        The labels of the part.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If there is nothing of a structure, or as in `refine_steps`.
    """
    started = time.perf_counter()
    options = options or InferenceOptions()
    present = np.asarray(strokes.present.array)
    include, exclude = strokes.include.array, strokes.exclude.array
    own = np.isin(present, values)
    rough = strokes.rough
    if rough is None:
        rough = strokes.present.with_array(np.where(own, present, 0))
    known = [value for value in values if (rough.array == value).any() or (include == value).any()]
    answer = np.zeros_like(present)
    if known:
        result = yield from as_part(
            refine_steps(
                volume,
                rough.with_array(np.where(np.isin(rough.array, known), rough.array, 0)),
                model,
                spacing_mm,
                options,
                include=strokes.include.with_array(np.where(np.isin(include, known), include, 0)),
                exclude=strokes.exclude,
                context_mm=sum(volume.grid.field_of_view_mm),  # all that is given
                should_stop=should_stop,
            ),
            0.0,
            _MERGED,
        )
        answer = result.labels.array.astype(present.dtype)
    yield Progress(_MERGED, "merging")
    new = _with_answer(present, answer, own, values, include, exclude, volume.grid, protect_others)
    box = kept or (
        slice(0, present.shape[0]),
        slice(0, present.shape[1]),
        slice(0, present.shape[2]),
    )
    weights = border_weights(box, volume.shape, volume.spacing_mm, band_mm)
    merged = present.copy()
    merged[box] = merge_labels(present[box], new[box], weights, volume.spacing_mm)
    for value in values:
        merged[include == value] = value
        wrong = (exclude == value) & (merged == value)
        merged[wrong] = np.where(present == value, 0, present)[wrong]
    spacing = working_spacing(volume, model, spacing_mm, options.outside, allow_implausible=True)
    return Corrected(merged, spacing, time.perf_counter() - started)


def _with_answer(
    present: NDArray[np.integer],
    answer: NDArray[np.integer],
    own: NDArray[np.bool_],
    values: Sequence[int],
    include: NDArray[np.integer],
    exclude: NDArray[np.integer],
    grid: Grid,
    protect_others: bool,
) -> NDArray[np.integer]:
    """Return the present labels with the answer in place of these structures."""
    new = present.copy()
    gained = answer > 0
    if protect_others:
        gained &= own | (present == 0)
    new[gained] = answer[gained]
    lost = own & (answer == 0)
    new[lost] = 0
    others = (present > 0) & ~own
    if lost.any() and others.any():
        # Erased voxels are no neighbors: what is around them is not background for that reason.
        erased = np.isin(exclude, values) & (present == 0)
        near = ndimage.distance_transform_edt(
            own | erased, sampling=grid.spacing_mm, return_distances=False, return_indices=True
        )
        filled = present[tuple(near)]
        keep = lost & ~np.isin(filled, values)
        new[keep] = filled[keep]
    return new


def boxes_around(
    grid: Grid, hints: Box, structure: Box, *, context_mm: float, changed_mm: float
) -> tuple[Box, Box]:
    """Return the part of a scan that the model sees for strokes, and the part that may change.

    A small structure is seen as a whole with its context; of a large one, what is near the strokes.

    Parameters
    ----------
    grid
        Of the scan.
    hints
        Bounding box of the strokes.
    structure
        Bounding box of the structure, strokes included.
    context_mm
        Seen around the structure, and beyond what may change.
    changed_mm
        How far from the strokes labels may change.

    Returns
    -------
    tuple
        What is seen, as slices of the scan; and what may change, as slices of that part.
    """
    seen, kept = [], []
    for hint, whole, n, step in zip(hints, structure, grid.shape, grid.spacing_mm, strict=True):
        around, near = round(context_mm / step), round(changed_mm / step)
        low, high = max(0, whole.start - around), min(n, whole.stop + around)
        start = max(low, hint.start - near - around)
        stop = min(high, hint.stop + near + around)
        first = start if start == low else hint.start - near
        last = stop if stop == high else hint.stop + near
        seen.append(slice(start, stop))
        kept.append(slice(first - start, last - start))
    return (seen[0], seen[1], seen[2]), (kept[0], kept[1], kept[2])


def answer_spacing(
    grid: Grid, model: SpacingModel, finest_mm: float, most_voxels: int
) -> tuple[float, float, float]:
    """Return the working spacing of a quick answer for a part of a scan, in canonical order.

    Parameters
    ----------
    grid
        Of the part.
    model
        The spacing is inside its trained range.
    finest_mm
        The wanted spacing; along axes on which the scan is coarser, that of the scan.
    most_voxels
        Of the working grid: a larger part is segmented at a coarser spacing, so that the answer
        takes no longer.
    """
    canonical = grid.canonical()
    own = np.array(canonical.spacing_mm)
    extent = np.array(canonical.field_of_view_mm)
    # In steps, so that networks are made for a few spacings only.
    for step in range(_COARSEST_STEP + 1):
        wanted = np.maximum(finest_mm * 2 ** (step / 4), own)
        if float(np.prod(extent / wanted)) <= most_voxels:
            break
    if model.trained_range_mm is not None:
        low, high = np.array(model.trained_range_mm).T
        wanted = np.clip(wanted, low, high)
    z, y, x = (float(step) for step in wanted)
    return z, y, x
