"""Segment a scan with a model: labels on the scan's own grid."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Unpack

from napari_hyperspace.api.guidance import (
    AnyGuidance,
    CoarselyGuidedModel,
    Guidance,
    as_pass,
    check_guidance,
    coarse_model,
    coarse_pass_spacing,
    given_labels,
    guided_by,
)
from napari_hyperspace.api.localization import Localized, first_pass_spacing, localize_steps
from napari_hyperspace.api.one_pass import SegmentResult, segment_in_one_pass
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.volume import (
    GuidanceRecord,
    Volume,
    VolumeMetadata,
    digest_of_labels,
)
from napari_hyperspace.inference.guidance import GuidedModel
from napari_hyperspace.inference.inputs import as_volumes
from napari_hyperspace.inference.localize import crop, paste
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.protocols import SpacingModel

__all__ = [
    "Localized",
    "SegmentResult",
    "first_pass_spacing",
    "guide_steps",
    "localize_steps",
    "segment",
    "segment_box_steps",
    "segment_steps",
]

_LOCALIZATION = 0.2  # fraction of the progress for the coarse first pass
_GUIDANCE = 0.2  # fraction of the progress for the coarse pass of the guidance


def segment(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    guidance: AnyGuidance | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Volume:
    """Segment a scan; use `segment_steps` for progress and to be able to stop.

    Parameters
    ----------
    volume, model, spacing_mm, options, guidance, **keywords
        As in `segment_steps`.

    Returns
    -------
    Volume
        Labels (uint8 or uint16) on the scan's own grid, in its own array order.
    """
    steps = segment_steps(volume, model, spacing_mm, options, guidance=guidance, **keywords)
    return run_to_end(steps).labels


def segment_steps(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    guidance: AnyGuidance | None = None,
    should_stop: ShouldStop | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Generator[Progress, None, SegmentResult]:
    """Segment a scan step by step.

    The scan is normalized on its own grid, resampled to the working grid, and run through the
    network in tiles that are blended by Gaussian weights (at once if it fits one tile). Every
    native voxel gets the class whose linearly interpolated logit is largest. A scan whose axes are
    not perpendicular is resampled to perpendicular axes first, and its labels are resampled back.

    If the model asks for localization, a coarse first pass finds what it segments, and only the box
    around that is segmented (`napari_hyperspace.inference.localize`); the rest is background. If
    that is implausible for the model, it is looked for again from the top of the head down, and
    then the whole scan is segmented; ``record.localized`` says which way was taken.

    Parameters
    ----------
    volume
        A scan, or one scan per image that the model wants, all on one grid.
    model
        Makes the network.
    spacing_mm
        Working spacing in canonical order (z, y, x); `None`: the scan's own.
    options
        How to run; see `InferenceOptions`.
    guidance
        For a guided model: labels of its structures on any grid (see `guided_by`), or a coarse pass
        (`Guidance`, or a model), which runs first.
    should_stop
        Called between the steps of preparing the image, between tiles, between layers, between
        planes of labels, and every few planes while a sheared scan is resampled.
    **keywords
        The fields of `InferenceOptions`, instead of ``options``: ``device``, ``outside``,
        ``tile_shape``, ``overlap``, ``precision``, ``allow_implausible``, ``best``.

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
        If scan, model, guidance and spacing do not match, the scan or the spacing is implausible, a
        value is not finite, or there is not enough memory.
    """
    options = options_from(options, keywords)
    if model.head != "labels":
        raise HyperspaceError(
            "this model segments one structure, around labels or strokes that you give",
            where=model.name,
            fix="Use refine, or another model",
        )
    if isinstance(model, CoarselyGuidedModel):
        guidance, model = guidance or model.coarse_pass, model.model
    check_guidance(model, guidance)
    if guidance is None:
        return (yield from _passes(volume, model, spacing_mm, options, should_stop))
    if isinstance(guidance, Volume):
        guided = guided_by(model, guidance)
        return (yield from _passes(volume, guided, spacing_mm, options, should_stop))
    volumes = as_volumes(volume, model)
    guided, coarse = yield from as_part(
        guide_steps(volumes, model, as_pass(guidance), options, should_stop),
        0.0,
        _GUIDANCE,
        "guidance",
    )
    fine = yield from as_part(
        _passes(volumes, guided, spacing_mm, options, should_stop), _GUIDANCE, 1.0
    )
    return _with_totals(_after(coarse, fine), None)


def _passes(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, SegmentResult]:
    """Segment a scan with its guidance, if any: with localization, in two passes."""
    if model.localization is None:
        result = yield from segment_in_one_pass(volume, model, spacing_mm, options, should_stop)
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


def guide_steps(
    volumes: Sequence[Volume],
    model: SpacingModel,
    guidance: Guidance,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, tuple[GuidedModel, SegmentResult]]:
    """Run the coarse pass of a guidance.

    Returns
    -------
    tuple
        The model with its guidance, and the result of the pass: labels on its working grid.
    """
    coarse, native = coarse_model(model, guidance), volumes[0].grid.canonical().spacing_mm
    spacing = coarse_pass_spacing(model, guidance, native)
    options = replace(
        options,
        outside="clamp" if guidance.spacing_mm is None else options.outside,
        tile_shape=None,
        precision=guidance.precision or options.precision,
        localization_precision=guidance.localization_precision,
    )
    localized = None
    if coarse.localization is not None:
        localized = yield from as_part(
            localize_steps(volumes, coarse, spacing, options, should_stop), 0.0, 0.5
        )
        volumes = [crop(each, localized.box) for each in volumes]
    result = yield from as_part(
        segment_in_one_pass(volumes, coarse, spacing, options, should_stop, on_working_grid=True),
        0.0 if localized is None else 0.5,
        1.0,
    )
    record = GuidanceRecord(
        labels_digest=digest_of_labels(result.labels.array),
        model=coarse.name,
        model_digest=coarse.digest,
        spacing_mm=result.labels.metadata["record"].spacing_mm,
        precision=result.precision,
        localization_precision="" if localized is None else localized.precision,
    )
    # Outside of its box, a coarse pass that localized found nothing: that is background.
    outside_class = -1 if localized is None else 0
    guided = given_labels(model, result.labels, record, outside_class=outside_class)
    return guided, result if localized is None else _after(localized, result)


def _after(first: SegmentResult | Localized, second: SegmentResult) -> SegmentResult:
    """Return the result of a second pass, with time and memory of both."""
    return replace(
        second,
        seconds=first.seconds + second.seconds,
        bake_seconds=first.bake_seconds + second.bake_seconds,
        probe_seconds=first.probe_seconds + second.probe_seconds,
        peak_bytes=max(first.peak_bytes, second.peak_bytes),
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
    second = yield from segment_in_one_pass(within, model, spacing_mm, options, should_stop)
    doubt = second.uncertainty
    result = replace(
        second,
        labels=native.with_array(
            paste(second.labels.array, box, native.shape), metadata=second.labels.metadata
        ),
        uncertainty=None
        if doubt is None
        else native.with_array(paste(doubt.array, box, native.shape), metadata={}),
    )
    return _with_totals(_after(localized, result), localized.precision, localized.way)


def _with_totals(
    result: SegmentResult, localization_precision: str | None, way: str | None = None
) -> SegmentResult:
    """Complete the record of a result: what all passes took, and the digest of the labels.

    Without precision and way of a localization, the record keeps those that it has.
    """
    metadata = result.labels.metadata
    record = metadata["record"]
    if localization_precision is None:
        localization_precision = record.localization_precision
    record = replace(
        record,
        localization_precision=localization_precision,
        localized=record.localized if way is None else way,
        labels_digest=digest_of_labels(result.labels.array),
        seconds=result.seconds,
        peak_bytes=result.peak_bytes,
    )
    kept: VolumeMetadata = {**metadata, "record": record}
    return replace(result, labels=result.labels.with_array(result.labels.array, metadata=kept))
