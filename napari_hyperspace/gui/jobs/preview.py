"""What a move of the slider sets off: weights, cost, curve, preview. Runs off the main thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Shape, Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import LayerSource
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.worker import Stop
from napari_hyperspace.gui.models.state import (
    Outside,
    PreviewBlock,
    Scale,
    block_within,
    coarse_spacing,
    curve_spacings,
)
from napari_hyperspace.gui.models.view import Curve

_QUICK_S = 0.06  # a preview as fast as this needs no coarse one before it


@dataclass(frozen=True, eq=False)
class PreviewWish:
    """Where to preview, and how fast.

    Parameters
    ----------
    center
        Fractional index into the layer's array.
    budget_s
        Time for the sharp preview.
    rest_s
        How long to wait for the next move before it.
    """

    center: tuple[float, float, float]
    budget_s: float
    rest_s: float


@dataclass(frozen=True, eq=False)
class Question:
    """A scan, a model and a spacing: what would it cost, and what would come out?"""

    sources: tuple[LayerSource, ...]
    model: Any
    spacing_mm: Triple
    device: str | None
    outside: Outside
    scale: Scale
    preview: PreviewWish | None = None


@dataclass(frozen=True)
class Baked:
    """The weights of a spacing were made."""

    seconds: float


@dataclass(frozen=True, eq=False)
class Cost:
    """What running at the spacing would take."""

    estimate: Any


@dataclass(frozen=True, eq=False)
class Preview:
    """Labels of a block, in the layer's array order."""

    labels: NDArray[Any]
    start: Shape
    sharp: bool
    seconds: float


Answer = Baked | Cost | Curve | Preview


class _Normalized:
    """A model for blocks, normalized already over the whole scan; nothing is searched for there."""

    def __init__(self, model: Any) -> None:
        from napari_hyperspace.core.intensity import Normalization

        self._model = model
        self.normalization = Normalization("none")
        self.localization = None  # a block is what the user looks at

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


class PreviewEngine:
    """Answers questions one at a time, and remembers what the next one will need again."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._normalized: tuple[Any, tuple[Volume, ...]] | None = None
        self._curve: tuple[Any, Curve] | None = None
        # Previews are sized by prediction; this is how much longer they took than that.
        self._pace = 1.0

    def forget_costs(self) -> None:
        """Estimate the curve anew next time: a run has found the fastest precision."""
        self._curve = None

    def answer(self, question: Question, stop: Stop) -> Iterator[Answer]:
        """Answer in the order in which users need it.

        Yields
        ------
        Baked, Cost, Curve, Preview
            The preview, if wished for, coarse at first and sharp once the slider rests.
        """
        yield Baked(self._bake(question))
        if stop():
            return
        grid = question.sources[0].placement.grid
        yield Cost(self._estimate(question, grid))
        if stop():
            return
        yield self._costs(question, grid)
        if question.preview is None:
            self._normalized = None  # as large as the scan, or larger
        elif not stop():
            yield from self._previews(question, question.preview, stop)

    def _bake(self, question: Question) -> float:
        model = question.model
        started = time.perf_counter()
        model.network(question.spacing_mm[-model.n_dim :], question.device)
        return time.perf_counter() - started

    def _estimate(
        self, question: Question, grid: Grid, model: Any = None, precision: str = "auto"
    ) -> Any:
        return self._services.estimate(
            grid,
            model or question.model,
            question.spacing_mm,
            device=question.device,
            outside=question.outside,
            precision=precision,
        )

    def _costs(self, question: Question, grid: Grid) -> Curve:
        spacings = curve_spacings(question.scale, question.spacing_mm)
        # Rounded: the proportions are the same again and again but for the last bits.
        ends = tuple(round(value, 6) for value in (*spacings[0], *spacings[-1]))
        key = (grid, question.model, question.device, ends)
        if self._curve is None or self._curve[0] != key:
            estimates = self._services.estimate_curve(
                grid, question.model, spacings, device=question.device, outside="extrapolate"
            )
            means = tuple(float(np.prod(one)) ** (1 / 3) for one in spacings)
            self._curve = key, Curve(means, tuple(estimates))
        return self._curve[1]

    def _previews(self, question: Question, wish: PreviewWish, stop: Stop) -> Iterator[Preview]:
        volumes = self._normalize(question)
        grid = volumes[0].grid

        spacing = question.spacing_mm
        precision = self._services.settled_precision(question.model, spacing, question.device)

        model = _Normalized(question.model)

        def seconds(block: Grid) -> float:
            return float(self._estimate(question, block, model, precision).seconds) * self._pace

        block = block_within(grid, wish.center, spacing, wish.budget_s, seconds)
        coarse = coarse_spacing(spacing, question.model.trained_range_mm)
        predicted = seconds(grid.crop(block.start, block.shape))
        if predicted > _QUICK_S and max(c / s for c, s in zip(coarse, spacing, strict=True)) > 1.2:
            first = replace(question, spacing_mm=coarse)
            yield self._preview(first, volumes, block, precision, stop)
        if wish.rest_s:
            stop.rest(wish.rest_s)
        preview = self._preview(question, volumes, block, precision, stop, sharp=True)
        surprise = preview.seconds / max(predicted, 1e-3)
        self._pace *= min(max(surprise, 0.25), 4.0) ** 0.5
        yield preview

    def _preview(
        self,
        question: Question,
        volumes: Sequence[Volume],
        block: PreviewBlock,
        precision: str,
        stop: Stop,
        *,
        sharp: bool = False,
    ) -> Preview:
        grid = volumes[0].grid.crop(block.start, block.shape)
        started = time.perf_counter()
        result = run_to_end(
            self._services.segment_steps(
                [Volume(one.array[block.slices], grid, one.name) for one in volumes],
                _Normalized(question.model),
                question.spacing_mm,
                device=question.device,
                outside=question.outside,
                precision=precision,
                should_stop=stop,
            )
        )
        return Preview(result.labels.array, block.start, sharp, time.perf_counter() - started)

    def _normalize(self, question: Question) -> tuple[Volume, ...]:
        key = (question.sources, question.model.normalization)
        known = self._normalized
        if known is None or known[0] != key:
            volumes = [source.layer_volume() for source in question.sources]
            for volume in volumes:
                if not np.isfinite(volume.array.sum(dtype=np.float64)):
                    raise HyperspaceError(
                        "the image holds values that are not finite",
                        where=volume.name,
                        fix="Open its file with a fill value for them",
                    )
            normalize = question.model.normalization.apply
            known = (
                key,
                tuple(
                    Volume(normalize(volume.array), volume.grid, volume.name) for volume in volumes
                ),
            )
            self._normalized = known
        return known[1]


def run_to_end(steps: Any) -> Any:
    """Exhaust a generator of steps and return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
