"""Refine rough labels: each structure is segmented by itself, on the scan's own grid."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Unpack, cast

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace._resources import REFINE_MODEL
from napari_hyperspace.api.memory_check import check_main_memory
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.geodesic import membership_of_strokes
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.inference.engine import InferenceRun
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import as_volumes, straight_grid, working_image
from napari_hyperspace.inference.localize import Box, crop, crop_grid
from napari_hyperspace.inference.margin import NativeMargin
from napari_hyperspace.inference.normalized import NormalizedModel
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.plan import make_plan
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.io import check_labels
from napari_hyperspace.nets.model_file import load_model

CONTEXT_MM = 16.0
"""How much of the scan around the hints is segmented, in mm."""

DEFAULT_MODEL = REFINE_MODEL
"""Name of the bundled class-conditional model."""

_BOX_STEP_MM = 8.0
"""Boxes are enlarged to a multiple of this where the scan has room: oneDNN prepares and keeps every
convolution for each shape of its input, which takes as long as the convolution of a small box."""

_FRONT_WEIGHT = 3.0
"""Weight of the log-odds of the fronts beside those of the network; see decision 37."""
_SUREST = 0.99  # the fronts are not sure of any voxel
_LARGEST_VALUE = 65535  # of labels, as in a model's card


@dataclass(frozen=True, eq=False)
class RefineResult:
    """Refined labels, and how long it took.

    Parameters
    ----------
    labels
        On the scan's own grid, in its own array order.
    boxes
        Part of the scan that each structure was segmented in, in array order, by label value.
    seconds
        Wall time.
    """

    labels: Volume
    boxes: dict[int, Box]
    seconds: float


def refine(
    volume: Volume,
    coarse: Volume,
    model: SpacingModel | None = None,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    include: Volume | None = None,
    exclude: Volume | None = None,
    context_mm: float = CONTEXT_MM,
    fronts: bool = True,
    **keywords: Unpack[OptionKeywords],
) -> Volume:
    """Refine rough labels; use `refine_steps` for progress and to be able to stop.

    Parameters
    ----------
    volume, coarse, model, spacing_mm, options, include, exclude, context_mm, fronts, **keywords
        As in `refine_steps`.

    Returns
    -------
    Volume
        Labels on the scan's own grid, in its own array order, with the values, names and colors of
        ``coarse``.
    """
    steps = refine_steps(
        volume,
        coarse,
        model,
        spacing_mm,
        options,
        include=include,
        exclude=exclude,
        context_mm=context_mm,
        fronts=fronts,
        **keywords,
    )
    return run_to_end(steps).labels


def refine_steps(
    volume: Volume,
    coarse: Volume,
    model: SpacingModel | None = None,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    include: Volume | None = None,
    exclude: Volume | None = None,
    context_mm: float = CONTEXT_MM,
    fronts: bool = True,
    should_stop: ShouldStop | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Generator[Progress, None, RefineResult]:
    """Refine rough labels step by step.

    Each structure is segmented in a box around its hints, one after the other, so that memory does
    not grow with their number. Where several claim a voxel, the one with the largest margin to its
    background gets it. After Hu et al., *Scalable Segmentation for Ultra-High-Resolution Brain MR
    Images* (HighSeg, 2025), section 3.3.

    Parameters
    ----------
    volume
        The scan.
    coarse
        Rough labels on any grid: of another spacing, a part of the scan, or a few painted slices.
        Each value except 0 is a structure.
    model
        A class-conditional model; `None`: the bundled one.
    spacing_mm
        Working spacing in canonical order (z, y, x); `None`: the scan's own.
    options
        How to run; see `InferenceOptions`.
    include, exclude
        Strokes, as label maps on any grid: voxels with a value belong, or do not belong, to the
        structure of this value. The result has exactly these voxels where the strokes are on the
        scan's own grid, otherwise those of the nearest voxels.
    context_mm
        How much of the scan around the hints is segmented, at least.
    fronts
        Whether strokes alone, and masks of up to four slices, are grown to the whole structure by
        two fronts (`napari_hyperspace.core.geodesic`) before the network sees them.
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
    RefineResult
        The labels; voxels outside of all boxes are 0.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If the model is not class-conditional, there is no structure, a structure lies outside of
        the scan, or as in `segment_steps`.
    """
    started = time.perf_counter()
    model = load_model(DEFAULT_MODEL) if model is None else model
    if model.head != "class-conditional":
        raise HyperspaceError(
            "this model segments all its labels at once, not a structure that you mark",
            where=model.name,
            expected="a class-conditional model",
            fix="Use segment, or another model",
        )
    marks = [None if hint is None else _Marks.of(hint) for hint in (coarse, include, exclude)]
    values = sorted({value for mark in marks[:2] if mark is not None for value in mark.boxes})
    if not values:
        raise HyperspaceError(
            "the rough labels are empty",
            where=coarse.name or None,
            expected="a value above 0 for each structure",
        )
    options = options_from(options, keywords)
    options = replace(options, device=choose_device(options.device))
    best = np.zeros(volume.shape, np.float32)
    labels = np.zeros(volume.shape, np.min_scalar_type(values[-1]))
    boxes = {}
    for number, value in enumerate(values):
        box = _box_around(volume.grid, marks[:2], value, context_mm)
        margin = yield from as_part(
            _margin_steps(
                volume,
                box,
                value,
                marks,
                model,
                spacing_mm,
                options,
                should_stop,
                fronts=fronts,
            ),
            number / len(values),
            (number + 1) / len(values),
        )
        largest = margin > best[box]
        labels[box][largest] = value
        best[box][largest] = margin[largest]
        boxes[value] = box
    given = coarse.metadata
    metadata: VolumeMetadata = {
        **volume.metadata,
        "label_names": given.get("label_names", {}),
        "label_colors": given.get("label_colors", {}),
        "label_sides": given.get("label_sides", {}),
        "model": model.name,
    }
    refined = volume.with_array(labels, metadata=metadata)
    return RefineResult(refined, boxes, time.perf_counter() - started)


@dataclass(frozen=True, eq=False)
class _Marks:
    """Rough labels or strokes, and the box of the voxels of each value, in array order.

    The labels are only the part of what was given that has values: strokes are small, scans large.
    """

    labels: Volume
    boxes: Mapping[int, Box]

    @classmethod
    def of(cls, volume: Volume) -> _Marks:
        if not volume.array.any():
            return cls(volume, {})
        labels = check_labels(crop(volume, _box_of_values(volume.array)))
        largest = int(labels.array.max())
        if largest > _LARGEST_VALUE:
            raise HyperspaceError(
                "a label value is too large",
                where=volume.name or None,
                found=largest,
                expected=f"at most {_LARGEST_VALUE}",
            )
        # The stubs of scipy do not know that values without a voxel are None.
        boxes = cast(
            "list[Box | None]", ndimage.find_objects(labels.array.astype(np.int32, copy=False))
        )
        return cls(labels, {i: box for i, box in enumerate(boxes, start=1) if box is not None})

    def on_grid(self, value: int, grid: Grid) -> Volume:
        """Return the voxels of a value as 1, interpolated onto a grid."""
        box = self.boxes.get(value)
        if box is None:
            return Volume(np.zeros(grid.shape, np.float32), grid)
        # Interpolation beyond the voxels themselves needs their neighbors only.
        a, b, c = (
            slice(max(0, each.start - 2), min(size, each.stop + 2))
            for each, size in zip(box, self.labels.shape, strict=True)
        )
        part = crop(self.labels, (a, b, c))
        mask = Volume((part.array == value).astype(np.float32), part.grid)
        return resample_to_grid(mask, grid, fill=0.0)


def _box_of_values(array: NDArray[np.generic]) -> Box:
    """Return the box of what is not 0, with the neighbors that interpolation needs."""
    parts = []
    for axis, size in enumerate(array.shape):
        shown = np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis})))
        parts.append(slice(max(0, int(shown[0]) - 2), min(size, int(shown[-1]) + 3)))
    return parts[0], parts[1], parts[2]


def _box_around(grid: Grid, marks: Sequence[_Marks | None], value: int, context_mm: float) -> Box:
    """Return the box of a grid that contains the voxels of a value, with the context around it."""
    corners = []
    for mark in marks:
        if mark is not None and value in mark.boxes:
            edges = [(each.start - 0.5, each.stop - 0.5) for each in mark.boxes[value]]
            corners += [mark.labels.grid.index_to_mm(corner) for corner in product(*edges)]
    index = grid.mm_to_index(corners)
    margin = context_mm / np.array(grid.spacing_mm)
    low = np.floor(index.min(axis=0) + 0.5 - margin).astype(int).clip(0)
    high = np.minimum(np.ceil(index.max(axis=0) + 0.5 + margin).astype(int), grid.shape)
    if (low >= high).any():
        raise HyperspaceError(
            "a structure lies outside of the scan",
            field=f"value {value}",
            fix="Check that labels and scan belong together",
        )
    a, b, c = (
        _enlarged(int(start), int(stop), size, max(1, round(_BOX_STEP_MM / step)))
        for start, stop, size, step in zip(low, high, grid.shape, grid.spacing_mm, strict=True)
    )
    return a, b, c


def _enlarged(start: int, stop: int, size: int, step: int) -> slice:
    """Return a part of an axis with a multiple of some voxels, or the whole axis if it is short."""
    length = min(size, -(-(stop - start) // step) * step)
    first = min(max(0, start - (length - (stop - start)) // 2), size - length)
    return slice(first, first + length)


def _margin_steps(
    volume: Volume,
    box: Box,
    value: int,
    marks: Sequence[_Marks | None],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
    *,
    fronts: bool,
) -> Generator[Progress, None, NDArray[np.float32]]:
    """Segment one structure in a box; return its margin to the background, infinite at strokes."""
    yield Progress(0.0, "preparing the image")
    stop = should_stop or (lambda: False)
    scan = crop(volume, box)
    grid = crop_grid(volume.grid, box)
    image = Volume(model.normalization.apply(scan.array), grid, volume.name)
    nothing = Volume(np.zeros(grid.shape, np.float32), grid)
    hints = [nothing if mark is None else mark.on_grid(value, grid) for mark in marks]
    rough, inside, outside = (hint.array for hint in hints)
    member = None
    if fronts:
        seeds = (inside > 0.5, outside > 0.5)
        member = membership_of_strokes(image.array, rough, *seeds, grid.spacing_mm)
    if member is not None:
        hints[0] = Volume((member > 0.5).astype(np.float32), grid)
    normalized = NormalizedModel(model)
    volumes = as_volumes([image, *hints], normalized)
    straight = straight_grid(grid)
    plan = make_plan(straight, normalized, spacing_mm, options)
    check_main_memory(volumes, plan, normalized, choose_device(options.device))
    network_input = working_image(volumes, normalized, plan, stop)
    margin = np.zeros(straight.shape, np.float32)
    inference = InferenceRun(plan, normalized, network_input, options, should_stop, NativeMargin)
    yield from inference.run(straight.orientation.to_canonical(margin))
    if straight is not grid:
        margin = resample_to_grid(Volume(margin, straight), grid, should_stop=stop).array.copy()
    if member is not None:
        odds = np.clip(member, 1 - _SUREST, _SUREST)
        margin += _FRONT_WEIGHT * np.log(odds / (1 - odds))
    for mark, certain in zip(marks[1:], (np.inf, -np.inf), strict=True):
        if mark is not None and value in mark.boxes:
            marked = resample_to_grid(mark.labels, grid, order="nearest", fill=0)
            margin[marked.array == value] = certain
    return margin
