"""Settings and result of a measurement of CKA."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple, check_spacing
from napari_hyperspace.core.spacing import check_plausible_spacing
from training.cka.layers import NetworkLayer
from training.cka.similarity import Array, slopes

MIN_BATCH = 8
_MOST_STEPS = 10_000
_LARGEST_MARGIN_MM = 1000.0
"""Smallest size of a batch: cases are spread evenly, and every batch needs at least 4 of them."""


@dataclass(frozen=True)
class CKASettings:
    """What to measure. The defaults are those of Joutard et al., section 4.3.

    Parameters
    ----------
    start_mm, stop_mm, steps
        First and last spacing (z, y, x), and the number of evenly spaced spacings between them,
        both included.
    reference_mm
        Spacing (z, y, x) that the others are compared with; `None`: 1 mm if that is between the
        two, else ``start_mm``. It is measured too if it is none of the steps.
    box_mm
        Edge of the box that activations are taken from; shorter if a scan is smaller.
    margin_mm
        Margin around the box in the input of the network.
    batch
        Largest number of cases whose activations are in memory at once.
    seed
        Seed of the order of the cases.
    """

    start_mm: Triple = (0.94, 0.94, 0.94)
    stop_mm: Triple = (2.0, 2.0, 2.0)
    steps: int = 10
    reference_mm: Triple | None = None
    box_mm: float = 32.0
    margin_mm: float = 16.0
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for spacing in (self.start_mm, self.stop_mm, self.reference):
            check_spacing(spacing)
            check_plausible_spacing(spacing)
        for field, found, low, high in (
            ("steps", self.steps, 1, _MOST_STEPS),
            ("batch", self.batch, MIN_BATCH, _MOST_STEPS),
            ("margin_mm", self.margin_mm, 0, _LARGEST_MARGIN_MM),
        ):
            if not low <= found <= high:
                raise HyperspaceError(
                    "out of range", field=field, found=found, expected=f"{low} to {high}"
                )
        if not 0 < self.box_mm < float("inf"):
            raise HyperspaceError(
                "the edge of the box is not positive and finite", field="box_mm", found=self.box_mm
            )

    @property
    def reference(self) -> Triple:
        """The spacing that the others are compared with (z, y, x)."""
        if self.reference_mm is not None:
            return self.reference_mm
        between = [sorted(ends) for ends in zip(self.start_mm, self.stop_mm, strict=True)]
        one_mm = all(low <= 1 <= high for low, high in between)
        straight = len(set(self.start_mm)) == len(set(self.stop_mm)) == 1
        return (1.0, 1.0, 1.0) if one_mm and straight else self.start_mm

    @property
    def spacings(self) -> list[Triple]:
        """All spacings to measure, from the smallest voxels to the largest."""
        steps = np.linspace(self.start_mm, self.stop_mm, self.steps).tolist()
        chosen = {(round(z, 6), round(y, 6), round(x, 6)) for z, y, x in [*steps, self.reference]}
        return sorted(chosen, key=lambda s: (edge_mm(s), s))


def edge_mm(spacing_mm: Triple) -> float:
    """Return the edge of a cube with the volume of a voxel, in mm: the abscissa of slopes."""
    return math.exp(math.fsum(map(math.log, spacing_mm)) / 3)


@dataclass(frozen=True)
class CKAConditions:
    """The conditions of a measurement.

    Parameters
    ----------
    data
        Name of the data set.
    cases
        Number of cases.
    batches
        Number of cases in each batch.
    box_mm
        Edges of the box (z, y, x).
    margin_mm
        Margin around the box.
    seed
        Seed of the order of the cases.
    """

    data: str
    cases: int
    batches: list[int]
    box_mm: list[float]
    margin_mm: float
    seed: int


@dataclass(frozen=True)
class CKAResult:
    """CKA maps, (layers, layers) each; NaN if a layer is constant.

    Parameters
    ----------
    models
        Name and digest of each model.
    layers, skips
        Layers of each model's networks, and the pairs of layers that skip connections join.
    spacings_mm, reference
        Spacings (z, y, x), and the index of the reference.
    within
        For each model and spacing: layers of one network.
    between
        For each model and spacing: layers at the reference × layers at that spacing.
    across
        For each spacing: layers of the first model × layers of the second; empty for one model.
    conditions
        Cases, box and seed.
    """

    models: list[tuple[str, str]]
    layers: list[list[NetworkLayer]]
    skips: list[list[tuple[int, int]]]
    spacings_mm: list[Triple]
    reference: int
    within: list[list[Array]]
    between: list[list[Array]]
    across: list[Array]
    conditions: CKAConditions

    def within_slope(self, model: int) -> Array | None:
        """Return the change of `within` per mm of spacing; `None` for a single spacing."""
        return self._slope(self.within[model], 0)

    def between_slope(self, model: int) -> Array | None:
        """Return the change of `between` per mm from the reference on; `None` if that is last."""
        return self._slope(self.between[model], self.reference)

    def _slope(self, maps: Sequence[Array], first: int) -> Array | None:
        edges = [edge_mm(spacing) for spacing in self.spacings_mm[first:]]
        return slopes(edges, maps[first:]) if len(set(edges)) > 1 else None

    def to_dict(self) -> dict[str, object]:
        """Return plain data, with `None` for NaN."""
        models = range(len(self.models))
        return {
            **dataclasses.asdict(self.conditions),
            "models": [{"name": name, "identity": digest} for name, digest in self.models],
            "layers": [[dataclasses.asdict(x) for x in layers] for layers in self.layers],
            "skip_pairs": self.skips,
            "spacings_mm": self.spacings_mm,
            "reference_mm": self.spacings_mm[self.reference],
            "within": [[_plain(cka) for cka in maps] for maps in self.within],
            "between": [[_plain(cka) for cka in maps] for maps in self.between],
            "across": [_plain(cka) for cka in self.across],
            "within_slope_per_mm": [_plain(self.within_slope(m)) for m in models],
            "between_slope_per_mm": [_plain(self.between_slope(m)) for m in models],
        }


def _plain(values: Array | None) -> list[list[float | None]] | None:
    if values is None:
        return None
    return [[None if np.isnan(v) else round(float(v), 5) for v in row] for row in values]
