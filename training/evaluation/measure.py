"""Measuring one case at one working spacing: segmentation, scores, time and memory."""

from __future__ import annotations

import contextlib
import ctypes
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_hyperspace.api.guidance import guided_by
from napari_hyperspace.api.segment import SegmentResult, segment_steps
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.resample import resample_labels
from napari_hyperspace.core.spacing import in_ranges
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.guidance import GuidedModel, guidance_channels
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import working_spacing
from napari_hyperspace.nets.model import Model
from training.data.base import Case, DataSet
from training.evaluation.methods import Method
from training.evaluation.metrics import LabelMetrics, agreement, default_tolerance
from training.evaluation.rows import Row


@dataclass(frozen=True)
class Settings:
    """The settings that all measurements of an evaluation share.

    Parameters
    ----------
    device
        As in `napari_hyperspace.segment`.
    precision
        Precision that networks run in. ``"auto"`` is what users get, but it picks the precision by
        measured times: labels may differ from run to run in a few voxels.
    tolerance_mm
        Tolerance of the surface Dice; `None`: see `default_tolerance`.
    tile_shape
        Largest tile in voxels (z, y, x) of all models; `None`: each model's own.
    guidance_mm
        Spacing of the guidance of guided models, which is the true labels on a coarse grid; `None`:
        the middle of the range of their training.
    """

    device: str | None = None
    precision: str = "fp32"
    tolerance_mm: float | None = None
    tile_shape: tuple[int, int, int] | None = None
    guidance_mm: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings that rows depend on, as plain data."""
        values = {**asdict(self), "device": str(choose_device(self.device))}
        if self.tile_shape is None:
            del values["tile_shape"]
        else:
            values["tile_shape"] = list(self.tile_shape)
        if self.guidance_mm is None:
            del values["guidance_mm"]
        return values


def release_memory() -> None:
    """Return freed memory to the system (with glibc), so that its growth is that of one run."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


@dataclass(frozen=True)
class _Measured:
    """The results of a network for a case at a spacing, on both grids."""

    working: SegmentResult
    native: SegmentResult
    bake_seconds: float
    agreements: dict[int, tuple[LabelMetrics, LabelMetrics]]

    def seconds(self, result: SegmentResult) -> float:
        """Return the time of one of the two results, including that of making the network."""
        return result.seconds - result.bake_seconds + self.bake_seconds


def coarse_truth(truth: Volume, model: Model, spacing_mm: float | None = None) -> Volume:
    """Return the guidance that an ideal coarse segmentation gives a guided model.

    Parameters
    ----------
    truth
        True label values of the model.
    model
        A guided model.
    spacing_mm
        Spacing of the guidance; `None`: the middle of the range of its training.
    """
    assert model.guidance is not None
    step = spacing_mm or math.sqrt(math.prod(model.guidance.spacing_mm))
    grid = truth.grid.with_spacing([max(step, own) for own in truth.spacing_mm])
    return resample_labels(truth, grid)


def _interpolated(model: GuidedModel, case: Case) -> SegmentResult:
    """Return guidance that is interpolated to the grid of a case, as labels: no network runs."""
    assert model.given_guidance is not None and model.guidance is not None
    started = time.perf_counter()
    one_hot = replace(model.guidance, kind="one-hot")
    shares = guidance_channels(model.given_guidance, one_hot, model.out_channels, case.grid)
    labels = np.array(model.label_values)[shares.argmax(dim=0).numpy()]
    seconds = time.perf_counter() - started
    found = Volume(labels, case.grid, case.name)
    return SegmentResult(found, seconds, 0.0, 0, case.grid.spacing_mm, "fp32", "cpu")


class Measurer:
    """Measures cases; keeps the models and the last case in memory.

    Parameters
    ----------
    dataset
        The cases.
    settings
        The settings that all measurements share.
    """

    def __init__(self, dataset: DataSet, settings: Settings) -> None:
        self._dataset = dataset
        self._settings = settings
        self._models: dict[str, Model] = {}
        self._case: Case | None = None
        self._device = choose_device(settings.device)
        self._baked: dict[tuple[str, Triple], float] = {}
        self._found: tuple[tuple[str, str], Volume] | None = None

    def model(self, method: Method) -> Model:
        """Return the model of a method."""
        if method.model not in self._models:
            self._models[method.model] = method.load()
        return self._models[method.model]

    def case(self, name: str) -> Case:
        """Return a case with its values as they are in the file."""
        if self._case is None or self._case.name != name:
            self._case = self._dataset.load([name], Normalization("none"))[0]
        return self._case

    def measure(self, name: str, spacing_mm: Triple, methods: Sequence[Method]) -> list[Row]:
        """Return the rows of a case at a working spacing (mm; z, y, x).

        A network is run once before it is first timed. Methods that use the same network at the
        same spacing (MaxRes inside the trained range) share one measurement.
        """
        case = self.case(name)
        working = case.at_spacing(spacing_mm)
        if working.grid.is_close(case.grid):
            working = case
        measured: dict[tuple[str, Triple, bool, str], _Measured] = {}
        rows = []
        for method in methods:
            model = self.model(method)
            network_mm = working_spacing(case.grid, model, spacing_mm, method.outside)
            key = model.identity, network_mm, method.guidance_only, method.guidance_from
            if key not in measured:
                measured[key] = self._measure(case, working, method, spacing_mm, network_mm)
            rows += self._rows(case, method, spacing_mm, network_mm, measured[key])
        return rows

    def segment(self, case: Case, method: Method, spacing_mm: Triple) -> SegmentResult:
        """Segment a case as a scan, at a working spacing (mm; z, y, x)."""
        options = InferenceOptions(
            device=self._device,
            outside=method.outside,
            tile_shape=self._settings.tile_shape,
            precision=self._settings.precision,
        )
        scan = [Volume(image.numpy(), case.grid, case.name) for image in case.image]
        model = self.model(method)
        guidance = None if model.guidance is None else self.guidance(case, method)
        if method.guidance_only:
            if guidance is None:
                raise HyperspaceError("a model without guidance", where=method.label)
            return _interpolated(guided_by(model, guidance), case)
        return run_to_end(segment_steps(scan, model, spacing_mm, options, guidance=guidance))

    def guidance(self, case: Case, method: Method) -> Volume:
        """Return the guidance of a case: the label that covers most of each coarse voxel.

        Or the labels that another model finds at a coarse spacing.
        """
        # That of the scan's own grid, also for a case on a working grid.
        known = case if self._case is None or self._case.name != case.name else self._case
        if not method.guidance_from:
            truth = Volume(self.truth(known).clip(0).astype(np.int32), known.grid)
            return coarse_truth(truth, self.model(method), self._settings.guidance_mm)
        name, step = method.guidance_from.rsplit("@", 1)
        key = known.name, method.guidance_from
        if self._found is None or self._found[0] != key:
            spacing = (float(step),) * 3
            first = Method(name, name, "clamp")
            labels = self.segment(known.at_spacing(spacing), first, spacing).labels
            self._found = key, labels
        return self._found[1]

    def truth(self, case: Case) -> NDArray[Any]:
        """Return the true label values of a case (D, H, W); negative where unknown."""
        channels = case.labels.numpy()
        values = np.array([0, *sorted(self._dataset.label_names)])
        return np.where(channels < 0, -1, values[channels])

    def _measure(
        self,
        case: Case,
        working: Case,
        method: Method,
        spacing_mm: Triple,
        network_mm: Triple,
    ) -> _Measured:
        key = self.model(method).identity, network_mm
        if key not in self._baked:
            self._baked[key] = self._bake_seconds(self.model(method), network_mm)
            self.segment(case, method, spacing_mm)
        release_memory()
        native = self.segment(case, method, spacing_mm)
        on_working = native
        if working is not case:
            release_memory()
            on_working = self.segment(working, method, spacing_mm)
        tolerance = self._tolerance(case)
        grids = [
            (one.grid, self.truth(one), result.labels.array)
            for one, result in ((working, on_working), (case, native))
        ]
        agreements = {}
        for value in self._dataset.label_names:
            at_working, at_native = (
                agreement(predicted, truth, value, grid, tolerance)
                for grid, truth, predicted in grids
            )
            agreements[value] = at_working, at_native
        return _Measured(on_working, native, self._baked[key], agreements)

    def _bake_seconds(self, model: Model, network_mm: Triple) -> float:
        """Return the time of making a network, without the cache of the model."""
        fresh = Model(model.factory, model.card)
        spacing = network_mm[3 - model.n_dim :]
        fresh.network([2 * step for step in spacing], self._device)  # work that is done only once
        self._synchronize()
        started = time.perf_counter()
        fresh.network(spacing, self._device)
        self._synchronize()
        return time.perf_counter() - started

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _tolerance(self, case: Case) -> float:
        given = self._settings.tolerance_mm
        return default_tolerance(case.spacing_mm) if given is None else given

    def _rows(
        self,
        case: Case,
        method: Method,
        spacing_mm: Triple,
        network_mm: Triple,
        found: _Measured,
    ) -> list[Row]:
        model = self.model(method)
        return [
            Row(
                method.label,
                model.identity,
                method.outside,
                case.name,
                *spacing_mm,
                *network_mm,
                trained=in_ranges(spacing_mm, model.trained_range_mm),
                label=value,
                label_name=model.label_names[value],
                dice_working=working.dice,
                dice_native=native.dice,
                hd95_working_mm=working.hd95_mm,
                hd95_native_mm=native.hd95_mm,
                surface_dice_working=working.surface_dice,
                surface_dice_native=native.surface_dice,
                volume_error_working_ml=working.volume_error_ml,
                volume_error_native_ml=native.volume_error_ml,
                volume_native_ml=native.volume_ml,
                tolerance_mm=self._tolerance(case),
                seconds_working=found.seconds(found.working),
                seconds_native=found.seconds(found.native),
                bake_seconds=found.bake_seconds,
                peak_bytes_working=found.working.peak_bytes,
                peak_bytes_native=found.native.peak_bytes,
                precision=found.native.precision,
                device=found.native.device,
            )
            for value, (working, native) in found.agreements.items()
        ]
