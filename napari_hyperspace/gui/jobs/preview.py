"""What the dock shows for a spacing: bake time, cost, cost curve and preview.

Computed off the main thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Shape, Triple
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import LayerSource
from napari_hyperspace.gui.jobs.guidance import GuidanceChoice
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.worker import Stop
from napari_hyperspace.gui.models.blocks import (
    PreviewBlock,
    block_around,
    largest_side_mm,
    least_side_mm,
)
from napari_hyperspace.gui.models.scales import Scale
from napari_hyperspace.gui.models.spacings import (
    coarse_preview_spacing,
    curve_spacings,
    mean_spacing,
)
from napari_hyperspace.gui.models.view import CostOverSpacing
from napari_hyperspace.inference.normalized import NormalizedModel

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate
    from napari_hyperspace.inference.options import InferenceOptions
    from napari_hyperspace.inference.protocols import SpacingModel
    from napari_hyperspace.nets.model import Model

_QUICK_S = 0.06  # a sharp preview this fast is not preceded by a coarse one
_COARSER = 1.2  # least factor between the spacings of the coarse and the sharp preview


@dataclass(frozen=True, eq=False)
class PreviewRequest:
    """Where to preview, and for how long.

    Parameters
    ----------
    center
        Fractional index into the layer's array.
    budget_s
        Time budget of the sharp preview.
    rest_s
        Time to wait for a newer query before the sharp preview starts.
    """

    center: tuple[float, float, float]
    budget_s: float
    rest_s: float


@dataclass(frozen=True, eq=False)
class SpacingQuery:
    """A scan, a model and a spacing, for which cost and preview are wanted.

    Parameters
    ----------
    sources
        The layers to segment, one per input channel.
    model, spacing_mm, options
        As in `napari_hyperspace.segment`.
    scale
        Range of spacings of the cost curve.
    preview
        `None`: no preview.
    guidance
        What guides the model, if it is a guided one.
    bind
        Returns the model with its guidance.
    """

    sources: tuple[LayerSource, ...]
    model: Model
    spacing_mm: Triple
    options: InferenceOptions
    scale: Scale
    preview: PreviewRequest | None = None
    guidance: GuidanceChoice | None = None
    bind: Callable[[Model], SpacingModel] | None = None


@dataclass(frozen=True)
class BakeTime:
    """The network of the spacing was made, in this time."""

    seconds: float


@dataclass(frozen=True, eq=False)
class SpacingCost:
    """The estimated cost of a run at the spacing.

    Parameters
    ----------
    estimate
        On a quiet machine.
    slowdown
        How many times as long it takes at present, because of other programs.
    """

    estimate: Estimate
    slowdown: float = 1.0


@dataclass(frozen=True, eq=False)
class PreviewLabels:
    """Labels of a block of the scan.

    Parameters
    ----------
    labels
        In the layer's array order.
    start
        Index of the block's first voxel.
    side_mm
        Sides of the block; `None`: it is the whole scan.
    sharp
        Whether they were computed at the spacing itself, and not at a coarser one.
    seconds
        Time that the preview took.
    """

    labels: NDArray[Any]
    start: Shape
    side_mm: float | None
    sharp: bool
    seconds: float


@dataclass(frozen=True)
class NoPreview:
    """There is no preview: the smallest block with enough context takes longer than allowed.

    Parameters
    ----------
    side_mm
        Sides of that block; `None`: it is the whole scan.
    seconds
        Predicted time for it.
    """

    side_mm: float | None
    seconds: float


SpacingAnswer = BakeTime | SpacingCost | CostOverSpacing | PreviewLabels | NoPreview


_CurveKey = tuple[Grid, "SpacingModel", str, tuple[float, ...]]
_GuidedKey = tuple[tuple[LayerSource, ...], "SpacingModel"]
_SideKey = tuple[Grid, "Model", Triple, float]
_ScanKey = tuple[tuple[LayerSource, ...], Normalization]


class PreviewEngine:
    """Answers one query at a time; keeps the normalized scan and the cost curve for the next.

    Parameters
    ----------
    services
        Estimate and segment.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._normalized: tuple[_ScanKey, tuple[Volume, ...]] | None = None
        self._guided: tuple[_GuidedKey, SpacingModel] | None = None
        self._curve: tuple[_CurveKey, CostOverSpacing] | None = None
        self._side: tuple[_SideKey, float] | None = None
        # Measured time of previews over their predicted time, smoothed; it scales predictions.
        self._pace = 1.0

    def forget_costs(self) -> None:
        """Estimate the curve again next time: a run may have found a faster precision."""
        self._curve = None

    def answer(self, query: SpacingQuery, stop: Stop) -> Iterator[SpacingAnswer]:
        """Answer a query, the quickest answers first.

        Yields
        ------
        BakeTime, SpacingCost, CostOverSpacing, PreviewLabels or NoPreview
            The preview, if requested: a coarse one first, and the sharp one after a rest.
        """
        yield BakeTime(self._bake(query))
        if stop():
            return
        grid = query.sources[0].placement.grid
        model = query.model if query.bind is None else query.bind(query.model)
        found = self._services.estimate(grid, model, query.spacing_mm, query.options)
        yield SpacingCost(found, self._services.slowdown())
        if stop():
            return
        yield self._cost_curve(query, grid, model)
        if query.preview is None:
            self._guided = None
            self._normalized = None  # it takes at least as much memory as the scan
        elif not stop():
            yield from self._previews(query, query.preview, model, stop)

    def _bake(self, query: SpacingQuery) -> float:
        model = query.model
        started = time.perf_counter()
        model.network(query.spacing_mm[-model.n_dim :], query.options.device)
        return time.perf_counter() - started

    def _cost_curve(self, query: SpacingQuery, grid: Grid, model: SpacingModel) -> CostOverSpacing:
        spacings = curve_spacings(query.scale, query.spacing_mm)
        # Rounded: the same proportions come with different last bits.
        ends = tuple(round(value, 6) for value in (*spacings[0], *spacings[-1]))
        key = (grid, model, f"{query.options.device}, best {query.options.best}", ends)
        if self._curve is None or self._curve[0] != key:
            options = replace(query.options, outside="extrapolate")
            estimates = self._services.estimate_curve(grid, model, spacings, options)
            means = tuple(mean_spacing(one) for one in spacings)
            self._curve = key, CostOverSpacing(means, tuple(estimates))
        return self._curve[1]

    def _previews(
        self, query: SpacingQuery, request: PreviewRequest, guided: SpacingModel, stop: Stop
    ) -> Iterator[PreviewLabels | NoPreview]:
        volumes = self._normalize(query)
        grid = volumes[0].grid
        spacing, device = query.spacing_mm, query.options.device
        precision = self._services.settled_precision(
            query.model, spacing, None if device is None else str(device)
        )
        options = replace(query.options, precision=precision, best=False, uncertainty=False)
        model = NormalizedModel(self._with_guidance(query, guided, options, stop))

        def seconds(block: Grid) -> float:
            return self._services.estimate(block, model, spacing, options).seconds * self._pace

        least = _least_side_mm(query)
        side = self._side_mm(query, request, grid, least, seconds)
        whole = max(grid.field_of_view_mm)
        if side is None:
            smallest = block_around(grid, request.center, least)
            needed = seconds(grid.crop(smallest.start, smallest.shape))
            yield NoPreview(None if least >= whole else least, needed)
            return
        shown = None if side >= whole else side

        def preview(at_spacing: Triple, *, sharp: bool) -> PreviewLabels:
            started = time.perf_counter()
            blocks = [_cropped(one, block) for one in volumes]
            result = run_to_end(
                self._services.segment_steps(blocks, model, at_spacing, options, stop)
            )
            took = time.perf_counter() - started
            return PreviewLabels(result.labels.array, block.start, shown, sharp, took)

        block = block_around(grid, request.center, side)
        predicted = seconds(grid.crop(block.start, block.shape))
        coarse = coarse_preview_spacing(spacing, query.model.trained_range_mm)
        factor = max(c / s for c, s in zip(coarse, spacing, strict=True))
        if predicted > _QUICK_S and factor > _COARSER:
            yield preview(coarse, sharp=False)
        if request.rest_s:
            stop.rest(request.rest_s)
        final = preview(spacing, sharp=True)
        error = final.seconds / max(predicted, 1e-3)
        self._pace *= min(max(error, 0.25), 4.0) ** 0.5
        yield final

    def _with_guidance(
        self, query: SpacingQuery, model: SpacingModel, options: InferenceOptions, stop: Stop
    ) -> SpacingModel:
        """Return a guided model with labels; a coarse pass runs once for all its previews."""
        if query.guidance is None:
            return model
        key = (query.sources, model)
        if self._guided is None or self._guided[0] != key:
            volumes = [source.layer_volume() for source in query.sources]
            self._guided = key, self._services.guide(volumes, model, options, stop)
        return self._guided[1]

    def _side_mm(
        self,
        query: SpacingQuery,
        request: PreviewRequest,
        grid: Grid,
        least_mm: float,
        seconds: Callable[[Grid], float],
    ) -> float | None:
        """Return the sides of the block, or `None` if the time is too short for any.

        They depend on the measured pace, but do not change while the choices stay the same: a box
        that shrinks at rest would look like a different result.
        """
        key: _SideKey = (grid, query.model, query.spacing_mm, request.budget_s)
        if self._side is None or self._side[0] != key:
            side = largest_side_mm(grid, request.center, least_mm, request.budget_s, seconds)
            if side is None:
                self._side = None
                return None
            self._side = key, side
        return self._side[1]

    def _normalize(self, query: SpacingQuery) -> Sequence[Volume]:
        """Return the scan, normalized over all its voxels, in the layers' array order."""
        key = (query.sources, query.model.normalization)
        known = self._normalized
        if known is None or known[0] != key:
            volumes = [source.layer_volume() for source in query.sources]
            for volume in volumes:
                if not np.isfinite(volume.array.sum(dtype=np.float64)):
                    raise HyperspaceError(
                        "the image has values that are not finite",
                        where=volume.name,
                        fix="Run asks what to replace them by",
                    )
            normalize = query.model.normalization.apply
            normalized = tuple(
                Volume(normalize(volume.array), volume.grid, volume.name) for volume in volumes
            )
            known = self._normalized = (key, normalized)
        return known[1]


def _cropped(volume: Volume, block: PreviewBlock) -> Volume:
    grid = volume.grid.crop(block.start, block.shape)
    return Volume(volume.array[block.slices], grid, volume.name)


def _least_side_mm(query: SpacingQuery) -> float:
    """Return the sides of the smallest block that shows what a run would give."""
    model, localization = query.model, query.model.localization
    return least_side_mm(
        query.spacing_mm,
        region_mm=None if localization is None else localization.extent_mm,
        tile_shape=model.tile_shape,
        tile_mm=model.tile_mm,
    )
