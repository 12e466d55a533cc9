"""A sweep as the dock shows it: what was chosen, the curves, and texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from napari_hyperspace.core.format import format_bytes, format_seconds, format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.gui.models.view import Entries, Tone

if TYPE_CHECKING:
    from napari_hyperspace.api.sweeps.result import SweepSummary

Where = Literal["scan", "view", "rectangle"]
"""What to segment: the whole scan, what the canvas shows, or a rectangle of a Shapes layer."""

DEFAULT_COUNT = 7
_DEFAULT_RANGE_MM = (1.0, 4.0)
AXES = ("z", "y", "x")


@dataclass(frozen=True)
class SweepChoices:
    """What the user has chosen.

    Parameters
    ----------
    low_mm, high_mm
        Finest and coarsest spacing.
    count
        Number of log-spaced spacings.
    axis
        The canonical axis to change; empty: all.
    where
        What to segment.
    reference
        Key of the Labels layer to measure Dice with; empty: the finest spacing.
    loss
        Loss of Dice that is accepted at the knee.
    """

    low_mm: float = _DEFAULT_RANGE_MM[0]
    high_mm: float = _DEFAULT_RANGE_MM[1]
    count: int = DEFAULT_COUNT
    axis: str = ""
    where: Where = "scan"
    reference: str = ""
    loss: float = 0.01


@dataclass(frozen=True)
class StructureCurve:
    """Volume and Dice of a structure at each spacing."""

    value: int
    name: str
    color: str
    volumes_ml: tuple[float, ...]
    dice: tuple[float, ...]


@dataclass(frozen=True)
class SweepCurves:
    """What the plot of a sweep shows; sequences have one entry per spacing, the finest first.

    Parameters
    ----------
    positions_mm
        Where the spacings lie on the axis.
    ends_mm
        Ends of the axis.
    axis
        Name of the axis that was swept; empty: all.
    trained
        Trained range along it; `None` if not known.
    mean_dice
        NaN where undefined.
    dice_with
        What Dice is with.
    seconds, gigabytes
        Taken.
    structures
        Of the model.
    emphasized
        Label values of the structure that the user has chosen; empty: none.
    knee, shown
        Indices of the knee, and of the spacing whose labels are shown.
    """

    positions_mm: tuple[float, ...]
    ends_mm: Range
    axis: str
    trained: Range | None
    mean_dice: tuple[float, ...]
    dice_with: str
    seconds: tuple[float, ...]
    gigabytes: tuple[float, ...]
    structures: tuple[StructureCurve, ...]
    emphasized: tuple[int, ...] = ()
    knee: int | None = None
    shown: int | None = None


@dataclass(frozen=True)
class SweepState:
    """What the section of the dock shows.

    Parameters
    ----------
    choices
        What is chosen.
    references
        (key, name) of the labels that Dice can be measured with; the first is the finest spacing.
    estimate, tone
        The expected time, or why there can be no sweep.
    curves
        The finished spacings; `None`: there are none.
    knee, shown
        Texts about the knee, and about the spacing whose labels are shown.
    can_start
        Whether a sweep can start now.
    """

    choices: SweepChoices
    references: Entries = ()
    estimate: str = ""
    tone: Tone = "plain"
    curves: SweepCurves | None = None
    knee: str = ""
    shown: str = ""
    can_start: bool = False


def default_choices(
    choices: SweepChoices, trained: Sequence[Range] | None, native: Triple | None
) -> SweepChoices:
    """Return choices with the range to start with: from the scan's finest spacing to 4 × it.

    Both ends are inside the trained range.
    """
    low = min(native) if native else _DEFAULT_RANGE_MM[0]
    high = max(_DEFAULT_RANGE_MM[1] / _DEFAULT_RANGE_MM[0] * low, max(native or (0.0,)))
    span = trained_along(trained, "")
    if span is not None:
        low, high = (min(max(end, span[0]), span[1]) for end in (low, high))
        if high < 1.5 * low:
            low, high = span
    return replace(choices, low_mm=_rounded(low), high_mm=_rounded(high))


def _rounded(step_mm: float) -> float:
    """Round to hundredths, as the boxes show it; the tolerance of ranges absorbs it."""
    return float(f"{step_mm:.3g}")


def trained_along(trained: Sequence[Range] | None, axis: str) -> Range | None:
    """Return the trained range of an axis, or the one that all axes share (``""``)."""
    if not trained:
        return None
    if axis:
        place = AXES.index(axis) - (3 - len(trained))
        return trained[place] if place >= 0 else None
    low, high = max(low for low, _ in trained), min(high for _, high in trained)
    return (low, high) if low <= high else None


def make_curves(
    summary: SweepSummary,
    choices: SweepChoices,
    trained: Sequence[Range] | None,
    loss: float,
    emphasized: Sequence[int],
    shown: int | None,
) -> SweepCurves:
    """Return the curves of the finished spacings.

    Parameters
    ----------
    summary
        The finished spacings, the coarsest first.
    choices
        What was swept.
    trained
        Trained range of the model.
    loss
        Allowed loss of Dice.
    emphasized
        Label values of the chosen structure.
    shown
        Index in ``summary`` of the spacing whose labels are shown.
    """
    points = summary.points[::-1]
    last = len(points) - 1
    knee = summary.knee(loss)
    curves = tuple(
        StructureCurve(
            value,
            name,
            summary.label_colors.get(value, "#808080"),
            tuple(point.volumes_ml[value] for point in points),
            tuple(scores.get(value, math.nan) for scores in summary.dice[::-1]),
        )
        for value, name in summary.label_names.items()
    )
    return SweepCurves(
        tuple(point.position_mm for point in points),
        (choices.low_mm, choices.high_mm),
        choices.axis,
        trained_along(trained, choices.axis),
        summary.mean_dice[::-1],
        "reference" if summary.has_reference else "the finest",
        tuple(point.seconds for point in points),
        tuple(point.peak_bytes / 1e9 for point in points),
        curves,
        tuple(emphasized),
        None if knee is None else last - knee,
        None if shown is None else last - shown,
    )


def describe_point(summary: SweepSummary, index: int) -> str:
    """Write about one spacing: "2 mm · Dice 0.982 · 3.1 s · 310 MB"."""
    point, dice = summary.points[index], summary.mean_dice[index]
    facts = [
        "no structure" if math.isnan(dice) else f"Dice {dice:.3f}",
        format_seconds(point.seconds),
        format_bytes(point.peak_bytes),
    ]
    if not point.trained:
        facts.append("outside the trained range")
    spacing = format_spacing(point.spacing_mm, collapse=True, digits=3)
    return " · ".join((spacing, *facts))


def describe_knee(summary: SweepSummary, loss: float) -> str:
    """Write where the knee is; empty if there is none yet."""
    knee = summary.knee(loss)
    if knee is None or len(summary.points) < 2:
        return ""
    return f"Knee: {describe_point(summary, knee)}"
