"""Run a plan to its labels; run again if memory, device or precision fails."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning, ShouldStop
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.inference.argmax import NativeArgmax, NonFiniteLogitsError
from napari_hyperspace.inference.blend import RollingSlab
from napari_hyperspace.inference.execution import (
    PRECISIONS,
    Precision,
    Runner,
    choose_device,
    first_line,
    network_runner,
)
from napari_hyperspace.inference.margin import NativeValues
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import Plan
from napari_hyperspace.inference.precision import (
    MAX_DIFFERENCE,
    PrecisionChoice,
    choose_precision,
    known_choice,
    settle_on_fp32,
)
from napari_hyperspace.inference.protocols import SpacingModel

_PREPARED, _BAKED, FINISHED = 0.05, 0.08, 0.99  # fractions of the work done, roughly
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class Attempt:
    """One way to run: the tiles, the device, and the device of the blended logits."""

    plan: Plan
    device: torch.device
    sums: torch.device


def attempts(plan: Plan, device: torch.device) -> list[Attempt]:
    """Return the ways to run, each with less of the device's memory than the one before."""
    half = plan.with_smaller_tiles()
    ways = [
        Attempt(plan, device, device),
        Attempt(half, device, device),
        Attempt(half, device, _CPU),
        Attempt(half.with_smaller_tiles(), device, _CPU),
    ]
    return ways if device == _CPU else [*ways, Attempt(plan, _CPU, _CPU)]


class DivergedError(HyperspaceError):
    """With a short data type, more labels than allowed may differ from fp32."""


class InferenceRun:
    """One image, run through one model's network.

    Parameters
    ----------
    plan
        Spacing, grids and tiles.
    model
        Makes the network.
    image
        Input of the network (C, D, H, W), on the working grid.
    options
        Only ``device`` and ``precision`` are used: the plan contains the others.
    should_stop
        Called between tiles, between layers and between planes of labels.
    sink
        What the logits become on the native grid: labels, or values such as a margin.

    Attributes
    ----------
    device, precision, plan
        Where, in which precision and with which tiles the last attempt ran.
    attempted
        Number of attempts so far.
    bake_seconds
        Wall time of making the network.
    probe_seconds
        Wall time of measuring the fastest precision; about 0 if it was known.
    """

    def __init__(
        self,
        plan: Plan,
        model: SpacingModel,
        image: Tensor,
        options: InferenceOptions,
        should_stop: ShouldStop | None,
        sink: type[NativeArgmax] | type[NativeValues] = NativeArgmax,
    ) -> None:
        self._model = model
        self._image = image
        self._sink = sink
        self._should_stop = should_stop
        self._requested_precision = options.precision
        self.device = choose_device(options.device)
        self._attempts = attempts(plan, self.device)
        self.plan = plan
        self.precision: Precision = PRECISIONS["fp32"]
        self.attempted = 0
        self.bake_seconds = 0.0
        self.probe_seconds = 0.0

    def run(self, labels: NDArray[Any]) -> Generator[Progress, None, None]:
        """Run; if an attempt fails, try the next one.

        Parameters
        ----------
        labels
            Array of the plan's native grid to fill, canonical order, any strides; float32 for a
            sink of margins.

        Raises
        ------
        Cancelled
            Once ``should_stop`` returns true.
        HyperspaceError
            If no attempt succeeds.
        """
        # Only the message of an error is kept. Its traceback would keep the network and the maps
        # alive, in the memory that the next attempt needs.
        while True:
            attempt = self._attempts.pop(0)
            self.attempted += 1
            try:
                return (yield from self._run(attempt, labels))
            except (NonFiniteLogitsError, DivergedError) as error:
                if self.precision.is_reference:
                    raise
                reason = first_line(error)
                spacing_mm = attempt.plan.network_spacing_mm
                self._requested_precision = settle_on_fp32(self._model, attempt.device, spacing_mm)
                self._attempts.insert(0, attempt)
            except HyperspaceError:
                raise
            except torch.OutOfMemoryError as error:
                reason = first_line(error)
                if not self._attempts:
                    raise HyperspaceError(
                        "not enough memory, even with small tiles",
                        where=str(attempt.device),
                        found=reason,
                        fix="Choose a coarser spacing",
                    ) from error
            except (RuntimeError, NotImplementedError) as error:
                # The device was lost, or lacks an operation of the network: only the CPU is left,
                # and torch. A bug fails there again.
                reason = first_line(error)
                if self.precision.library != "torch":
                    warnings.warn(
                        f"{self.precision.name} failed ({reason}): running in fp32",
                        HyperspaceWarning,
                        stacklevel=3,
                    )
                    self._requested_precision = "fp32-channels-last"
                    self._attempts.insert(0, attempt)
                elif attempt.device == _CPU:
                    raise
                else:
                    del self._attempts[:-1]
            if self._attempts[0].device != attempt.device:
                warnings.warn(
                    f"{attempt.device} failed ({reason}): computing on the CPU",
                    HyperspaceWarning,
                    stacklevel=3,
                )
            yield Progress(_PREPARED, f"trying again ({reason})")

    def _run(self, attempt: Attempt, labels: NDArray[Any]) -> Generator[Progress, None, None]:
        self.plan, self.device = attempt.plan, attempt.device
        plan = self.plan
        self._check()
        yield Progress(_PREPARED, "making the network")
        started = time.perf_counter()
        network = self._model.network(plan.network_spacing_mm, self.device)
        self.bake_seconds = time.perf_counter() - started
        self._check()
        if self._requested_precision == "auto" and not known_choice(
            self._model, self.device, plan.network_spacing_mm
        ):
            yield Progress(_PREPARED, "set-up: finding the fastest precision, once")
        started = time.perf_counter()
        choice = self._choose(network, plan.network_spacing_mm)
        self.probe_seconds += time.perf_counter() - started
        self.precision = PRECISIONS[choice.precision if choice else self._requested_precision]
        values = self._model.label_values
        sink = self._sink(plan.working, plan.native, values, labels, attempt.sums)
        with network_runner(
            network, self.precision, self.device, self._model.n_dim, self._should_stop
        ) as runner:
            yield from self._tiles(runner, sink, attempt)
        voxels = self._image[0].numel()
        if choice and choice.expected_difference(sink.border, voxels) > MAX_DIFFERENCE:
            raise DivergedError("too many labels may differ from fp32", where=self.precision.name)
        yield Progress(FINISHED, "finishing")

    def _tiles(
        self, runner: Runner, sink: NativeArgmax | NativeValues, attempt: Attempt
    ) -> Generator[Progress, None, None]:
        """Run tile by tile; pass on the planes that are complete."""
        slab = RollingSlab(self.plan.tiles, len(self._model.label_values), attempt.sums)
        done, total = 0, len(self.plan.tiles)
        for end, tiles in self.plan.tiles.rows():
            for tile in tiles:
                self._check()
                text = f"tile {done + 1} of {total}" if total > 1 else "segmenting"
                yield Progress(_BAKED + (FINISHED - _BAKED) * done / total, text)
                slab.add(runner(self._image[(slice(None), *tile.slices)]), tile)
                done += 1
            for plane in slab.finish(end):
                self._check()
                sink.push(plane)

    def _choose(self, network: nn.Module, spacing_mm: tuple[float, ...]) -> PrecisionChoice | None:
        """Return the precision chosen for the network, unless one was requested."""
        if self._requested_precision != "auto":
            return None
        choice = choose_precision(
            self._model, network, spacing_mm, self._image, self.device, self._should_stop
        )
        return choice.for_voxels(len(self.plan.tiles) * math.prod(self.plan.tiles.tile_shape))

    def _check(self) -> None:
        if self._should_stop is not None and self._should_stop():
            raise Cancelled
