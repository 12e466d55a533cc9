"""The engine: a scan and a model in, labels on the scan's own grid out."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch

from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.memory import PeakMemory
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost.memory_model import check_memory
from napari_hyperspace.inference.engine import FINISHED, Run
from napari_hyperspace.inference.execution import check_form, choose_device
from napari_hyperspace.inference.inputs import as_volumes, straight_grid, working_image
from napari_hyperspace.inference.localize import crop, paste
from napari_hyperspace.inference.plan import (
    DEFAULT_OVERLAP,
    Outside,
    make_plan,
    working_spacing,
)
from napari_hyperspace.inference.protocols import SpacingModel

_FIRST_PASS = 0.2  # part of the progress that a coarse look first takes


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """Labels, and how they came about.

    Parameters
    ----------
    labels
        On the scan's own grid, in its own array order.
    seconds
        Wall time of everything; ``bake_seconds``: of making the network.
    bake_seconds
        Wall time of making the network.
    peak_bytes
        Growth of memory at its highest point (resident memory of the process for the CPU, memory of
        the device for CUDA); `None` where the system does not tell.
    spacing_mm
        Working spacing, canonical order (z, y, x).
    form, device
        In which form and where the network ran in the end.
    """

    labels: Volume
    seconds: float
    bake_seconds: float
    peak_bytes: int | None
    spacing_mm: Triple
    form: str
    device: str


def segment(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    *,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
    tile_shape: Sequence[int] | None = None,
    overlap: float = DEFAULT_OVERLAP,
    form: str = "auto",
) -> Volume:
    """Segment a scan; see `segment_steps`, of which this is the uninterrupted form.

    Returns
    -------
    Volume
        Labels (uint8 or uint16) on the scan's own grid, in its own array order.
    """
    steps = segment_steps(
        volume,
        model,
        spacing_mm,
        device=device,
        outside=outside,
        tile_shape=tile_shape,
        overlap=overlap,
        form=form,
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: SegmentResult = end.value
            return result.labels


def segment_steps(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    *,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
    tile_shape: Sequence[int] | None = None,
    overlap: float = DEFAULT_OVERLAP,
    form: str = "auto",
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, SegmentResult]:
    """Segment a scan step by step.

    Where the model asks for it, a coarse pass finds what it segments first, and only the box round
    that is segmented (`napari_hyperspace.inference.localize`); all else becomes background.

    The scan is normalised on its own grid, resampled to the working grid, run through the network
    in tiles that are blended by Gaussian weights (whole where it fits one tile), and every native
    voxel gets the class whose linearly interpolated logit is largest. A scan whose axes are not
    perpendicular is resampled to axes that are first, and its labels are brought back at the end.

    Parameters
    ----------
    volume
        A scan; or as many as the model has input channels, all on one grid.
    model
        Makes the network.
    spacing_mm
        Working spacing in canonical order (z, y, x); `None`: the scan's own.
    device
        `None`: CUDA where there is one, else the CPU.
    outside
        What to do outside of the model's trained range: ``"refuse"``, ``"clamp"`` or
        ``"extrapolate"``.
    tile_shape
        Largest tile in voxels, canonical order; `None`: the model's.
    overlap
        Least part of a tile shared with the next one.
    form
        A name in `FORMS`, or ``"auto"``: the fastest on this device that keeps the labels.
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
        If scan, model and spacing do not go together, a value is not finite, or memory is short.
    """
    options: _Options = {
        "device": device,
        "tile_shape": tile_shape,
        "overlap": overlap,
        "form": form,
        "should_stop": should_stop,
    }
    search = model.search
    if search is None:
        return (yield from _all(volume, model, spacing_mm, outside=outside, **options))
    volumes = as_volumes(volume, model)
    native = volumes[0]
    spacing = working_spacing(volumes, model, spacing_mm, outside)
    coarse = search.coarse(spacing)
    first = yield from _part(
        _all(volumes, model, coarse, outside="clamp", **options), 0.0, _FIRST_PASS
    )
    box = search.box(first.labels)
    if box is None:  # too small for a coarse look, or not there
        box = (slice(0, native.shape[0]), slice(0, native.shape[1]), slice(0, native.shape[2]))
    within = [crop(each, box) for each in volumes]
    second = yield from _part(
        _all(within, model, spacing_mm, outside=outside, **options), _FIRST_PASS, 1.0
    )
    peaks = [each.peak_bytes for each in (first, second) if each.peak_bytes is not None]
    return replace(
        second,
        labels=native.with_array(
            paste(second.labels.array, box, native.shape), metadata=second.labels.metadata
        ),
        seconds=first.seconds + second.seconds,
        bake_seconds=first.bake_seconds + second.bake_seconds,
        peak_bytes=max(peaks, default=None),
    )


class _Options(TypedDict):
    """What both passes share."""

    device: str | torch.device | None
    tile_shape: Sequence[int] | None
    overlap: float
    form: str
    should_stop: ShouldStop | None


def _part(
    steps: Generator[Progress, None, SegmentResult], start: float, end: float
) -> Generator[Progress, None, SegmentResult]:
    """Run one of several passes, whose progress is a part of the whole."""
    try:
        while True:
            progress = next(steps)
            yield replace(progress, fraction=start + (end - start) * progress.fraction)
    except StopIteration as finished:
        result: SegmentResult = finished.value
        return result
    finally:
        steps.close()


def _all(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    *,
    outside: Outside,
    device: str | torch.device | None,
    tile_shape: Sequence[int] | None,
    overlap: float,
    form: str,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, SegmentResult]:
    """Segment all of a scan."""
    started = time.perf_counter()
    check_form(form)
    target = choose_device(device)
    volumes = as_volumes(volume, model)
    native = volumes[0]
    ask = should_stop or (lambda: False)
    # A sheared scan is segmented on perpendicular axes, and its labels are brought back.
    straight, sheared = straight_grid(native.grid), native.grid.is_sheared
    plan = make_plan(
        straight, model, spacing_mm, outside=outside, tile_shape=tile_shape, overlap=overlap
    )
    with PeakMemory(target) as memory:
        yield Progress(0.0, "straightening the image" if sheared else "preparing the image")
        check_memory(volumes, plan, model, target)
        image = working_image(volumes, model, plan, ask)
        labels = np.zeros(straight.shape, np.min_scalar_type(max(model.label_values)))
        run = Run(plan, model, image, target, form, should_stop)
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
        run.form.name,
        str(run.device),
    )
