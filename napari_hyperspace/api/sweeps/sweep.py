"""Segment a scan at several spacings, from coarse to fine, and compare the results.

Each result can be used as soon as it is finished, and is kept when the sweep is stopped.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Unpack, cast

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.api.estimate import Estimate, estimate_curve
from napari_hyperspace.api.scan_block import ScanBlock, seen_box
from napari_hyperspace.api.segment import (
    Localized,
    SegmentResult,
    first_pass_spacing,
    localize_steps,
    segment_box_steps,
    segment_steps,
)
from napari_hyperspace.api.sweeps.comparison import SweepComparison
from napari_hyperspace.api.sweeps.packed_labels import PackedLabels, stability
from napari_hyperspace.api.sweeps.plan import SweepPlan, align_labels, check_box, plan_sweep
from napari_hyperspace.api.sweeps.postprocessing import labels_after, postprocessed
from napari_hyperspace.api.sweeps.progress import SweepProgress, reported
from napari_hyperspace.api.sweeps.result import SweepPoint, SweepSummary
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress, as_part
from napari_hyperspace.core.spacing import Range, in_ranges
from napari_hyperspace.core.volume import PostprocessingOptions, Volume, VolumeMetadata
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import as_volumes
from napari_hyperspace.inference.localize import Box, crop, paste
from napari_hyperspace.inference.normalized import NormalizedModel
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.precision import choice_key
from napari_hyperspace.inference.protocols import SpacingModel

__all__ = ["Sweep", "sweep"]

_LOCALIZATION = 0.2  # fraction of a spacing's progress for the coarse first pass
_REPORTED = 0.02  # fraction of the whole progress at each spacing for comparing it


def sweep(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacings: Sequence[float | Sequence[float]] | None = None,
    *,
    range_mm: tuple[float, float] | None = None,
    count: int = 9,
    axis: str | None = None,
    fixed_mm: Sequence[float] | None = None,
    box: Sequence[slice] | None = None,
    reference: Volume | None = None,
    postprocessing: PostprocessingOptions | None = None,
    options: InferenceOptions | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Sweep:
    """Segment a scan at several working spacings, from coarse to fine.

    Nothing runs before the returned object is iterated:

    >>> sweep = hs.sweep(volume, model, range_mm=(1, 5), count=9)       # doctest: +SKIP
    >>> sweep.seconds                                                   # doctest: +SKIP
    41.7
    >>> for point in sweep:                                             # doctest: +SKIP
    ...     print(point.spacing_mm, point.seconds, point.volumes_ml)
    >>> sweep.summary.points[sweep.summary.knee(loss=0.01)].spacing_mm  # doctest: +SKIP
    >>> hs.write(sweep.stability(), "stability.nii.gz")                 # doctest: +SKIP

    Parameters
    ----------
    volume, model
        As in `segment`.
    spacings
        Working spacings in mm, each a number or (z, y, x) in canonical order.
    range_mm, count
        Instead of ``spacings``: so many log-spaced ones, both ends included. Isotropic; for a 2-D
        model in the plane.
    axis
        ``"z"``, ``"y"`` or ``"x"`` (canonical): sweep only this one.
    fixed_mm
        Spacing (z, y, x) whose other two numbers are kept while an axis is swept; `None`: the
        scan's own, moved into the trained range.
    box
        Part of the scan to segment: one slice per array axis; `None`: all of it. The intensities
        are normalized over the whole scan, the network sees 16 mm more on each side, and a model
        with localization does not localize, as in a live preview. So labels in a box can differ
        from those of the whole scan.
    reference
        Labels on the grid of the scan to measure Dice with, in the box if there is one; `None`: the
        finest finished spacing. Structures are matched by name; see `agreement`.
    postprocessing
        What is done to the labels of each spacing, as by `postprocess`: in the box, if there is
        one. Its time is not included in that of the spacings.
    options, **keywords
        As in `segment`. Outside the trained range, spacings are refused, clamped (duplicates are
        left out) or extrapolated, as `InferenceOptions.outside` says.

    Raises
    ------
    HyperspaceError
        If a spacing, the box or the reference labels are refused.
    """
    options = options_from(options, keywords)
    volumes = as_volumes(volume, model)
    plan = plan_sweep(
        volumes,
        model,
        spacings,
        range_mm=range_mm,
        count=count,
        axis=axis,
        fixed_mm=fixed_mm,
        options=options,
    )
    inside = None if box is None else check_box(box, volumes[0].shape)
    aligned = None if reference is None else align_labels(reference, volumes[0].grid)
    return Sweep(
        volumes,
        model,
        plan,
        options,
        box=inside,
        reference=aligned,
        postprocessing=postprocessing,
    )


class Sweep:
    """A sweep over spacings, made by `sweep`. Iterating over it runs the spacings not yet finished.

    Parameters
    ----------
    volumes, model, options
        What to segment, and how.
    plan
        The spacings.
    box
        Array order; `None`: the whole scan.
    reference
        In the array order of the scan; `None`: the finest finished spacing.
    postprocessing
        What is done to the labels of each spacing.

    Attributes
    ----------
    plan
        The spacings.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        model: SpacingModel,
        plan: SweepPlan,
        options: InferenceOptions,
        *,
        box: Box | None = None,
        reference: Volume | None = None,
        postprocessing: PostprocessingOptions | None = None,
    ) -> None:
        self.plan = plan
        self._volumes = volumes
        self._model = model
        self._options = options
        self._box = box
        self._postprocessing = postprocessing or PostprocessingOptions()
        names, self._label_colors = labels_after(model, self._postprocessing)
        self._label_names = names
        self._comparison = SweepComparison(names, box, reference)
        self._localized: Localized | None = None
        self._block: ScanBlock | None = None

    @property
    def model_name(self) -> str:
        """Name of the model."""
        return self._model.name

    @property
    def trained_range_mm(self) -> tuple[Range, ...] | None:
        """Trained range of the model, in canonical order; `None` if unknown."""
        return self._model.trained_range_mm

    # -- before it starts ----------------------------------------------------------------------

    @cached_property
    def estimates(self) -> tuple[Estimate, ...]:
        """The estimate of each spacing of the plan, as a run of its own."""
        spacings = self.plan.spacings_mm
        if self._box is None:
            return tuple(estimate_curve(self._volumes, self._model, spacings, self._options))
        box = seen_box(self._box, self._volumes[0].grid)
        seen = [crop(each, box) for each in self._volumes]
        normalized = NormalizedModel(self._model)
        return tuple(estimate_curve(seen, normalized, spacings, self._options))

    @property
    def seconds(self) -> float:
        """Estimated time of the whole sweep.

        The precision is measured once for neighboring spacings, and a first pass that several
        spacings have in common runs once.
        """
        device = choose_device(self._options.device)
        localization = None if self._box is not None else self._model.localization
        total, probed, localized = 0.0, set[str](), set[Triple]()
        for spacing, cost in zip(self.plan.spacings_mm, self.estimates, strict=True):
            total += cost.seconds - cost.probe_seconds - cost.localization_seconds
            key = choice_key(self._model, device, spacing[-self._model.n_dim :])
            if key not in probed:
                total += cost.probe_seconds
                probed.add(key)
            if localization is not None:
                coarse = self._first_pass(spacing)
                if coarse not in localized:
                    total += cost.localization_seconds
                    localized.add(coarse)
        return total

    # -- running -------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[SweepPoint]:
        for step in self.steps():
            if step.summary is not None:
                yield step.summary.points[-1]

    def steps(self, should_stop: ShouldStop | None = None) -> Generator[SweepProgress, None, None]:
        """Segment at the spacings that are not finished, from coarse to fine.

        Parameters
        ----------
        should_stop
            As in `segment_steps`.

        Yields
        ------
        SweepProgress
            Before each step, and with a summary after each spacing.

        Raises
        ------
        Cancelled
            Once ``should_stop`` returns true. What is finished is kept, and another call continues.
        HyperspaceError
            As `segment_steps`; finished spacings are kept then, too.
        """
        seconds = [cost.seconds for cost in self.estimates]
        # The time of a precision that was not calibrated is not known.
        weights = seconds if all(0 < one < math.inf for one in seconds) else [1.0] * len(seconds)
        done = {point.spacing_mm for point in self._comparison.points}
        start, n = 0.0, len(weights)
        for i, (spacing, weight) in enumerate(zip(self.plan.spacings_mm, weights, strict=True)):
            end = start + weight / sum(weights)
            if spacing not in done:
                message = f"spacing {i + 1} of {n}"
                steps = self._labels(spacing, should_stop)
                part = as_part(steps, start, end - _REPORTED / n)
                result = yield from reported(part, message, sum(weights[i + 1 :]))
                self._add(result, i, should_stop)
                yield SweepProgress(end, message, summary=self.summary)
            start = end

    def add_finished(self, point: SweepPoint) -> None:
        """Take a spacing of the plan that an earlier sweep has finished."""
        self._comparison.add(point, lambda: False)

    @property
    def summary(self) -> SweepSummary:
        """The finished spacings, compared."""
        dice = self._comparison.dice()
        return SweepSummary(
            tuple(self._comparison.points),
            tuple(scores for scores, _ in dice),
            tuple(mean for _, mean in dice),
            dict(self._label_names),
            dict(self._label_colors),
            self.plan.axis,
            self._comparison.reference is not None,
        )

    def stability(self, should_stop: ShouldStop = lambda: False) -> Volume:
        """Return the largest share of the finished spacings that agree on each voxel's label.

        Every spacing counts the same, so that, log-spaced, each octave does. The value is 1 where
        all agree; also outside the box of the sweep, where no spacing has labels. float32, on the
        scan's own grid; see `packed_labels.stability`.
        """
        native = self._volumes[0]
        share: NDArray[np.float32] = stability(
            [point.packed for point in self._comparison.points], should_stop
        )
        kept = {k: v for k, v in native.metadata.items() if k in ("path", "format", "header")}
        return native.with_array(share, metadata=cast(VolumeMetadata, kept))

    # -- one spacing ---------------------------------------------------------------------------

    def _first_pass(self, spacing_mm: Triple) -> Triple:
        localization = self._model.localization
        assert localization is not None
        return first_pass_spacing(
            self._volumes, self._model, localization, spacing_mm, self._options
        )

    def _labels(
        self, spacing_mm: Triple, should_stop: ShouldStop | None
    ) -> Generator[Progress, None, SegmentResult]:
        """Segment at a spacing, and post-process the labels."""
        result = yield from self._segment(spacing_mm, should_stop)
        if self._box is not None:  # done in the box
            return result
        return replace(result, labels=postprocessed(result.labels, self._postprocessing))

    def _segment(
        self, spacing_mm: Triple, should_stop: ShouldStop | None
    ) -> Generator[Progress, None, SegmentResult]:
        volumes, model, options = self._volumes, self._model, self._options
        if self._box is not None:
            return (yield from self._segment_box(self._box, spacing_mm, should_stop))
        if model.localization is None:
            return (
                yield from segment_steps(
                    volumes, model, spacing_mm, options, should_stop=should_stop
                )
            )
        started = 0.0
        localized = self._localized
        # The result of the first pass depends on its spacing alone: reusing it changes no label.
        if localized is None or localized.spacing_mm != self._first_pass(spacing_mm):
            started = _LOCALIZATION
            localized = yield from as_part(
                localize_steps(volumes, model, spacing_mm, options, should_stop), 0.0, started
            )
        steps = segment_box_steps(volumes, model, spacing_mm, localized, options, should_stop)
        result = yield from as_part(steps, started, 1.0)
        self._localized = localized
        return result

    def _segment_box(
        self, box: Box, spacing_mm: Triple, should_stop: ShouldStop | None
    ) -> Generator[Progress, None, SegmentResult]:
        yield Progress(0.0, "preparing the image")
        if self._block is None:
            self._block = ScanBlock.of(self._volumes, self._model, box)
        block = self._block
        result = yield from segment_steps(
            block.images, block.model, spacing_mm, self._options, should_stop=should_stop
        )
        inside = postprocessed(crop(result.labels, block.kept), self._postprocessing)
        array = paste(inside.array, block.kept, result.labels.shape)
        whole = result.labels.with_array(array, metadata=inside.metadata)
        return replace(result, labels=block.paste(whole, self._volumes[0]))

    # -- comparing -----------------------------------------------------------------------------

    def _add(self, result: SegmentResult, index: int, should_stop: ShouldStop | None) -> None:
        spacing = self.plan.spacings_mm[index]
        packed = PackedLabels.pack(result.labels.array)
        unit = result.labels.grid.voxel_volume_ml
        self._comparison.add(
            SweepPoint(
                spacing,
                self.plan.position_mm(spacing),
                in_ranges(spacing, self._model.trained_range_mm),
                packed,
                {value: packed.voxels.get(value, 0) * unit for value in self._label_names},
                result.seconds - result.probe_seconds,
                result.probe_seconds,
                result.peak_bytes,
                self.estimates[index],
                result.precision,
                result.device,
                result.labels.grid,
                cast(VolumeMetadata, dict(result.labels.metadata)),
            ),
            should_stop or (lambda: False),
        )
