"""What a sweep found at each spacing, and its summary: Dice, knee, tables."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_hyperspace.api.estimate import Estimate
from napari_hyperspace.api.sweeps.packed_labels import PackedLabels
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.volume import Volume, VolumeMetadata

__all__ = ["DEFAULT_LOSS", "SweepPoint", "SweepSummary", "knee_of"]

DEFAULT_LOSS = 0.01
"""Loss of mean Dice that is accepted at the knee."""

_ROUNDING = 1e-9  # Dice are quotients of whole numbers; 1 - 0.99 is not exactly 0.01


@dataclass(frozen=True, eq=False)
class SweepPoint:
    """The segmentation at one spacing of a sweep.

    Parameters
    ----------
    spacing_mm
        Working spacing, canonical order (z, y, x).
    position_mm
        Where it lies on the axis of a plot: the spacing along the swept axis, or the geometric mean
        of the spacings that the network sees.
    trained
        Whether it is inside the trained range of the model; true if that is unknown.
    packed
        The labels on the scan's own grid, compressed; 0 outside the box of the sweep.
    volumes_ml
        Volume of each structure, by its label value.
    seconds
        Wall time of a run at this spacing: with the coarse first pass of a model with localization,
        even if the sweep reused its result, and without `setup_seconds`.
    setup_seconds
        Wall time of measuring the fastest precision, which only the first run at about this spacing
        takes.
    peak_bytes
        Largest growth of memory during the run. Memory that an earlier run left to the process does
        not count, so that it may be less than predicted.
    predicted
        The estimate before the sweep.
    precision, device
        In which precision and where the network ran.
    grid, metadata
        Of the labels.
    """

    spacing_mm: Triple
    position_mm: float
    trained: bool
    packed: PackedLabels
    volumes_ml: Mapping[int, float]
    seconds: float
    setup_seconds: float
    peak_bytes: int
    predicted: Estimate
    precision: str
    device: str
    grid: Grid
    metadata: VolumeMetadata

    def labels(self) -> Volume:
        """Return the labels on the scan's own grid."""
        return Volume(self.packed.unpack(), self.grid, "", self.metadata)


@dataclass(frozen=True, eq=False)
class SweepSummary:
    """The finished spacings of a sweep, compared.

    Parameters
    ----------
    points
        The finished spacings, the coarsest first.
    dice
        Dice of each structure at each of them, by label value, with the finest finished spacing or
        with the reference labels. NaN where both lack the structure.
    mean_dice
        Mean over the structures that either of both has; NaN without any.
    label_names, label_colors
        Of the model.
    axis
        The canonical axis that was swept (0: z, 1: y, 2: x); `None`: several.
    has_reference
        Whether Dice is with reference labels, and not with the finest finished spacing.
    """

    points: tuple[SweepPoint, ...]
    dice: tuple[Mapping[int, float], ...]
    mean_dice: tuple[float, ...]
    label_names: Mapping[int, str]
    label_colors: Mapping[int, str]
    axis: int | None
    has_reference: bool

    def knee(self, loss: float = DEFAULT_LOSS) -> int | None:
        """Return the index of the knee; see `knee_of`."""
        found = knee_of(self.mean_dice[::-1], loss)
        return None if found is None else len(self.points) - 1 - found

    def to_csv(self, loss: float = DEFAULT_LOSS) -> str:
        """Return one row per spacing, the coarsest first, under a line of column names."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        rows = [_flat(row) for row in self.to_dict(loss)["points"]]
        if rows:
            writer.writerow(rows[0])
        for row in rows:
            writer.writerow(_cell(value) for value in row.values())
        return text.getvalue()

    def to_dict(self, loss: float = DEFAULT_LOSS) -> dict[str, Any]:
        """Return plain data for JSON; undefined numbers are `None`."""
        knee = self.knee(loss)
        return {
            "dice_with": "reference labels" if self.has_reference else "finest spacing",
            "loss": loss,
            "knee_mm": None if knee is None else list(self.points[knee].spacing_mm),
            "points": [self._row(i, i == knee) for i in range(len(self.points))],
        }

    def _row(self, index: int, is_knee: bool) -> dict[str, Any]:
        point, dice = self.points[index], self.dice[index]
        return {
            "spacing_mm": list(point.spacing_mm),
            "trained": point.trained,
            "knee": is_knee,
            "mean_dice": _number(self.mean_dice[index]),
            "seconds": round(point.seconds, 4),
            "setup_seconds": round(point.setup_seconds, 4),
            "predicted_seconds": _number(
                point.predicted.seconds - point.predicted.probe_seconds, digits=4
            ),
            "peak_bytes": point.peak_bytes,
            "predicted_peak_bytes": point.predicted.peak_bytes,
            "working_shape": list(point.predicted.working_shape),
            "precision": point.precision,
            "device": point.device,
            "volumes_ml": {
                name: round(point.volumes_ml[value], 6) for value, name in self.label_names.items()
            },
            "dice": {
                name: _number(dice.get(value, math.nan)) for value, name in self.label_names.items()
            },
        }


def knee_of(mean_dice: Sequence[float], loss: float = DEFAULT_LOSS) -> int | None:
    """Return the index of the knee: the coarsest spacing that loses no more than allowed.

    From the spacing with the highest mean Dice (the finest of several equal ones), go to the next
    coarser one as long as its mean Dice is at least the highest one minus ``loss``. The knee is
    where this ends. A still coarser spacing that agrees again, perhaps by chance, is no knee.

    If Dice is with the finest spacing, that one has the highest, 1. If it is with reference labels,
    spacings finer than the best one play no part.

    Parameters
    ----------
    mean_dice
        Mean Dice at each spacing, the finest first. A NaN (no structure in either label map) ends
        the way to coarser spacings.
    loss
        Allowed loss of mean Dice, at least 0. A difference of 1e-9 beyond it counts as rounding.

    Returns
    -------
    int or None
        `None` if all values are NaN.
    """
    known = [value for value in mean_dice if not math.isnan(value)]
    if not known:
        return None
    best = max(known)
    knee = next(i for i, value in enumerate(mean_dice) if value == best)
    while knee + 1 < len(mean_dice) and best - mean_dice[knee + 1] <= loss + _ROUNDING:
        knee += 1
    return knee


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of `SweepSummary.to_dict` with one value per column."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key == "spacing_mm":
            flat |= {
                f"spacing_{axis}_mm": f"{step:.6g}" for axis, step in zip("zyx", value, strict=True)
            }
        elif key == "working_shape":
            flat[key] = " ".join(str(size) for size in value)
        elif key == "volumes_ml":
            flat |= {f"volume_ml {name}": volume for name, volume in value.items()}
        elif key == "dice":
            flat |= {f"dice {name}": one for name, one in value.items()}
        else:
            flat[key] = value
    return flat


def _cell(value: object) -> object:
    """Write a value of the table: undefined numbers as nothing, truth as 1 and 0."""
    return "" if value is None else int(value) if isinstance(value, bool) else value


def _number(value: float, digits: int = 6) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
