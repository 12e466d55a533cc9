"""Estimate time and memory of a segmentation before it runs.

Time = number of operations × calibrated rates. Memory = bytes held in the largest phase. Both are
corrected by what earlier runs took (`napari_hyperspace.cost.learned`). An estimate runs nothing,
except that the first one for a model bakes one network, to measure how long that takes.
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
from napari_hyperspace.cost.pass_cost import pass_cost
from napari_hyperspace.cost.trace_cache import trace_of
from napari_hyperspace.inference.best.members import members_at
from napari_hyperspace.inference.best.probabilities import mean_bytes
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import straight_grid
from napari_hyperspace.inference.localize import coarse_spacing, crop, crop_grid, usual_box
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.plan import grid_of, make_plan, working_spacing
from napari_hyperspace.inference.precision import choice_key
from napari_hyperspace.inference.protocols import SpacingModel

# Probabilities at native size: taps of three axes, and bytes that are written, read and added.
_TAPS, _MOVED = 6, 16


@dataclass(frozen=True)
class Estimate:
    """Estimated time and memory of a segmentation.

    Parameters
    ----------
    seconds
        Wall time from scan to labels, beside no other busy program. Includes making the network,
        and `probe_seconds`.
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
        if self._choice_key(first) == self._choice_key(second):  # the first pass has probed
            seconds = second.seconds - second.probe_seconds
            second = replace(second, seconds=seconds, probe_seconds=0.0)
        return replace(
            second,
            seconds=first.seconds + second.seconds,
            peak_bytes=max(first.peak_bytes, second.peak_bytes),
            peak_host_bytes=max(first.peak_host_bytes, second.peak_host_bytes),
            n_tiles=first.n_tiles + second.n_tiles,
            probe_seconds=first.probe_seconds + second.probe_seconds,
            localization_seconds=first.seconds,
        )

    def _choice_key(self, one_pass: Estimate) -> str:
        """Return the key of the precision that a pass measures."""
        spacing = one_pass.spacing_mm[3 - self._model.n_dim :]
        return choice_key(self._model, self._device, spacing)

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
        model, device = self._model, self._device
        plan = make_plan(straight_grid(grid_of(volume)), model, spacing_mm, options)
        cost = pass_cost(volume, plan, model, device, calibrate(device), self._options.precision)
        return Estimate(
            cost.seconds + cost.probe_seconds,
            cost.peak_bytes,
            cost.peak_host_bytes,
            plan.working.shape,
            plan.spacing_mm,
            len(plan.tiles),
            self._available,
            self._available_host,
            cost.precision,
            cost.probe_seconds,
        )
