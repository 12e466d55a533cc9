"""Segment a whole scan at one spacing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_hyperspace import __version__
from napari_hyperspace.api.memory_check import check_main_memory
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.memory import PeakMemory
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Record, Volume, VolumeMetadata
from napari_hyperspace.cost.calibrate import known_rates
from napari_hyperspace.cost.load import Load
from napari_hyperspace.cost.pass_cost import PassCost, learn_from_pass
from napari_hyperspace.cost.trace_cache import CannotTraceError
from napari_hyperspace.inference.best.probabilities import mean_bytes
from napari_hyperspace.inference.best.run import BestRun
from napari_hyperspace.inference.engine import FINISHED, InferenceRun
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import as_volumes, straight_grid, working_image
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import Plan, make_plan, working_spacing
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.support.log import log_event

__all__ = ["SegmentResult", "segment_in_one_pass"]

_PROBED_S = 0.1  # a choice of the precision that takes longer is a probe, whose memory counts, too


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
    uncertainty
        If `InferenceOptions.uncertainty` asked for it: 1 minus the mean probability of each voxel's
        label, float32 on the grid of the labels; 0 where nothing was looked for.
    """

    labels: Volume
    seconds: float
    bake_seconds: float
    peak_bytes: int
    spacing_mm: Triple
    precision: str
    device: str
    probe_seconds: float = 0.0
    uncertainty: Volume | None = None


def segment_in_one_pass(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
    *,
    on_working_grid: bool = False,
) -> Generator[Progress, None, SegmentResult]:
    """Segment a whole scan at one spacing.

    Parameters
    ----------
    volume, model, spacing_mm, options, should_stop
        As in `napari_hyperspace.segment_steps`.
    on_working_grid
        Whether the labels are on the working grid, in canonical order, instead of the scan's own.
    """
    started, load = time.perf_counter(), Load.now()
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
        best = options.best and not on_working_grid
        held = mean_bytes(model.out_channels, straight.shape) if best else 0
        check_main_memory(volumes, plan, model, device, held)
        try:
            image = None if best else working_image(volumes, model, plan, stop)
        except MemoryError as error:
            raise HyperspaceError(
                "not enough main memory to prepare the image",
                where=native.name or None,
                found=str(error) or None,
                fix="Choose another spacing, or close other programs",
            ) from error
        target = replace(plan, native=plan.working) if on_working_grid else plan
        grid = plan.working if on_working_grid else straight
        labels = np.zeros(grid.shape, np.min_scalar_type(max(model.label_values)))
        canonical = labels if on_working_grid else straight.orientation.to_canonical(labels)
        inference: InferenceRun | BestRun
        if image is None:
            inference = BestRun(volumes, plan, model, options, should_stop)
        else:
            inference = InferenceRun(target, model, image, options, should_stop)
        yield from inference.run(canonical)
        doubt = inference.uncertainty if isinstance(inference, BestRun) else None
        if doubt is not None:
            doubt = straight.orientation.from_canonical(doubt)
        if sheared and not on_working_grid:
            yield Progress(FINISHED, "resampling the labels to the scan's grid")
            found = Volume(labels, straight)
            labels = resample_to_grid(found, native.grid, order="nearest", should_stop=stop).array
            if doubt is not None:
                doubt = resample_to_grid(Volume(doubt, straight), native.grid).array
    description: VolumeMetadata = {
        "label_names": dict(model.label_names),
        "label_colors": dict(model.label_colors),
        "label_sides": dict(model.label_sides),
        "record": _record(native, model, plan, spacing_mm, options, inference),
    }
    if on_working_grid:
        segmentation = Volume(labels, grid, native.name, description)
    else:
        segmentation = native.with_array(labels, metadata={**native.metadata, **description})
    seconds = time.perf_counter() - started
    log_event(
        f"segmented {plan.native.shape} voxels at {format_spacing(plan.spacing_mm)} "
        f"in {seconds:.3g} s, {inference.precision.name} on {inference.device}"
    )
    usual = isinstance(inference, InferenceRun) and inference.attempted == 1
    if usual and not on_working_grid and inference.probe_seconds < _PROBED_S:
        own = seconds - inference.probe_seconds
        peak = memory.peak_bytes
        _learn(
            volumes, plan, model, device, PassCost(own, peak, peak, inference.precision.name), load
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
        None if doubt is None else native.with_array(np.ascontiguousarray(doubt), metadata={}),
    )


def _learn(
    volumes: Sequence[Volume],
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    taken: PassCost,
    start: Load,
) -> None:
    """Let later estimates learn from a pass, if the machine is measured: that takes long."""
    rates = known_rates(device)
    if rates is not None:
        with contextlib.suppress(CannotTraceError):
            slowdown = start.slowdown_until(Load.now())
            learn_from_pass(volumes, plan, model, device, rates, taken, slowdown)


def _record(
    native: Volume,
    model: SpacingModel,
    plan: Plan,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    inference: InferenceRun | BestRun,
) -> Record:
    """Return how one pass was made. Spacing and tiles are such that the options repeat it."""
    # The spacing of the working grid may differ from it by rounding.
    spacing = working_spacing(
        plan.native, model, spacing_mm, options.outside, allow_implausible=True
    )
    tiles = options.tile_shape
    if inference.plan.largest_tile != plan.largest_tile:  # of an attempt after the first
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
        best=isinstance(inference, BestRun),
        channels=model.channel_names[: model.image_channels],
        reading=native.metadata.get("reading", {}),
        guidance=None if model.given_guidance is None else model.given_guidance.record,
        program_version=__version__,
        torch_version=str(torch.__version__),
    )
