"""Run the members of a segmentation one after the other, and average them."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.progress import Progress, as_part
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.best.members import members_at, mirrored_classes
from napari_hyperspace.inference.best.probabilities import Mean, NativeProbabilities
from napari_hyperspace.inference.engine import InferenceRun
from napari_hyperspace.inference.execution import PRECISIONS, Precision, choose_device
from napari_hyperspace.inference.inputs import working_image
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import Plan, make_plan
from napari_hyperspace.inference.protocols import SpacingModel


class BestRun:
    """One scan, run through the members of a model.

    Parameters
    ----------
    volumes
        The scan, one volume per image of the model, on a grid whose axes are perpendicular once
        `working_image` has resampled it.
    plan
        Native grid, and what the first member does.
    model
        Makes the networks.
    options
        How to run; with ``uncertainty``, `uncertainty` is computed.
    should_stop
        As in `InferenceRun`.

    Attributes
    ----------
    device, precision, plan
        Of the first member. All members run in its precision.
    bake_seconds, probe_seconds
        Of all members, as in `InferenceRun`.
    uncertainty
        1 minus the mean probability of each voxel's label, float32 in canonical order; `None` if it
        was not asked for.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        plan: Plan,
        model: SpacingModel,
        options: InferenceOptions,
        should_stop: ShouldStop | None,
    ) -> None:
        self._volumes = volumes
        self._model = model
        self._options = options
        self._should_stop = should_stop
        self.plan = plan
        self.device: torch.device = choose_device(options.device)
        self.precision: Precision = PRECISIONS["fp32"]
        self.bake_seconds = 0.0
        self.probe_seconds = 0.0
        self.uncertainty: NDArray[np.float32] | None = None

    def run(self, labels: NDArray[Any]) -> Generator[Progress, None, None]:
        """Run all members and fill the label map of the native grid (canonical order)."""
        model, options, native = self._model, self._options, self.plan.native
        members = members_at(model, self.plan.spacing_mm, native.spacing_mm, options.outside)
        classes = mirrored_classes(model)
        mean = Mean(model.out_channels, native.shape)
        plan, image = self.plan, None
        for index, member in enumerate(members):
            start, end = index / len(members), (index + 1) / len(members)
            message = f"member {index + 1} of {len(members)}"
            if image is None or member.spacing_mm != members[index - 1].spacing_mm:
                yield Progress(start, f"{message}: preparing the image")
                if index:  # the working spacing was checked, and these are near it
                    near = replace(options, outside="extrapolate", allow_implausible=True)
                    plan = make_plan(native, model, member.spacing_mm, near)
                image = working_image(
                    self._volumes, model, plan, self._should_stop or (lambda: False)
                )
            run = InferenceRun(
                plan,
                model,
                image.flip(-1) if member.mirrored else image,
                options,
                self._should_stop,
                NativeProbabilities,
            )
            yield from as_part(run.run(mean.member), start, end, message)
            mean.add(classes if member.mirrored else None)
            self.bake_seconds += run.bake_seconds
            self.probe_seconds += run.probe_seconds
            if not index:
                self.plan, self.precision = run.plan, run.precision
                options = replace(options, precision=run.precision.name)
            self.device = run.device
        if options.uncertainty:
            self.uncertainty = np.empty(native.shape, np.float32)
        mean.write(model.label_values, labels, self.uncertainty)
