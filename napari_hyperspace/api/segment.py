"""Segment a scan: a scan and a model in, labels on the scan's own grid out."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.memory import PeakMemory
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost.memory_model import check_memory
from napari_hyperspace.inference.engine import FINISHED, InferenceRun
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import as_volumes, straight_grid, working_image
from napari_hyperspace.inference.localize import coarse_spacing, crop, found_box, paste
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords
from napari_hyperspace.inference.plan import make_plan, working_spacing
from napari_hyperspace.inference.protocols import SpacingModel

_LOCALIZATION = 0.2  # part of the progress that the first, coarse pass takes


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """Labels, and how they were made.

    Parameters
    ----------
    labels
        On the scan's own grid, in its own array order.
    seconds
        Wall time of everything.
    bake_seconds
        Wall time of making the network.
    peak_bytes
        Largest growth of memory (resident memory of the process for the CPU, memory of the device
        for CUDA).
    spacing_mm
        Working spacing, canonical order (z, y, x).
    precision, device
        In which precision and where the network ran in the end.
    """

    labels: Volume
    seconds: float
    bake_seconds: float
    peak_bytes: int
    spacing_mm: Triple
    precision: str
    device: str


def segment(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Volume:
    """Segment a scan; `segment_steps` does the same and can be stopped.

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

    If the model asks for localization, a coarse pass first finds what it segments, and only the box
    around that is segmented (`napari_hyperspace.inference.localize`); all else becomes background.

    The scan is normalized on its own grid, resampled to the working grid, run through the network
    in tiles that are blended by Gaussian weights (whole if it fits one tile), and every native
    voxel gets the class whose linearly interpolated logit is largest. A scan whose axes are not
    perpendicular is resampled to perpendicular axes first, and its labels are brought back at the
    end.

    Parameters
    ----------
    volume
        A scan; or as many as the model has input channels, all on one grid.
    model
        Makes the network.
    spacing_mm
        Working spacing in canonical order (z, y, x); `None`: the scan's own.
    options
        How to run; see `InferenceOptions`. Its fields (``device``, ``outside``, ``tile_shape``,
        ``overlap``, ``precision``) can be given as keyword arguments instead.
    should_stop
        Asked between the steps of preparing the image, between tiles, between layers, between
        planes of labels, and every few planes while a sheared scan is resampled.

    Yields
    ------
    Progress
        After each step.

    Returns
    -------
    SegmentResult
        Labels, time and memory.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If scan, model and spacing do not fit together, a value is not finite, or there is too
        little memory.
    """
    options = options or InferenceOptions.from_keywords(keywords)
    localization = model.localization
    if localization is None:
        return (yield from _segment_all(volume, model, spacing_mm, options, should_stop))
    volumes = as_volumes(volume, model)
    native = volumes[0]
    spacing = working_spacing(volumes, model, spacing_mm, options.outside)
    coarse = coarse_spacing(localization, spacing)
    clamped = replace(options, outside="clamp")
    first = yield from as_part(
        _segment_all(volumes, model, coarse, clamped, should_stop), 0.0, _LOCALIZATION
    )
    box = found_box(localization, first.labels)
    if box is None:  # too small for the coarse pass, or absent
        box = (slice(0, native.shape[0]), slice(0, native.shape[1]), slice(0, native.shape[2]))
    within = [crop(each, box) for each in volumes]
    second = yield from as_part(
        _segment_all(within, model, spacing_mm, options, should_stop), _LOCALIZATION, 1.0
    )
    return replace(
        second,
        labels=native.with_array(
            paste(second.labels.array, box, native.shape), metadata=second.labels.metadata
        ),
        seconds=first.seconds + second.seconds,
        bake_seconds=first.bake_seconds + second.bake_seconds,
        peak_bytes=max(first.peak_bytes, second.peak_bytes),
    )


def _segment_all(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, SegmentResult]:
    """Segment all of a scan."""
    started = time.perf_counter()
    device = choose_device(options.device)
    volumes = as_volumes(volume, model)
    native = volumes[0]
    ask = should_stop or (lambda: False)
    # A sheared scan is segmented on perpendicular axes, and its labels are brought back.
    straight, sheared = straight_grid(native.grid), native.grid.is_sheared
    plan = make_plan(straight, model, spacing_mm, options)
    with PeakMemory(device) as memory:
        yield Progress(0.0, "straightening the image" if sheared else "preparing the image")
        check_memory(volumes, plan, model, device)
        image = working_image(volumes, model, plan, ask)
        labels = np.zeros(straight.shape, np.min_scalar_type(max(model.label_values)))
        run = InferenceRun(plan, model, image, device, options.precision, should_stop)
        yield from run.until_it_fits(straight.orientation.to_canonical(labels))
        del image
        if sheared:
            yield Progress(FINISHED, "bringing the labels back to the scan's grid")
            found = Volume(labels, straight)
            labels = resample_to_grid(found, native.grid, order="nearest", should_stop=ask).array
    described = native.with_array(
        labels,
        metadata={
            **native.metadata,
            "label_names": dict(model.label_names),
            "label_colors": dict(model.label_colors),
        },
    )
    return SegmentResult(
        described,
        time.perf_counter() - started,
        run.bake_seconds,
        memory.peak_bytes,
        plan.spacing_mm,
        run.precision.name,
        str(run.device),
    )
