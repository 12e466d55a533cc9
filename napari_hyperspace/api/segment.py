"""Segment a scan with a model: labels on the scan's own grid."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np
import torch

from napari_hyperspace import __version__
from napari_hyperspace.api.memory_check import check_main_memory
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.memory import PeakMemory
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Record, Volume, VolumeMetadata, digest_of_labels
from napari_hyperspace.inference.engine import FINISHED, InferenceRun
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import as_volumes, straight_grid, working_image
from napari_hyperspace.inference.localize import Box, coarse_spacing, crop, found_box, paste
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.plan import Plan, make_plan, working_spacing
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.nets.base.localization import Localization
from napari_hyperspace.support.log import log_event

_LOCALIZATION = 0.2  # fraction of the progress for the coarse first pass


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """Labels, and how they were made.

    Parameters
    ----------
    labels
        On the scan's own grid, in its own array order. ``metadata["record"]`` is a `Record` of how
        they were made.
    seconds
        Wall time of the segmentation.
    bake_seconds
        Wall time of making the network.
    probe_seconds
        Wall time of measuring the fastest precision, which only the first run at about this
        spacing does.
    peak_bytes
        Largest growth of memory (resident memory of the process for the CPU, memory of the device
        for CUDA).
    spacing_mm
        Working spacing, canonical order (z, y, x).
    precision, device
        Precision and device of the last attempt, which made the labels.
    """

    labels: Volume
    seconds: float
    bake_seconds: float
    peak_bytes: int
    spacing_mm: Triple
    precision: str
    device: str
    probe_seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Localized:
    """What the coarse first pass of a model with localization found.

    Parameters
    ----------
    spacing_mm
        Working spacing of the pass, canonical order. Spacings with the same one share its result.
    box
        What to segment, in array order; the whole scan if nothing was found.
    seconds, bake_seconds, probe_seconds, peak_bytes, precision
        As in `SegmentResult`, of this pass.
    """

    spacing_mm: Triple
    box: Box
    seconds: float
    bake_seconds: float
    probe_seconds: float
    peak_bytes: int
    precision: str


def segment(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Volume:
    """Segment a scan; use `segment_steps` for progress and to be able to stop.

    Parameters
    ----------
    volume, model, spacing_mm, options, **keywords
        As in `segment_steps`.

    Returns
    -------
    Volume
        Labels (uint8 or uint16) on the scan's own grid, in its own array order.
    """
    return run_to_end(segment_steps(volume, model, spacing_mm, options, **keywords)).labels


def segment_steps(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    should_stop: ShouldStop | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Generator[Progress, None, SegmentResult]:
    """Segment a scan step by step.

    The scan is normalized on its own grid, resampled to the working grid, and run through the
    network in tiles that are blended by Gaussian weights (at once if it fits one tile). Every
    native voxel gets the class whose linearly interpolated logit is largest. A scan whose axes are
    not perpendicular is resampled to perpendicular axes first, and its labels are resampled back.

    If the model asks for localization, a coarse first pass finds what it segments, and only the box
    around that is segmented (`napari_hyperspace.inference.localize`); the rest is background.

    Parameters
    ----------
    volume
        A scan, or one scan per input channel of the model, all on one grid.
    model
        Makes the network.
    spacing_mm
        Working spacing in canonical order (z, y, x); `None`: the scan's own.
    options
        How to run; see `InferenceOptions`.
    should_stop
        Called between the steps of preparing the image, between tiles, between layers, between
        planes of labels, and every few planes while a sheared scan is resampled.
    **keywords
        The fields of `InferenceOptions`, instead of ``options``: ``device``, ``outside``,
        ``tile_shape``, ``overlap``, ``precision``, ``allow_implausible``.

    Yields
    ------
    Progress
        Before each step.

    Returns
    -------
    SegmentResult
        Labels, time and memory.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If scan, model and spacing do not match, the scan or the spacing is implausible, a value is
        not finite, or there is not enough memory.
    """
    options = options_from(options, keywords)
    if model.head != "labels":
        raise HyperspaceError(
            "this model segments one structure, around labels or strokes that you give",
            where=model.name,
            fix="Use refine, or another model",
        )
    if model.localization is None:
        result = yield from _segment_in_one_pass(volume, model, spacing_mm, options, should_stop)
        return _with_totals(result, "")
    volumes = as_volumes(volume, model)
    localized = yield from as_part(
        localize_steps(volumes, model, spacing_mm, options, should_stop),
        0.0,
        _LOCALIZATION,
        "finding the region",
    )
    return (
        yield from as_part(
            segment_box_steps(volumes, model, spacing_mm, localized, options, should_stop),
            _LOCALIZATION,
            1.0,
        )
    )


def first_pass_spacing(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    localization: Localization,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
) -> Triple:
    """Return the working spacing of the first pass for a working spacing; see `segment_steps`."""
    spacing = working_spacing(
        volume,
        model,
        spacing_mm,
        options.outside,
        allow_implausible=options.allow_implausible,
    )
    coarse = coarse_spacing(localization, spacing)
    return working_spacing(
        volume, model, coarse, "clamp", allow_implausible=options.allow_implausible
    )


def localize_steps(
    volumes: Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, Localized]:
    """Run the coarse first pass of a model with localization; see `segment_steps`."""
    localization, native = model.localization, volumes[0]
    assert localization is not None
    coarse = first_pass_spacing(volumes, model, localization, spacing_mm, options)
    clamped = replace(
        options,
        outside="clamp",
        precision=options.localization_precision or options.precision,
    )
    first = yield from _segment_in_one_pass(volumes, model, coarse, clamped, should_stop)
    box = found_box(localization, first.labels)
    if box is None:  # absent, or too small for the coarse pass: segment the whole scan
        box = (slice(0, native.shape[0]), slice(0, native.shape[1]), slice(0, native.shape[2]))
    return Localized(
        coarse,
        box,
        first.seconds,
        first.bake_seconds,
        first.probe_seconds,
        first.peak_bytes,
        first.precision,
    )


def segment_box_steps(
    volumes: Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    localized: Localized,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, SegmentResult]:
    """Segment the box that a first pass found; see `segment_steps`.

    The result includes time and memory of the first pass.
    """
    native, box = volumes[0], localized.box
    within = [crop(each, box) for each in volumes]
    second = yield from _segment_in_one_pass(within, model, spacing_mm, options, should_stop)
    result = replace(
        second,
        labels=native.with_array(
            paste(second.labels.array, box, native.shape), metadata=second.labels.metadata
        ),
        seconds=localized.seconds + second.seconds,
        bake_seconds=localized.bake_seconds + second.bake_seconds,
        probe_seconds=localized.probe_seconds + second.probe_seconds,
        peak_bytes=max(localized.peak_bytes, second.peak_bytes),
    )
    return _with_totals(result, localized.precision)


def _with_totals(result: SegmentResult, localization_precision: str) -> SegmentResult:
    """Complete the record of a result: what all passes took, and the digest of the labels."""
    metadata = result.labels.metadata
    record = replace(
        metadata["record"],
        localization_precision=localization_precision,
        labels_digest=digest_of_labels(result.labels.array),
        seconds=result.seconds,
        peak_bytes=result.peak_bytes,
    )
    kept: VolumeMetadata = {**metadata, "record": record}
    return replace(result, labels=result.labels.with_array(result.labels.array, metadata=kept))


def _segment_in_one_pass(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, SegmentResult]:
    """Segment a whole scan at one spacing."""
    started = time.perf_counter()
    device = choose_device(options.device)
    options = replace(options, device=device)
    volumes = as_volumes(volume, model)
    native = volumes[0]
    stop = should_stop or (lambda: False)
    # A sheared scan is segmented on perpendicular axes, and its labels are resampled back.
    straight, sheared = straight_grid(native.grid), native.grid.is_sheared
    plan = make_plan(straight, model, spacing_mm, options)
    first_step = "resampling to perpendicular axes" if sheared else "preparing the image"
    with PeakMemory(device) as memory:
        yield Progress(0.0, first_step)
        check_main_memory(volumes, plan, model, device)
        try:
            image = working_image(volumes, model, plan, stop)
        except MemoryError as error:
            raise HyperspaceError(
                "not enough main memory to prepare the image",
                where=native.name or None,
                found=str(error) or None,
                fix="Choose another spacing, or close other programs",
            ) from error
        labels = np.zeros(straight.shape, np.min_scalar_type(max(model.label_values)))
        inference = InferenceRun(plan, model, image, options, should_stop)
        yield from inference.run(straight.orientation.to_canonical(labels))
        if sheared:
            yield Progress(FINISHED, "resampling the labels to the scan's grid")
            found = Volume(labels, straight)
            labels = resample_to_grid(found, native.grid, order="nearest", should_stop=stop).array
    segmentation = native.with_array(
        labels,
        metadata={
            **native.metadata,
            "label_names": dict(model.label_names),
            "label_colors": dict(model.label_colors),
            "label_sides": dict(model.label_sides),
            "record": _record(native, model, plan, spacing_mm, options, inference),
        },
    )
    seconds = time.perf_counter() - started
    log_event(
        f"segmented {plan.native.shape} voxels at {format_spacing(plan.spacing_mm)} "
        f"in {seconds:.3g} s, {inference.precision.name} on {inference.device}"
    )
    return SegmentResult(
        segmentation,
        seconds,
        inference.bake_seconds,
        memory.peak_bytes,
        plan.spacing_mm,
        inference.precision.name,
        str(inference.device),
        inference.probe_seconds,
    )


def _record(
    native: Volume,
    model: SpacingModel,
    plan: Plan,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    inference: InferenceRun,
) -> Record:
    """Return how one pass was made. Spacing and tiles are such that the options repeat it."""
    # The spacing of the working grid may differ from it by rounding.
    spacing = working_spacing(
        plan.native, model, spacing_mm, options.outside, allow_implausible=True
    )
    tiles = options.tile_shape
    if inference.plan is not plan:  # the tiles of an attempt after the first
        tiles = inference.plan.largest_tile[3 - model.n_dim :]
    return Record(
        model=model.name,
        model_digest=model.digest,
        spacing_mm=spacing,
        precision=inference.precision.name,
        device=inference.device.type,
        outside=options.outside,
        tile_shape=tiles,
        overlap=options.overlap,
        allow_implausible=options.allow_implausible,
        channels=model.channel_names,
        reading=native.metadata.get("reading", {}),
        program_version=__version__,
        torch_version=str(torch.__version__),
    )
