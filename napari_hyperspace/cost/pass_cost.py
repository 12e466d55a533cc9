"""Time and memory of one pass of a model over a scan: preparing, network, labels.

Predicted from the operations and the rates of the machine, and corrected by what earlier passes
took.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost.cost_model import Trace
from napari_hyperspace.cost.learned import FinishedRun, correction, record_run
from napari_hyperspace.cost.memory_model import library_bytes, peaks, resampling_stages
from napari_hyperspace.cost.rates import Calibration
from napari_hyperspace.cost.trace_cache import trace_of
from napari_hyperspace.inference.execution import PRECISIONS
from napari_hyperspace.inference.inputs import straightening_bytes
from napari_hyperspace.inference.plan import Plan, grid_of
from napari_hyperspace.inference.precision import (
    block_shape,
    candidates,
    device_name,
    known_choice,
    probe_seconds,
)
from napari_hyperspace.inference.protocols import SpacingModel

__all__ = ["PassCost", "learn_from_pass", "pass_cost"]

# Resampling a sheared scan and its labels is not calibrated. The time per point is given as a
# number of values gathered along an axis, measured on one CPU.
_GATHERED_PER_IMAGE_POINT, _GATHERED_PER_LABEL_POINT = 160, 20
# Part of the native voxels that lie between working voxels with different labels, at a working
# spacing of 1 mm: measured with the bundled brain model, of 0.6 to 1.4 times as many in scans of
# whole heads and in boxes around the brain.
_BORDER_AT_1_MM = 0.1
_MOST_BORDER = 0.5


@dataclass(frozen=True)
class PassCost:
    """Time and memory of one pass.

    Parameters
    ----------
    seconds
        Wall time, without `probe_seconds`.
    peak_bytes, peak_host_bytes
        Peak memory on the device that computes, and in main memory; on the CPU both are the same.
    precision
        Expected precision of the network.
    probe_seconds
        Time to find the fastest precision, if that is due.
    """

    seconds: float
    peak_bytes: int
    peak_host_bytes: int
    precision: str
    probe_seconds: float = 0.0


def pass_cost(
    volume: Volume | Grid | Sequence[Volume],
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    rates: Calibration,
    precision: str,
) -> PassCost:
    """Return the expected cost of a pass.

    Parameters
    ----------
    volume
        The scan, one scan per channel, or only the grid.
    plan, model, device
        What runs, and where.
    rates
        Of the device.
    precision
        Name of a precision, or "auto".
    """
    cost = _modeled(volume, plan, model, device, rates, precision)
    learned = correction(_key(model, plan, device, cost.precision), rates.digest)
    return replace(
        cost,
        seconds=cost.seconds * learned.seconds,
        peak_bytes=round(cost.peak_bytes * learned.n_bytes),
        peak_host_bytes=round(
            cost.peak_host_bytes * (learned.n_bytes if device.type == "cpu" else 1.0)
        ),
    )


def learn_from_pass(
    volume: Volume | Grid | Sequence[Volume],
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    rates: Calibration,
    taken: PassCost,
    slowdown: float,
) -> None:
    """Compare a finished pass with what is expected of it, for later estimates.

    Parameters
    ----------
    volume, plan, model, device, rates
        As in `pass_cost`.
    taken
        What it took, in which precision.
    slowdown
        How many times as long work took meanwhile, because of other programs.
    """
    cost = _modeled(volume, plan, model, device, rates, taken.precision)
    grown = max(1, taken.peak_bytes)  # a process may have held enough memory before
    run = FinishedRun(rates.digest, cost.seconds, taken.seconds, cost.peak_bytes, grown, slowdown)
    record_run(_key(model, plan, device, cost.precision), run)


def _key(model: SpacingModel, plan: Plan, device: torch.device, precision: str) -> str:
    """Return what predictions have to have in common to be wrong alike."""
    convolutions = trace_of(model, plan.network_spacing_mm).trace.convolutions
    family = f"{model.n_dim}-D {model.in_channels}-{model.out_channels}"
    return f"{family}, {convolutions} convolutions | {precision} | {device_name(device)}"


def _modeled(
    volume: Volume | Grid | Sequence[Volume],
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    rates: Calibration,
    precision: str,
) -> PassCost:
    """Return the cost of a pass without what was learned."""
    grid = grid_of(volume)
    network = trace_of(model, plan.network_spacing_mm)
    trace = network.trace
    name, network_seconds, probe = _network(plan, model, device, trace, rates, precision)
    seconds = (
        network_seconds
        + _host_seconds(plan, model, rates)
        + network.bake_seconds
        + trace.convolutions * rates.host.setting_up
        + 8 * trace.parameters * rates.host.copy
    )
    on_device, on_host = peaks(volume, plan, model, trace, PRECISIONS[name], device)
    if grid.is_sheared:
        image = model.image_channels * math.prod(plan.native.shape)
        gathered = _GATHERED_PER_IMAGE_POINT * image
        gathered += _GATHERED_PER_LABEL_POINT * math.prod(grid.shape)
        seconds += gathered * rates.host.gather
        finished = 4 * (model.in_channels - 1) * math.prod(plan.working.shape)
        on_host = max(on_host, finished + straightening_bytes(grid, plan.native))
        on_device = on_host if device.type == "cpu" else on_device
    seconds += on_host * rates.host.page_fault  # all of it is touched for the first time once
    if probe and device.type == "cpu":  # it tries all of them
        tried = [PRECISIONS[each] for each in candidates(device)]
        on_host = on_host + library_bytes(tried) - library_bytes([PRECISIONS[name]])
        on_device = on_host
    return PassCost(seconds, on_device, on_host, name, probe)


def _network(
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    trace: Trace,
    rates: Calibration,
    precision: str,
) -> tuple[str, float, float]:
    """Return the expected precision, the time of all tiles, and that of a probe if due."""
    tile = plan.tiles.tile_shape
    batch = 1 if model.n_dim == 3 else tile[0]
    shape = tile[3 - model.n_dim :]

    def seconds(name: str) -> float:
        of_precision = rates.precisions[name]
        compiling = trace.convolutions * of_precision.compiling
        return compiling + len(plan.tiles) * trace.seconds(shape, of_precision, batch)

    if precision != "auto":
        known = precision in rates.precisions
        return precision, seconds(precision) if known else math.nan, 0.0
    choice = known_choice(model, device, plan.network_spacing_mm)
    if choice is not None:
        choice = choice.for_voxels(len(plan.tiles) * math.prod(tile))
        return choice.precision, seconds(choice.precision), 0.0
    block = block_shape(plan.working.shape, model.n_dim)
    slices = 1 if model.n_dim == 3 else block[0]
    names = candidates(device)
    probe = probe_seconds(
        {
            name: trace.seconds(block[3 - model.n_dim :], rates.precisions[name], slices)
            for name in names
        },
        {name: trace.convolutions * rates.precisions[name].compiling for name in names},
    )
    best = min(names, key=seconds)
    return best, seconds(best), probe


def _host_seconds(plan: Plan, model: SpacingModel, rates: Calibration) -> float:
    """Return the time of everything except the network.

    Most of it is spent on the native grid, whatever the working spacing.
    """
    host = rates.host
    native, working = math.prod(plan.native.shape), math.prod(plan.working.shape)
    channel = host.normalizing(model.normalization.kind, native) + 4 * native * host.copy
    for stage in resampling_stages(plan):
        channel += stage.products * host.product + stage.gathered * host.gather
    logits = model.out_channels * working
    total = model.image_channels * channel + logits * host.winner
    # A channel of guidance is interpolated axis by axis, from fewer voxels.
    guiding = model.in_channels - model.image_channels
    total += guiding * working * (2 * host.gather + 4 * host.copy)
    if plan.working.shape == plan.native.shape:
        total += native * host.copy
    else:
        spacing = math.prod(plan.working.spacing_mm) ** (1 / 3)
        border = min(_BORDER_AT_1_MM * math.sqrt(spacing), _MOST_BORDER)
        total += native * (host.look_up + border * model.out_channels * host.interpolate)
    if len(plan.tiles) > 1:  # blending reads or writes the logits of each tile three times
        tiled = model.out_channels * len(plan.tiles) * math.prod(plan.tiles.tile_shape)
        total += 12 * tiled * host.copy
    return total
