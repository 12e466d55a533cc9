"""Compares each spacing of a sweep with the finest so far, or with reference labels."""

from __future__ import annotations

import math
from collections.abc import Mapping

from napari_hyperspace.api.agreement import agreement
from napari_hyperspace.api.sweeps.packed_labels import common_voxels
from napari_hyperspace.api.sweeps.result import SweepPoint
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import Box, crop

__all__ = ["SweepComparison"]

Scores = tuple[dict[int, float], float]
"""Dice by label value, and its mean; NaN where undefined."""


class SweepComparison:
    """The finished spacings, and what they have in common.

    Parameters
    ----------
    label_names
        Of the model.
    box
        Where labels are compared, array order; `None`: everywhere.
    reference
        Reference labels in the array order of the scan; `None`: the finest spacing so far.

    Attributes
    ----------
    points
        In the order in which they were added.
    """

    def __init__(
        self, label_names: Mapping[int, str], box: Box | None, reference: Volume | None
    ) -> None:
        self._label_names = label_names
        self._box = box
        self.reference = reference
        self.points: list[SweepPoint] = []
        self._common: list[Mapping[int, int]] = []  # voxels in common with the last point
        self._with_reference: list[Scores] = []

    def add(self, point: SweepPoint, should_stop: ShouldStop) -> None:
        """Add a spacing, which is finer than all others.

        Raises
        ------
        Cancelled
            Once ``should_stop`` returns true; the spacing is not added then.
        """
        if self.reference is None:
            packed = [other.packed for other in self.points]
            common = [common_voxels(other, point.packed, should_stop) for other in packed]
            self._common = [*common, point.packed.voxels]
        else:
            labels, reference = point.labels(), self.reference
            if self._box is not None:
                labels, reference = crop(labels, self._box), crop(reference, self._box)
            found = agreement(labels, reference, should_stop)
            scores = {value: one.dice for one in found.structures for value in one.values}
            self._with_reference.append((scores, found.mean_dice))
        self.points.append(point)

    def dice(self) -> list[Scores]:
        """Return the Dice of each spacing."""
        if self.reference is not None:
            return list(self._with_reference)
        return [self._with_finest(i) for i in range(len(self.points))]

    def _with_finest(self, index: int) -> Scores:
        ours, finest = self.points[index].packed.voxels, self.points[-1].packed.voxels
        scores = {}
        for value in self._label_names:
            both = ours.get(value, 0) + finest.get(value, 0)
            scores[value] = 2 * self._common[index].get(value, 0) / both if both else math.nan
        known = [score for score in scores.values() if not math.isnan(score)]
        return scores, sum(known) / len(known) if known else math.nan
