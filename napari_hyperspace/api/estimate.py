"""What a segmentation will cost, said before it runs.

Time = counted work × calibrated rates. Memory = counted bytes, phase by phase. Nothing is baked or
run for an estimate but once for each model, to see its architecture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_bytes, format_seconds
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.memory import available_bytes
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost import memory_model as footprint
from napari_hyperspace.cost.calibrate import Calibration, calibrate
from napari_hyperspace.cost.cost_model import Trace
from napari_hyperspace.cost.trace_cache import count
from napari_hyperspace.inference.execution import PRECISIONS, choose_device
from napari_hyperspace.inference.inputs import straight_grid, straightening_bytes
from napari_hyperspace.inference.localize import coarse_spacing, crop, crop_grid, usual_box
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords
from napari_hyperspace.inference.plan import Plan, grid_of, make_plan, working_spacing
from napari_hyperspace.inference.precision import PROBE_RUNS, block_shape, candidates, known_choice
from napari_hyperspace.inference.protocols import SpacingModel

_SEARCH_STEPS = 24
# A sheared scan's way to perpendicular axes, and its labels' way back, are not calibrated: what a
# point takes, in values gathered along an axis, as measured on one CPU.
_STRAIGHTENED, _BROUGHT_BACK = 160, 20


@dataclass(frozen=True)
class Estimate:
    """What a segmentation will cost.

    Parameters
    ----------
    seconds
        Wall time from scan to labels, making the network included, and `probe_seconds`.
    probe_seconds
        The part of it that the first run at about this spacing takes to find the fastest precision.
    peak_bytes
        Most memory held at once on the device that computes, above what is held before.
    peak_host_bytes
        The same in main memory, the scan itself apart. On the CPU both are the same: the growth of
        the process's resident memory.
    working_shape, spacing_mm
        Of the working grid, canonical order (z, y, x).
    n_tiles
        Number of tiles.
    available_bytes, available_host_bytes
        Free memory of the device that computes, and of the host.
    precision
        The precision expected to run.
    """

    seconds: float
    peak_bytes: int
    peak_host_bytes: int
    working_shape: tuple[int, int, int]
    spacing_mm: Triple
    n_tiles: int
    available_bytes: int
    available_host_bytes: int
    precision: str
    probe_seconds: float = 0.0

    @property
    def fits(self) -> bool:
        """Whether there is enough memory."""
        return (
            self.peak_bytes <= self.available_bytes
            and self.peak_host_bytes <= self.available_host_bytes
        )


def estimate(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Estimate:
    """Estimate time and memory of `segment` with the same arguments.

    Takes about a millisecond, except for the first call on a device, which calibrates it (a few
    seconds, kept on disk), and the first one for a model.

    Parameters
    ----------
    volume
        The scan, or its grid alone.
    model, spacing_mm, options, **keywords
        As in `segment_steps`.
    """
    return estimate_curve(volume, model, [spacing_mm], options, **keywords)[0]


def estimate_curve(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacings: Sequence[Sequence[float] | None],
    options: InferenceOptions | None = None,
    **keywords: Unpack[OptionKeywords],
) -> list[Estimate]:
    """Estimate several spacings (canonical order), each as `estimate` does."""
    options = options or InferenceOptions.from_keywords(keywords)
    device = choose_device(options.device)
    free = available_bytes(device), available_bytes(torch.device("cpu"))
    return [_passes(volume, model, spacing, options, device, free) for spacing in spacings]


def spacing_for(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    *,
    seconds: float | None = None,
    memory_bytes: int | None = None,
    device: str | torch.device | None = None,
    **former: int | None,
) -> Triple:
    """Return the finest working spacing within a budget of time, memory or both.

    Coarsens the scan's own spacing evenly, inside the model's trained range: the finest axes reach
    the same spacing first. An axis becomes finer than the scan only if the scan is coarser than any
    trained spacing; it then has the coarsest trained one.

    Parameters
    ----------
    volume, model, device
        As in `segment`.
    seconds
        Longest wall time.
    memory_bytes
        Most memory of the device that computes. Its former name, ``bytes``, is accepted.

    Returns
    -------
    tuple
        Canonical order (z, y, x).

    Raises
    ------
    HyperspaceError
        If even the coarsest trained spacing exceeds the budget.
    """
    if former.keys() - {"bytes"}:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(former))}")
    if memory_bytes is None:
        memory_bytes = former.get("bytes")
    target = choose_device(device)
    own = working_spacing(volume, model, None, "clamp")
    ranges = model.trained_range_mm
    coarsest = max(high for _, high in ranges) if ranges else 4 * max(own)

    def at(floor_mm: float) -> Triple:
        wanted = [max(step, floor_mm) for step in own]
        return working_spacing(volume, model, wanted, "clamp")

    def cost(spacing: Triple) -> Estimate:
        return estimate(volume, model, spacing, device=target, outside="clamp")

    def within(spacing: Triple) -> bool:
        found = cost(spacing)
        return (seconds is None or found.seconds <= seconds) and (
            memory_bytes is None or found.peak_bytes <= memory_bytes
        )

    finest = min(own)
    if within(at(finest)):
        return at(finest)
    if not within(at(coarsest)):
        least = cost(at(coarsest))
        raise HyperspaceError(
            "no trained spacing is within the budget",
            where=model.name,
            found=f"{format_seconds(least.seconds)} and {format_bytes(least.peak_bytes)} at the "
            "coarsest",
            expected=" and ".join(
                ([] if seconds is None else [format_seconds(seconds)])
                + ([] if memory_bytes is None else [format_bytes(memory_bytes)])
            ),
            fix="Allow more",
        )
    low, high = math.log(finest), math.log(coarsest)
    for _ in range(_SEARCH_STEPS):
        middle = (low + high) / 2
        if within(at(math.exp(middle))):
            high = middle
        else:
            low = middle
    return at(math.exp(high))


def _passes(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    device: torch.device,
    free: tuple[int, int],
) -> Estimate:
    """Estimate what `segment` does: all of the scan; or all of it coarsely, then its usual box."""
    localization, precision = model.localization, options.precision
    if localization is None:
        plan = make_plan(straight_grid(grid_of(volume)), model, spacing_mm, options)
        return _estimate(volume, plan, model, device, precision, free)
    spacing = working_spacing(volume, model, spacing_mm, options.outside)
    coarse, clamped = coarse_spacing(localization, spacing), replace(options, outside="clamp")
    first_plan = make_plan(straight_grid(grid_of(volume)), model, coarse, clamped)
    first = _estimate(volume, first_plan, model, device, precision, free)
    box = usual_box(localization, grid_of(volume))
    within: Volume | Grid | list[Volume]
    if isinstance(volume, Grid):
        within = crop_grid(volume, box)
    elif isinstance(volume, Volume):
        within = crop(volume, box)
    else:
        within = [crop(each, box) for each in volume]
    plan = make_plan(straight_grid(grid_of(within)), model, spacing_mm, options)
    second = _estimate(within, plan, model, device, precision, free)
    return replace(
        second,
        seconds=first.seconds + second.seconds,
        peak_bytes=max(first.peak_bytes, second.peak_bytes),
        peak_host_bytes=max(first.peak_host_bytes, second.peak_host_bytes),
        n_tiles=first.n_tiles + second.n_tiles,
        probe_seconds=first.probe_seconds + second.probe_seconds,
    )


def _estimate(
    volume: Volume | Grid | Sequence[Volume],
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    precision: str,
    free: tuple[int, int],
) -> Estimate:
    known = count(model, plan.network_spacing_mm)
    rates = calibrate(device)
    name, network_seconds, probe_seconds = _network(
        plan, model, device, precision, known.trace, rates
    )
    seconds = (
        network_seconds
        + probe_seconds
        + _host_seconds(plan, model, rates)
        + known.bake_seconds
        + known.trace.convolutions * rates.host.setting_up
        + 8 * known.trace.parameters * rates.host.copy
    )
    on_device, on_host = footprint.peaks(volume, plan, model, known.trace, PRECISIONS[name], device)
    grid = grid_of(volume)
    if grid.is_sheared:
        points = _STRAIGHTENED * model.in_channels * math.prod(plan.native.shape)
        seconds += (points + _BROUGHT_BACK * math.prod(grid.shape)) * rates.host.gather
        made = 4 * (model.in_channels - 1) * math.prod(plan.working.shape)
        on_host = max(on_host, made + straightening_bytes(grid, plan.native))
        on_device = on_host if device.type == "cpu" else on_device
    seconds += on_host * rates.host.page_fault  # memory is touched for the first time once at least
    return Estimate(
        seconds,
        on_device,
        on_host,
        plan.working.shape,
        plan.spacing_mm,
        len(plan.tiles),
        free[0],
        free[1],
        name,
        probe_seconds,
    )


def _network(
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    precision: str,
    counted: Trace,
    rates: Calibration,
) -> tuple[str, float, float]:
    """Return the expected precision, the time of all tiles, and that of a probe that is due."""
    tile = plan.tiles.tile_shape
    batch = 1 if model.n_dim == 3 else tile[0]
    shape = tile[3 - model.n_dim :]

    def seconds(name: str) -> float:
        return len(plan.tiles) * counted.seconds(shape, rates.precisions[name], batch)

    if precision != "auto":
        return precision, seconds(precision) if precision in rates.precisions else math.nan, 0.0
    choice = known_choice(model, device, plan.network_spacing_mm)
    if choice is None:
        block = block_shape(plan.working.shape, model.n_dim)
        slices = 1 if model.n_dim == 3 else block[0]
        probe = PROBE_RUNS * sum(
            counted.seconds(block[3 - model.n_dim :], rates.precisions[name], slices)
            for name in candidates(device)
        )
        best = min(candidates(device), key=seconds)
        return best, seconds(best), probe
    return choice.precision, seconds(choice.precision), 0.0


def _host_seconds(plan: Plan, model: SpacingModel, rates: Calibration) -> float:
    """Return the time of everything but the network."""
    host = rates.host
    native, working = math.prod(plan.native.shape), math.prod(plan.working.shape)
    channel = host.normalizing(model.normalization.kind, native) + 4 * native * host.copy
    for stage in footprint.resampling_stages(plan):
        channel += stage.products * host.product + stage.gathered * host.gather
    logits = model.out_channels * working
    total = model.in_channels * channel + logits * host.winner
    if plan.working.shape == plan.native.shape:
        total += native * host.copy
    else:
        total += native * host.look_up
    if len(plan.tiles) > 1:  # blending: three passes over each tile's logits
        tiled = model.out_channels * len(plan.tiles) * math.prod(plan.tiles.tile_shape)
        total += 12 * tiled * host.copy
    return total
