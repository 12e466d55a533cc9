"""The quality of a result, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.quality.remarks import Level, Remark, worst

__all__ = ["ROW_NAMES", "Interval", "Quality", "QualityDict", "ScanCheck", "StructureQuality"]

Interval = tuple[float, float]

ROW_NAMES = ("quality", "estimated Dice", "warnings")
"""Names of the columns of `Quality.to_row`."""


class StructureQualityDict(TypedDict):
    """A structure, as plain data."""

    name: str
    volume_ml: float
    agreement: float | None
    estimated_dice: float | None
    interval: list[float] | None


class QualityDict(TypedDict):
    """A quality, as plain data."""

    level: Level
    estimated_dice: float | None
    interval: list[float] | None
    agreement: float | None
    structures: list[StructureQualityDict]
    warnings: list[str]
    notes: list[str]
    second_spacing_mm: list[float] | None
    seconds: float


@dataclass(frozen=True)
class ScanCheck:
    """What can be said about a scan before it is segmented.

    Parameters
    ----------
    level
        ``"ok"``, ``"doubtful"`` or ``"implausible"``. "ok" means that nothing was found, not that
        a result will be good.
    warnings
        Violated rules, one sentence each.
    """

    level: Level
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, remarks: Sequence[Remark]) -> ScanCheck:
        """Return the check with these remarks."""
        return cls(worst(each.level for each in remarks), tuple(each.text for each in remarks))


@dataclass(frozen=True)
class StructureQuality:
    """How good the labels of a structure are.

    Parameters
    ----------
    name
        Its name in the model's card.
    volume_ml
        Its volume in the labels; 0 if it was not found.
    agreement
        Dice of the labels and the second opinion; `None` if neither has it.
    estimated_dice, interval
        Dice to expect against labels made by people, and the range that 90 % of the measured cases
        were in; `None` where nothing was measured.
    """

    name: str
    volume_ml: float
    agreement: float | None = None
    estimated_dice: float | None = None
    interval: Interval | None = None

    def to_dict(self) -> StructureQualityDict:
        """Return plain data."""
        return {
            "name": self.name,
            "volume_ml": round(self.volume_ml, 4),
            "agreement": _rounded(self.agreement),
            "estimated_dice": _rounded(self.estimated_dice),
            "interval": _listed(self.interval),
        }


@dataclass(frozen=True, eq=False)
class Quality:
    """How good a result is.

    Parameters
    ----------
    level
        ``"ok"``: nothing speaks against it; ``"doubtful"``: look at it; ``"implausible"``: do not
        use it without a reason.
    estimated_dice, interval
        Mean over the structures, as in `StructureQuality`; `None` if the model's card has no
        calibration.
    structures
        In the order of the model's card.
    warnings
        Violated rules, one sentence each; they decide the level, with the estimated Dice.
    notes
        What was not checked, and other remarks that do not change the level.
    agreement
        Mean agreement of the structures; `None` without a second opinion.
    second_spacing_mm
        Working spacing (z, y, x) of the second opinion.
    seconds
        Wall time of the assessment.
    disagreement
        If it was asked for: 1 where the second opinion has another label, else 0; uint8 on the grid
        of the labels.
    """

    level: Level
    estimated_dice: float | None
    interval: Interval | None
    structures: tuple[StructureQuality, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    agreement: float | None = None
    second_spacing_mm: Triple | None = None
    seconds: float = 0.0
    disagreement: Volume | None = None

    def __str__(self) -> str:
        lines: list[str] = [self.level]
        if self.estimated_dice is not None and self.interval is not None:
            low, high = self.interval
            lines = [
                f"{self.level}: estimated Dice {self.estimated_dice:.2f} ({low:.2f}–{high:.2f})"
            ]
        elif self.agreement is not None:
            lines = [f"{self.level}: agreement {self.agreement:.2f}"]
        return "\n".join([*lines, *(f"- {text}" for text in (*self.warnings, *self.notes))])

    def to_row(self) -> tuple[str, float | str, str]:
        """Return level, estimated Dice and warnings, for a table of results."""
        dice = self.estimated_dice
        return self.level, "" if dice is None else round(dice, 4), "; ".join(self.warnings)

    def to_dict(self) -> QualityDict:
        """Return plain data that JSON can store."""
        spacing = self.second_spacing_mm
        return {
            "level": self.level,
            "estimated_dice": _rounded(self.estimated_dice),
            "interval": _listed(self.interval),
            "agreement": _rounded(self.agreement),
            "structures": [each.to_dict() for each in self.structures],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
            "second_spacing_mm": None if spacing is None else list(spacing),
            "seconds": round(self.seconds, 3),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _listed(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [round(end, 4) for end in interval]
