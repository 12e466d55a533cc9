"""What a segmentation will cost, said before it runs.

Time = counted work × calibrated rates. Memory = counted bytes, phase by phase. Nothing is baked or
run for an estimate but once for each model, to see its architecture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.memory import available_bytes
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost import memory_model as footprint
from napari_hyperspace.cost.calibrate import Calibration, calibrate
from napari_hyperspace.cost.cost_model import Trace
from napari_hyperspace.cost.trace_cache import count
from napari_hyperspace.inference.execution import FORMS, check_form, choose_device
from napari_hyperspace.inference.inputs import straight_grid, straightening_bytes
from napari_hyperspace.inference.localize import crop, crop_grid
from napari_hyperspace.inference.plan import (
    DEFAULT_OVERLAP,
    Outside,
    Plan,
    grid_of,
    make_plan,
    working_spacing,
)
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
        The part of it that the first run at about this spacing takes to find the fastest form.
    peak_bytes
        Most memory held at once on the device that computes, above what is held before.
    peak_host_bytes
        The same in main memory, the scan itself apart. On the CPU both are the same: the growth of
        the process's resident memory.
    working_shape, spacing_mm
        Of the working grid, canonical order (z, y, x).
    n_tiles
        Number of tiles.
    available_bytes
        Free memory of the device that computes; `None` where the system does not tell.
    form
        The form expected to run.
    """

    seconds: float
    peak_bytes: int
    peak_host_bytes: int
    working_shape: tuple[int, int, int]
    spacing_mm: Triple
    n_tiles: int
    available_bytes: int | None
    available_host_bytes: int | None
    form: str
    probe_seconds: float = 0.0

    @property
    def fits(self) -> bool:
        """Whether memory suffices, as far as the system tells."""
        return (self.available_bytes is None or self.peak_bytes <= self.available_bytes) and (
            self.available_host_bytes is None or self.peak_host_bytes <= self.available_host_bytes
        )


def estimate(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    *,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
    tile_shape: Sequence[int] | None = None,
    overlap: float = DEFAULT_OVERLAP,
    form: str = "auto",
) -> Estimate:
    """Estimate time and memory of `segment` with the same arguments.

    Costs about a millisecond, but for the first call on a device, which calibrates it (a few
    seconds, kept on disk), and the first one for a model.

    Parameters
    ----------
    volume
        The scan, or its grid alone.
    model, spacing_mm, device, outside, tile_shape, overlap, form
        As in `segment`.
    """
    check_form(form)
    target = choose_device(device)
    free = available_bytes(target), available_bytes(torch.device("cpu"))
    options: _Options = {"outside": outside, "tile_shape": tile_shape, "overlap": overlap}
    return _passes(volume, model, spacing_mm, options, target, form, free)


def estimate_curve(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacings: Sequence[Sequence[float]],
    *,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
    tile_shape: Sequence[int] | None = None,
    overlap: float = DEFAULT_OVERLAP,
    form: str = "auto",
) -> list[Estimate]:
    """Estimate several spacings (canonical order), as `estimate` does each."""
    check_form(form)
    target = choose_device(device)
    free = available_bytes(target), available_bytes(torch.device("cpu"))
    options: _Options = {"outside": outside, "tile_shape": tile_shape, "overlap": overlap}
    return [_passes(volume, model, spacing, options, target, form, free) for spacing in spacings]


def spacing_for(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    *,
    seconds: float | None = None,
    bytes: int | None = None,
    device: str | torch.device | None = None,
) -> Triple:
    """Return the finest working spacing within a budget of time, memory or both.

    Coarsens the scan's own spacing evenly, inside the model's trained range: the axes that are
    finest reach for the same spacing first. An axis becomes finer than the scan only where the scan
    is coarser than any trained spacing; it then has the coarsest of these.

    Parameters
    ----------
    volume, model, device
        As in `segment`.
    seconds
        Most wall time.
    bytes
        Most memory of the device that computes.

    Returns
    -------
    tuple
        Canonical order (z, y, x).

    Raises
    ------
    HyperspaceError
        If even the coarsest trained spacing exceeds the budget.
    """
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
            bytes is None or found.peak_bytes <= bytes
        )

    finest = min(own)
    if within(at(finest)):
        return at(finest)
    if not within(at(coarsest)):
        least = cost(at(coarsest))
        raise HyperspaceError(
            "no trained spacing is within the budget",
            where=model.name,
            found=f"{least.seconds:.3g} s and {least.peak_bytes / 1e6:.0f} MB at the coarsest",
            expected=" and ".join(
                [f"{seconds:.3g} s"] * (seconds is not None)
                + [f"{(bytes or 0) / 1e6:.0f} MB"] * (bytes is not None)
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


class _Options(TypedDict):
    """What goes into a plan besides scan, model and spacing."""

    outside: Outside
    tile_shape: Sequence[int] | None
    overlap: float


def _passes(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: _Options,
    device: torch.device,
    form: str,
    free: tuple[int | None, int | None],
) -> Estimate:
    """Estimate what `segment` does: all of the scan; or all of it coarsely, then its usual box."""
    search = model.search
    if search is None:
        plan = make_plan(straight_grid(grid_of(volume)), model, spacing_mm, **options)
        return _estimate(volume, plan, model, device, form, free)
    spacing = working_spacing(volume, model, spacing_mm, options["outside"])
    clamped: _Options = {**options, "outside": "clamp"}
    look = make_plan(straight_grid(grid_of(volume)), model, search.coarse(spacing), **clamped)
    first = _estimate(volume, look, model, device, form, free)
    box = search.usual_box(grid_of(volume))
    within: Volume | Grid | list[Volume]
    if isinstance(volume, Grid):
        within = crop_grid(volume, box)
    elif isinstance(volume, Volume):
        within = crop(volume, box)
    else:
        within = [crop(each, box) for each in volume]
    plan = make_plan(straight_grid(grid_of(within)), model, spacing_mm, **options)
    second = _estimate(within, plan, model, device, form, free)
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
    form: str,
    free: tuple[int | None, int | None],
) -> Estimate:
    known = count(model, plan.network_spacing_mm)
    rates = calibrate(device)
    name, network_seconds, probe_seconds = _network(plan, model, device, form, known.trace, rates)
    seconds = (
        network_seconds
        + probe_seconds
        + _host_seconds(plan, model, rates)
        + known.bake_seconds
        + known.trace.convolutions * rates.host.setting_up
        + 8 * known.trace.parameters * rates.host.copy
    )
    on_device, on_host = footprint.peaks(volume, plan, model, known.trace, FORMS[name], device)
    grid = grid_of(volume)
    if grid.is_sheared:
        points = _STRAIGHTENED * model.in_channels * math.prod(plan.native.shape)
        seconds += (points + _BROUGHT_BACK * math.prod(grid.shape)) * rates.host.gather
        made = 4 * (model.in_channels - 1) * math.prod(plan.working.shape)
        on_host = max(on_host, made + straightening_bytes(grid, plan.native))
        on_device = on_host if device.type == "cpu" else on_device
    seconds += on_host * rates.host.fault  # memory is touched for the first time once at least
    return Estimate(
        seconds,
        on_device,
        on_host,
        plan.working.shape,
        plan.spacing_mm,
        len(plan.lattice),
        free[0],
        free[1],
        name,
        probe_seconds,
    )


def _network(
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    form: str,
    counted: Trace,
    rates: Calibration,
) -> tuple[str, float, float]:
    """Return the form expected to run, the time of all tiles, and that of the probe, if due."""
    tile = plan.lattice.tile_shape
    batch = 1 if model.n_dim == 3 else tile[0]
    shape = tile[3 - model.n_dim :]

    def seconds(name: str) -> float:
        return len(plan.lattice) * counted.seconds(shape, rates.forms[name], batch)

    if form != "auto":
        return form, seconds(form) if form in rates.forms else math.nan, 0.0
    choice = known_choice(model, device, plan.network_spacing_mm)
    if choice is None:
        block = block_shape(plan.working.shape, model.n_dim)
        slices = 1 if model.n_dim == 3 else block[0]
        probe = PROBE_RUNS * sum(
            counted.seconds(block[3 - model.n_dim :], rates.forms[name], slices)
            for name in candidates(device)
        )
        best = min(candidates(device), key=seconds)
        return best, seconds(best), probe
    return choice.form, seconds(choice.form), 0.0


def _host_seconds(plan: Plan, model: SpacingModel, rates: Calibration) -> float:
    """Return the time of everything but the network."""
    host = rates.host
    native, working = math.prod(plan.native.shape), math.prod(plan.working.shape)
    channel = host.normalising(model.normalisation.kind, native) + 4 * native * host.copy
    for stage in footprint.resampling_stages(plan):
        channel += stage.products * host.product + stage.gathered * host.gather
    logits = model.out_channels * working
    total = model.in_channels * channel + logits * host.winner
    if plan.working.shape == plan.native.shape:
        total += native * host.copy
    else:
        total += native * host.look_up
    if len(plan.lattice) > 1:  # blending: three passes over each tile's logits
        tiled = model.out_channels * len(plan.lattice) * math.prod(plan.lattice.tile_shape)
        total += 12 * tiled * host.copy
    return total
