"""Services whose sweeps take no time: the coarser a spacing, the less of the scan is labeled."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from napari_hyperspace.api.estimate import Estimate
from napari_hyperspace.api.segment import SegmentResult
from napari_hyperspace.api.sweeps.plan import align_labels, plan_sweep
from napari_hyperspace.api.sweeps.sweep import Sweep
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import PostprocessingOptions, Volume
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.protocols import SpacingModel
from tests.gui.conftest import FakeServices


class _FakeSweep(Sweep):
    """A sweep whose spacings are segmented by fake services."""

    services: FakeServices

    @property
    def estimates(self) -> tuple[Estimate, ...]:  # type: ignore[override]
        grid = self._volumes[0].grid
        return tuple(self.services._estimate(grid, one) for one in self.plan.spacings_mm)

    def _segment(
        self, spacing_mm: Triple, should_stop: ShouldStop | None
    ) -> Generator[Progress, None, SegmentResult]:
        stop = should_stop or (lambda: False)
        result = yield from self.services.segment_steps(
            self._volumes, self._model, spacing_mm, self._options, stop
        )
        labels = np.array(result.labels.array)
        labels[: round(2 * spacing_mm[0])] = 0
        return replace(result, labels=result.labels.with_array(labels))


class SweepServices(FakeServices):
    def __init__(self) -> None:
        super().__init__()
        self.swept: list[dict[str, object]] = []

    def sweep(
        self,
        volumes: Sequence[Volume],
        model: SpacingModel,
        *,
        range_mm: tuple[float, float],
        count: int,
        axis: str | None,
        fixed_mm: Triple,
        box: tuple[slice, slice, slice] | None,
        reference: Volume | None,
        postprocessing: PostprocessingOptions,
        options: InferenceOptions,
    ) -> Sweep:
        self.swept.append({"range_mm": range_mm, "count": count, "axis": axis, "box": box})
        self.swept[-1]["postprocessing"] = postprocessing
        plan = plan_sweep(
            volumes,
            model,
            range_mm=range_mm,
            count=count,
            axis=axis,
            fixed_mm=fixed_mm,
            options=options,
        )
        aligned = None if reference is None else align_labels(reference, volumes[0].grid)
        made = _FakeSweep(
            volumes,
            model,
            plan,
            options,
            box=box,
            reference=aligned,
            postprocessing=postprocessing,
        )
        made.services = self
        return made
