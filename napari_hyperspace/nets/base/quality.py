"""What a card says about good results: usual figures, and how agreement is related to Dice."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from napari_hyperspace.nets.base.config import Config, Range

Share = Annotated[float, Field(ge=0, le=1)]


def _check_ordered(name: str, ranges: tuple[Range, ...]) -> None:
    for low, high in ranges:
        if low > high:
            raise ValueError(f"{name} needs smallest ≤ largest; found {low, high}")


class StructureRanges(Config):
    """Plausible figures of one structure; those of the training labels, widened."""

    volume_ml: Range
    """Smallest and largest volume."""
    extent_mm: tuple[Range, Range, Range] | None = None
    """Smallest and largest length per axis (z, y, x); null: not known."""
    center_mm: tuple[Range, Range, Range] | None = None
    """Mean position relative to that of all structures (z, y, x); null: not known."""
    main_share: Share = 0.0
    """Smallest share of its voxels in the two largest connected parts."""
    brightness: Range | None = None
    """Share of the scan's voxels that are darker than its mean intensity; null: any contrast."""
    always: bool = True
    """Whether every training case had it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name, ranges in (
            ("volume_ml", (self.volume_ml,)),
            ("extent_mm", self.extent_mm or ()),
            ("center_mm", self.center_mm or ()),
            ("brightness", (self.brightness,) if self.brightness else ()),
        ):
            _check_ordered(name, ranges)
        return self


class ScanRanges(Config):
    """What the scan must be."""

    field_of_view_mm: tuple[Range, Range, Range] | None = None
    """Smallest and largest extent per axis (z, y, x); null: any."""
    like_ct: bool | None = None
    """Whether intensities look like those of a CT, with about -1000 in air; null: any, or not
    known."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_ordered("field_of_view_mm", self.field_of_view_mm or ())
        return self


class DiceCalibration(Config):
    """How the agreement of two passes is related to Dice, measured on cases with known labels."""

    points: Annotated[tuple[tuple[Share, Share], ...], Field(min_length=2)]
    """Agreement and Dice, both increasing; linear between the points."""
    offsets: dict[str, float] = Field(default_factory=dict)
    """What is added for a structure."""
    residuals: Range
    """Dice minus estimated Dice of a structure: range of the middle 90 %."""
    mean_residuals: Range
    """The same for the mean over the structures."""
    usual_dice: Share
    """Estimated Dice (mean) that 98 % of the scans without artificial defects exceed."""
    cases: Annotated[int, Field(ge=1)]
    """Number of results that it was measured on."""
    measured_on: str = ""
    """What they were, in words."""

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        for column in zip(*self.points, strict=True):
            if any(after < before for before, after in pairwise(column)):
                raise ValueError(f"points: both numbers must increase; found {self.points}")
        for name in ("residuals", "mean_residuals"):
            _check_ordered(name, (getattr(self, name),))
        return self

    def dice(self, name: str, agreement: float) -> float:
        """Return the estimated Dice of a structure."""
        known, dice = zip(*self.points, strict=True)
        value = float(np.interp(agreement, known, dice))
        # Where two passes have nothing in common, no offset makes a structure better.
        value += self.offsets.get(name, 0.0) * min(1.0, agreement)
        return min(max(value, 0.0), 1.0)


class QualityConfig(Config):
    """What is known about good results of a model."""

    structures: dict[str, StructureRanges] = Field(default_factory=dict)
    """Plausible figures, by name of the label."""
    scan: ScanRanges = ScanRanges()
    """What the scan must be."""
    calibration: DiceCalibration | None = None
    """From agreement to Dice; null: not measured."""
    cases: Annotated[int, Field(ge=0)] = 0
    """Number of label maps that the figures are from."""
