"""Estimate time and memory of a segmentation before it runs.

Time = number of operations × calibrated rates. Memory = bytes held in the largest phase. An
estimate runs nothing, except that the first one for a model bakes one network, to measure how long
that takes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import torch

from napari_hyperspace.api.guidance import (
    AnyGuidance,
    CoarselyGuidedModel,
    Guidance,
    as_pass,
    check_guidance,
    coarse_model,
    coarse_pass_spacing,
)
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.memory import available_bytes
from napari_hyperspace.core.spacing import check_plausible_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost.calibrate import calibrate
from napari_hyperspace.cost.cost_model import Trace
from napari_hyperspace.cost.memory_model import peaks, resampling_stages
from napari_hyperspace.cost.rates import Calibration
from napari_hyperspace.cost.trace_cache import trace_of
from napari_hyperspace.inference.best.members import members_at
from napari_hyperspace.inference.best.probabilities import mean_bytes
from napari_hyperspace.inference.execution import PRECISIONS, choose_device
from napari_hyperspace.inference.inputs import straight_grid, straightening_bytes
from napari_hyperspace.inference.localize import coarse_spacing, crop, crop_grid, usual_box
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.plan import Plan, grid_of, make_plan, working_spacing
from napari_hyperspace.inference.precision import (
    block_shape,
    candidates,
    known_choice,
    probe_seconds,
)
from napari_hyperspace.inference.protocols import SpacingModel

# Probabilities at native size: taps of three axes, and bytes that are written, read and added.
_TAPS, _MOVED = 6, 16
# Resampling a sheared scan and its labels is not calibrated. The time per point is given as a
# number of values gathered along an axis, measured on one CPU.
_GATHERED_PER_IMAGE_POINT, _GATHERED_PER_LABEL_POINT = 160, 20


@dataclass(frozen=True)
class Estimate:
    """Estimated time and memory of a segmentation.

    Parameters
    ----------
    seconds
        Wall time from scan to labels. Includes making the network, and `probe_seconds`.
    peak_bytes
        Peak memory on the device that computes, above what is in use before.
    peak_host_bytes
        The same in main memory, without the scan itself. On the CPU both are the same: the growth
        of the process's resident memory.
    working_shape, spacing_mm
        Shape and spacing of the working grid, canonical order (z, y, x).
    n_tiles
        Number of tiles.
    available_bytes, available_host_bytes
        Free memory of the device that computes, and of the host.
    precision
        Expected precision of the network.
    probe_seconds
        Time that the first run at about this spacing takes to find the fastest precision.
    localization_seconds
        Time of the coarse first pass of a model with localization; included in `seconds`.
    guidance_seconds
        Time of the coarse pass that guides a guided model; included in `seconds`.
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
    localization_seconds: float = 0.0
    guidance_seconds: float = 0.0

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
    *,
    guidance: AnyGuidance | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Estimate:
    """Estimate time and memory of `segment` with the same arguments.

    Takes about a millisecond, except for the first call on a device, which calibrates it (a few
    seconds, stored on disk), and the first call for a model.

    Parameters
    ----------
    volume
        The scan, one scan per input channel, or only the grid.
    model, spacing_mm, options, guidance, **keywords
        As in `segment_steps`.

    Raises
    ------
    HyperspaceError
        If the spacing, the guidance or the options are refused, or the network cannot be traced.
    """
    estimator = _Estimator(model, options_from(options, keywords), guidance)
    return estimator.passes(volume, spacing_mm)


def estimate_curve(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacings: Sequence[Sequence[float] | None],
    options: InferenceOptions | None = None,
    *,
    guidance: AnyGuidance | None = None,
    **keywords: Unpack[OptionKeywords],
) -> list[Estimate]:
    """Estimate several spacings (canonical order), each as `estimate` does.

    The scan must be plausible, but not each spacing: a curve may extend beyond what can be run.
    """
    options = options_from(options, keywords)
    if not options.allow_implausible:
        check_plausible_grid(grid_of(volume))
    estimator = _Estimator(model, replace(options, allow_implausible=True), guidance)
    return [estimator.passes(volume, spacing) for spacing in spacings]


class _Estimator:
    """Estimates of one model with the same options.

    Parameters
    ----------
    model, options, guidance
        As in `estimate`.
    """

    def __init__(
        self,
        model: SpacingModel,
        options: InferenceOptions,
        guidance: AnyGuidance | None = None,
    ) -> None:
        if isinstance(model, CoarselyGuidedModel):
            guidance, model = guidance or model.coarse_pass, model.model
        check_guidance(model, guidance)
        self._coarse_pass: Guidance | None = None
        if guidance is not None and not isinstance(guidance, Volume):
            self._coarse_pass = as_pass(guidance)
        self._coarse: tuple[Sequence[float], Estimate] | None = None
        self._model = model
        self._options = options
        self._device = choose_device(options.device)
        self._available = available_bytes(self._device)
        self._available_host = available_bytes(torch.device("cpu"))

    def passes(
        self, volume: Volume | Grid | Sequence[Volume], spacing_mm: Sequence[float] | None
    ) -> Estimate:
        """Estimate all passes: that of the guidance, and those of the model itself."""
        fine = self._own_passes(volume, spacing_mm)
        if self._coarse_pass is None:
            return fine
        coarse = self._guiding(self._coarse_pass, volume)
        return replace(
            fine,
            seconds=coarse.seconds + fine.seconds,
            peak_bytes=max(coarse.peak_bytes, fine.peak_bytes),
            peak_host_bytes=max(coarse.peak_host_bytes, fine.peak_host_bytes),
            n_tiles=coarse.n_tiles + fine.n_tiles,
            probe_seconds=coarse.probe_seconds + fine.probe_seconds,
            guidance_seconds=coarse.seconds,
        )

    def _guiding(self, guidance: Guidance, volume: Volume | Grid | Sequence[Volume]) -> Estimate:
        """Estimate the coarse pass of the guidance, once: the scan is the same in all calls."""
        native = grid_of(volume).canonical().spacing_mm
        spacing = coarse_pass_spacing(self._model, guidance, native)
        if self._coarse is None or self._coarse[0] != spacing:
            options = replace(
                self._options,
                outside="clamp" if guidance.spacing_mm is None else self._options.outside,
                tile_shape=None,
                precision=guidance.precision or self._options.precision,
            )
            estimator = _Estimator(coarse_model(self._model, guidance), options)
            self._coarse = spacing, estimator.passes(volume, spacing)
        return self._coarse[1]

    def _own_passes(
        self, volume: Volume | Grid | Sequence[Volume], spacing_mm: Sequence[float] | None
    ) -> Estimate:
        """Estimate the passes of the model: with localization, a coarse one and one over a box."""
        localization, options = self._model.localization, self._options
        if localization is None:
            return self._members(volume, spacing_mm, options)
        spacing = working_spacing(
            volume,
            self._model,
            spacing_mm,
            options.outside,
            allow_implausible=options.allow_implausible,
        )
        coarse = coarse_spacing(localization, spacing)
        first = self._one_pass(volume, coarse, replace(options, outside="clamp"))
        box = usual_box(localization, grid_of(volume))
        within: Volume | Grid | list[Volume]
        if isinstance(volume, Grid):
            within = crop_grid(volume, box)
        elif isinstance(volume, Volume):
            within = crop(volume, box)
        else:
            within = [crop(each, box) for each in volume]
        second = self._members(within, spacing_mm, options)
        return replace(
            second,
            seconds=first.seconds + second.seconds,
            peak_bytes=max(first.peak_bytes, second.peak_bytes),
            peak_host_bytes=max(first.peak_host_bytes, second.peak_host_bytes),
            n_tiles=first.n_tiles + second.n_tiles,
            probe_seconds=first.probe_seconds + second.probe_seconds,
            localization_seconds=first.seconds,
        )

    def _members(
        self,
        volume: Volume | Grid | Sequence[Volume],
        spacing_mm: Sequence[float] | None,
        options: InferenceOptions,
    ) -> Estimate:
        """Estimate one pass, or with ``best`` all of its members and their mean."""
        first = self._one_pass(volume, spacing_mm, options)
        if not options.best:
            return first
        model, grid = self._model, straight_grid(grid_of(volume))
        host = calibrate(self._device).host
        options = replace(options, outside="extrapolate", allow_implausible=True)
        members = members_at(
            model, first.spacing_mm, grid.canonical().spacing_mm, self._options.outside
        )
        spent, tiles, peak, peak_host = 0.0, 0, 0, 0
        for member in members:
            # The first member measures the fastest precision, and each spacing makes its network.
            one = self._one_pass(volume, member.spacing_mm, options)
            again = trace_of(model, member.spacing_mm[3 - model.n_dim :]).bake_seconds
            spent += one.seconds - one.probe_seconds - (again if member.mirrored else 0.0)
            tiles += one.n_tiles
            peak, peak_host = max(peak, one.peak_bytes), max(peak_host, one.peak_host_bytes)
            values = model.out_channels * math.prod(grid.shape)
            logits = model.out_channels * math.prod(one.working_shape)
            spent += logits * host.winner + values * (_TAPS * host.gather + _MOVED * host.copy)
        held = mean_bytes(model.out_channels, grid.shape)
        return replace(
            first,
            seconds=first.probe_seconds + spent,
            peak_bytes=peak + (held if self._device.type == "cpu" else 0),
            peak_host_bytes=peak_host + held,
            n_tiles=tiles,
        )

    def _one_pass(
        self,
        volume: Volume | Grid | Sequence[Volume],
        spacing_mm: Sequence[float] | None,
        options: InferenceOptions,
    ) -> Estimate:
        model, device, grid = self._model, self._device, grid_of(volume)
        plan = make_plan(straight_grid(grid), model, spacing_mm, options)
        network = trace_of(model, plan.network_spacing_mm)
        trace = network.trace
        rates = calibrate(device)
        name, network_seconds, probe_seconds = self._network(plan, trace, rates)
        seconds = (
            network_seconds
            + probe_seconds
            + self._host_seconds(plan, rates)
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
        return Estimate(
            seconds,
            on_device,
            on_host,
            plan.working.shape,
            plan.spacing_mm,
            len(plan.tiles),
            self._available,
            self._available_host,
            name,
            probe_seconds,
        )

    def _network(self, plan: Plan, trace: Trace, rates: Calibration) -> tuple[str, float, float]:
        """Return the expected precision, the time of all tiles, and that of a probe if due."""
        n_dim, device, precision = self._model.n_dim, self._device, self._options.precision
        tile = plan.tiles.tile_shape
        batch = 1 if n_dim == 3 else tile[0]
        shape = tile[3 - n_dim :]

        def seconds(name: str) -> float:
            of_precision = rates.precisions[name]
            compiling = trace.convolutions * of_precision.compiling
            return compiling + len(plan.tiles) * trace.seconds(shape, of_precision, batch)

        if precision != "auto":
            known = precision in rates.precisions
            return precision, seconds(precision) if known else math.nan, 0.0
        choice = known_choice(self._model, device, plan.network_spacing_mm)
        if choice is not None:
            choice = choice.for_voxels(len(plan.tiles) * math.prod(tile))
            return choice.precision, seconds(choice.precision), 0.0
        block = block_shape(plan.working.shape, n_dim)
        slices = 1 if n_dim == 3 else block[0]
        names = candidates(device)
        probe = probe_seconds(
            {
                name: trace.seconds(block[3 - n_dim :], rates.precisions[name], slices)
                for name in names
            },
            {name: trace.convolutions * rates.precisions[name].compiling for name in names},
        )
        best = min(candidates(device), key=seconds)
        return best, seconds(best), probe

    def _host_seconds(self, plan: Plan, rates: Calibration) -> float:
        """Return the time of everything except the network."""
        model, host = self._model, rates.host
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
            total += native * host.look_up
        if len(plan.tiles) > 1:  # blending reads or writes the logits of each tile three times
            tiled = model.out_channels * len(plan.tiles) * math.prod(plan.tiles.tile_shape)
            total += 12 * tiled * host.copy
        return total
