"""Answers to strokes: structures segmented around them by a class-conditional model.

Computed off the main thread, while the user may go on painting.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Grid, Shape, Triple
from napari_hyperspace.core.progress import Progress, run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import LayerSource
from napari_hyperspace.gui.adapters.painting.hints import PaintedPart
from napari_hyperspace.gui.adapters.regions import Box
from napari_hyperspace.gui.adapters.voxels import filled
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.view import Entries

if TYPE_CHECKING:
    from napari_hyperspace.api.corrections.strokes import Corrected
    from napari_hyperspace.inference.options import InferenceOptions
    from napari_hyperspace.nets.model import Model

MOST_VOXELS = 600_000
"""Of the working grid of an answer: about a second on one core."""

_TRIAL_MM = 48.0  # sides of the block on which the precision is measured, before the first answer
_ONE_TILE = 1.34  # a part this many times a tile of the model is not divided into tiles


@dataclass(frozen=True)
class Refiners:
    """The installed models that answer to strokes: (key, name)."""

    entries: Entries


@dataclass(frozen=True)
class Prepared:
    """The model is loaded, and its network for the usual spacing is made."""

    seconds: float


@dataclass(frozen=True, eq=False)
class Answer:
    """Labels of the part that the model has seen.

    Parameters
    ----------
    box
        The part, in the layer of the scan.
    labels
        In the order of the layer.
    spacing_mm
        Working spacing, in canonical order.
    seconds
        Time that it took.
    """

    box: Box
    labels: NDArray[Any]
    spacing_mm: Triple
    seconds: float


class AnswerEngine:
    """Answers one request at a time; keeps the model and its networks for the next.

    Parameters
    ----------
    services
        Segment.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._key = ""
        self._model: Model | None = None
        self._precision = ""  # the fastest one, once it is known

    def find(self) -> Refiners:
        """Find the installed models that answer to strokes; imports torch."""
        return Refiners(self._services.refiners())

    def prepare(
        self, key: str, scan: LayerSource, finest_mm: float, device: str, should_stop: ShouldStop
    ) -> Prepared:
        """Load a model, and measure the fastest precision on a block at the center of a scan."""
        started = time.perf_counter()
        model = self._load(key)
        grid, shape = scan.placement.layer_grid, np.shape(scan.data)
        sides = [min(n, round(_TRIAL_MM / s)) for n, s in zip(shape, grid.spacing_mm, strict=True)]
        starts = [(n - side) // 2 for n, side in zip(shape, sides, strict=True)]
        a, b, c = (slice(i, i + max(n, 1)) for i, n in zip(starts, sides, strict=True))
        volume = _part(scan, (a, b, c))
        ball = np.zeros(volume.shape, np.uint8)
        ball[tuple(slice(n // 3, max(n - n // 3, n // 3 + 1)) for n in volume.shape)] = 1
        spacing = self._services.answer_spacing(volume.grid, model, finest_mm, MOST_VOXELS)
        nothing = np.zeros_like(ball)
        part = PaintedPart((a, b, c), None, ball, nothing, nothing, ball, (1,), False)
        options = self._options(device, "auto", None)
        run_to_end(self._steps(part, volume, model, spacing, options, should_stop))
        self._precision = self._services.settled_precision(model, spacing, device or None)
        return Prepared(time.perf_counter() - started)

    def answer(
        self,
        key: str,
        scan: LayerSource,
        part: PaintedPart,
        finest_mm: float,
        device: str,
        should_stop: ShouldStop,
    ) -> Answer:
        """Answer to strokes.

        Parameters
        ----------
        key
            Of the model.
        scan
            The layer of the scan.
        part
            What was painted on it.
        finest_mm
            The wanted working spacing.
        device
            As in `Choices`.
        should_stop
            Called between the layers of the network.
        """
        started = time.perf_counter()
        model = self._load(key)
        volume = _part(scan, part.seen)
        grid = volume.grid
        spacing = self._services.answer_spacing(grid, model, finest_mm, MOST_VOXELS)
        precision = self._precision or self._services.settled_precision(
            model, spacing, device or None
        )
        options = self._options(device, precision, _tile(grid, model, spacing))
        done = run_to_end(self._steps(part, volume, model, spacing, options, should_stop))
        return Answer(part.seen, done.labels, done.spacing_mm, time.perf_counter() - started)

    def _steps(
        self,
        part: PaintedPart,
        volume: Volume,
        model: Model,
        spacing_mm: Triple,
        options: InferenceOptions,
        should_stop: ShouldStop,
    ) -> Generator[Progress, None, Corrected]:
        return self._services.correct_steps(
            volume,
            (part.present, part.include, part.exclude, part.rough),
            part.values,
            model,
            spacing_mm,
            options,
            kept=part.kept,
            protect_others=part.protect_others,
            should_stop=should_stop,
        )

    def _options(self, device: str, precision: str, tile_shape: Shape | None) -> InferenceOptions:
        from napari_hyperspace.inference.options import InferenceOptions

        return InferenceOptions(
            device=device or None, outside="clamp", precision=precision, tile_shape=tile_shape
        )

    def _load(self, key: str) -> Model:
        if self._model is None or self._key != key:
            self._model, self._key = self._services.load_model(key), key
            self._precision = ""
        return self._model


def _part(scan: LayerSource, box: Box) -> Volume:
    """Return a part of a layer in its array order; only that part of a lazy array is loaded."""
    values = np.asarray(scan.data[box])
    if scan.fill is not None:
        values = filled(values, scan.fill)
    if not np.isfinite(values.sum(dtype=np.float64)):
        raise HyperspaceError(
            "the image has values that are not finite",
            where=scan.name,
            fix="Run asks what to replace them by",
        )
    grid = scan.placement.layer_grid.crop(
        [each.start for each in box], [each.stop - each.start for each in box]
    )
    return Volume(values, grid, scan.name)


def _tile(grid: Grid, model: Model, spacing_mm: Triple) -> Shape | None:
    """Return the shape of one tile for a whole part, unless it is much larger than the model's.

    Dividing a part that is a little larger than a tile would take several times as long.
    """
    shape = grid.canonical().with_spacing(spacing_mm).shape
    for limits, unit in ((model.tile_shape, (1.0,) * 3), (model.tile_mm, spacing_mm)):
        if limits is not None and any(
            n * step > _ONE_TILE * limit for n, step, limit in zip(shape, unit, limits, strict=True)
        ):
            return None
    return shape
