"""Refine labels in a box: the model runs there at another spacing, and nothing else changes."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Unpack, cast

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.api.corrections.merge import BAND_MM, border_weights, merge_labels
from napari_hyperspace.api.corrections.refine import refine_steps
from napari_hyperspace.api.scan_block import ScanBlock, seen_box
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.inference.inputs import as_volumes
from napari_hyperspace.inference.localize import Box, crop
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.plan import working_spacing
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.io import check_labels

_SEGMENTED = 0.9  # of the work


@dataclass(frozen=True, eq=False)
class BoxResult:
    """Labels that were refined in a box.

    Parameters
    ----------
    labels
        On the grid of the labels that were given, in their array order.
    box
        Where voxels can have changed, in array order.
    changed
        Number of voxels that have changed.
    spacing_mm
        Working spacing in the box, in canonical order.
    seconds
        Wall time.
    """

    labels: Volume
    box: Box
    changed: int
    spacing_mm: Triple
    seconds: float


def refine_box(
    volume: Volume | Sequence[Volume],
    labels: Volume,
    model: SpacingModel,
    box: Box,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    band_mm: float = BAND_MM,
    **keywords: Unpack[OptionKeywords],
) -> Volume:
    """Refine labels in a box; use `refine_box_steps` for progress and to be able to stop.

    Parameters
    ----------
    volume, labels, model, box, spacing_mm, options, band_mm, **keywords
        As in `refine_box_steps`.

    Returns
    -------
    Volume
        The labels. Outside of the box they are those that were given, bit for bit.
    """
    steps = refine_box_steps(
        volume, labels, model, box, spacing_mm, options, band_mm=band_mm, **keywords
    )
    return run_to_end(steps).labels


def refine_box_steps(
    volume: Volume | Sequence[Volume],
    labels: Volume,
    model: SpacingModel,
    box: Box,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    band_mm: float = BAND_MM,
    should_stop: ShouldStop | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Generator[Progress, None, BoxResult]:
    """Refine labels in a box step by step.

    The model sees the box with its context (`box_with_context`), at the given spacing. A model of
    all labels segments it; a class-conditional one refines each structure that it finds there. In a
    band inside the box, the surfaces pass gradually from the given ones to the new ones
    (`merge_labels`).

    Parameters
    ----------
    volume
        The scan, or one scan per input channel of the model.
    labels
        Labels on the grid of the scan. Voxels with values that a model of all labels does not have
        are kept.
    model
        Makes the network.
    box
        Part of the scan, as slices in array order.
    spacing_mm
        Working spacing in canonical order (z, y, x); `None`: the scan's own.
    options
        How to run; see `InferenceOptions`.
    band_mm
        Width of the band; 0: a sharp border.
    should_stop
        Called as in `segment_steps`.
    **keywords
        The fields of `InferenceOptions`, instead of ``options``.

    Yields
    ------
    Progress
        Before each step.

    Returns
    -------
    BoxResult
        The labels, and what has changed.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If labels and scan are on different grids, the box is not in the scan, the names of the
        labels are those of another model, or as in `segment_steps`.
    """
    started = time.perf_counter()
    options = options_from(options, keywords)
    volumes = [volume] if isinstance(volume, Volume) else list(volume)
    if labels.array.any():  # `check_labels` warns of empty ones
        labels = check_labels(labels)
    _check(volumes[0].grid, labels, model, box)
    yield Progress(0.0, "preparing the image")
    whole = labels.array
    present = np.asarray(whole[box])
    if model.head == "class-conditional":
        answer = yield from _refined(volumes, labels, model, box, spacing_mm, options, should_stop)
    else:
        seen = box_with_context(box, labels.grid, model, spacing_mm)
        block = ScanBlock.of(as_volumes(volumes, model), model, box, seen)
        steps = segment_steps(
            block.images, block.model, spacing_mm, options, should_stop=should_stop
        )
        result = yield from as_part(steps, 0.0, _SEGMENTED)
        found = result.labels.array[block.kept]
        foreign = ~np.isin(present, model.label_values)
        answer = np.where(foreign, present, found)
    if should_stop is not None and should_stop():
        raise Cancelled
    yield Progress(_SEGMENTED, "merging")
    weights = border_weights(box, labels.shape, labels.spacing_mm, band_mm)
    array = whole.astype(np.result_type(whole.dtype, np.min_scalar_type(int(answer.max()))))
    array[box] = merge_labels(present, answer, weights, labels.spacing_mm)
    changed = int(np.count_nonzero(array[box] != present))
    # The record says how labels were made; these were made in another way.
    kept = {key: value for key, value in labels.metadata.items() if key != "record"}
    refined = labels.with_array(array, metadata=cast(VolumeMetadata, kept))
    spacing = working_spacing(
        volumes[0], model, spacing_mm, options.outside, allow_implausible=True
    )
    return BoxResult(refined, box, changed, spacing, time.perf_counter() - started)


def box_with_context(
    box: Box, grid: Grid, model: SpacingModel, spacing_mm: Sequence[float] | None = None
) -> Box:
    """Return what a model has to see of a scan to segment a box: at least what it was trained on.

    Normalization layers depend on all of their input, and structures are told apart by their
    surroundings.

    Parameters
    ----------
    box
        In array order.
    grid
        Of the scan.
    model
        The sides of the shortest region, or else of the tiles, that it was trained on count.
    spacing_mm
        Working spacing in canonical order; `None`: the scan's own.
    """
    seen = seen_box(box, grid)
    if model.head == "class-conditional":
        return seen
    spacing = grid.canonical().spacing_mm if spacing_mm is None else spacing_mm
    sides: list[float] = []
    if model.localization is not None:
        sides = list(model.localization.extent_mm)
    else:
        for tile, unit in ((model.tile_shape, spacing), (model.tile_mm, (1.0,) * 3)):
            if tile is not None:
                n = len(tile)
                sides += [size * step for size, step in zip(tile, unit[-n:], strict=True)]
    least = min(sides, default=0.0)
    ends = []
    for inner, each, n, step in zip(box, seen, grid.shape, grid.spacing_mm, strict=True):
        size = min(n, max(each.stop - each.start, round(least / step)))
        start = min(max((inner.start + inner.stop - size) // 2, 0), n - size)
        ends.append(slice(min(start, each.start), max(start + size, each.stop)))
    return ends[0], ends[1], ends[2]


def _refined(
    volumes: Sequence[Volume],
    labels: Volume,
    model: SpacingModel,
    box: Box,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, NDArray[np.integer]]:
    """Refine the structures in a box by a class-conditional model."""
    seen = seen_box(box, labels.grid)
    inner = tuple(
        slice(each.start - outer.start, each.stop - outer.start)
        for each, outer in zip(box, seen, strict=True)
    )
    part = crop(labels, seen)
    if not part.array.any():
        return np.asarray(part.array[inner])
    # Structures of a few slices are results here, not strokes.
    steps = refine_steps(
        crop(volumes[0], seen),
        part,
        model,
        spacing_mm,
        options,
        fronts=False,
        should_stop=should_stop,
    )
    result = yield from as_part(steps, 0.0, _SEGMENTED)
    return np.asarray(result.labels.array[inner])


def _check(grid: Grid, labels: Volume, model: SpacingModel, box: Box) -> None:
    if not labels.grid.is_close(grid):
        raise HyperspaceError(
            "these labels are not on the grid of the scan",
            where=labels.name or None,
            found=f"shape {labels.shape}",
            expected=f"shape {grid.shape}, with the same affine",
            fix="Use refine, which takes labels on any grid",
        )
    if any(
        each.step not in (None, 1) or not 0 <= each.start < each.stop <= n
        for each, n in zip(box, grid.shape, strict=True)
    ):
        raise HyperspaceError(
            "the box is not a part of the scan",
            field="box",
            found=[(each.start, each.stop) for each in box],
            expected=f"slices inside {grid.shape}, not empty",
        )
    if model.head == "class-conditional":
        return
    given = labels.metadata.get("label_names", {})
    for value, name in model.label_names.items():
        if given.get(value, name) != name:
            raise HyperspaceError(
                "these labels were not made by this model: a value has another name",
                where=model.name,
                field=f"value {value}",
                found=given[value],
                expected=name,
                fix="Choose the model that made the labels",
            )
