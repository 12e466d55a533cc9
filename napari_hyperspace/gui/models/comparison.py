"""What the dock shows of two results that are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hyperspace.core.format import format_bytes, format_seconds, format_spacing
from napari_hyperspace.core.volume import VolumeMetadata
from napari_hyperspace.gui.models.formatting import format_number

if TYPE_CHECKING:
    from napari_hyperspace.api.agreement import Agreement, Disagreement

BLINK_KEY = "K"
"""Shows the other of two results in the same place; free in napari, also for Labels layers."""

_MAX_NAMES = 3
# Vermilion, sky blue and yellow of Okabe and Ito: told apart by the color-blind, too.
DIFFERENT_COLORS = {"first": "#d55e00", "second": "#56b4e9", "both": "#f0e442"}
"""Color of the voxels where the first, the second or both of two label maps have a structure."""


@dataclass(frozen=True)
class ComparedResult:
    """One of two results that are compared.

    Parameters
    ----------
    name
        Name of its layer.
    facts
        What its run took; empty if that is not known.
    """

    name: str
    facts: str


@dataclass(frozen=True)
class ComparisonState:
    """What is compared, and how it is shown.

    Parameters
    ----------
    first, second
        The results.
    summary
        How well they agree.
    in_place
        Whether one of them is shown at a time, in the same place.
    second_shown
        Whether that is the second one.
    different
        Whether the voxels where they differ are shown.
    """

    first: ComparedResult
    second: ComparedResult
    summary: str
    in_place: bool
    second_shown: bool
    different: bool


def describe_run(facts: VolumeMetadata) -> str:
    """Describe what a result took: "12 s · 1.4 GB · bf16-channels-last"; empty if not known."""
    record = facts.get("record")
    if record is None:
        return ""
    parts = [format_seconds(record.seconds), format_bytes(record.peak_bytes), record.precision]
    return " · ".join(parts)


def describe_origin(facts: VolumeMetadata) -> str:
    """Describe what made a result, for tables: "brain 3 mm, post-processed"; empty if unknown."""
    parts = [facts.get("model", "")]
    spacing = facts.get("working_spacing_mm", ())
    if spacing:
        parts.append(format_spacing(spacing, collapse=True))
    text = " ".join(part for part in parts if part)
    return f"{text}, post-processed" if text and facts.get("postprocessing") else text


def describe_agreement(agreement: Agreement) -> str:
    """Describe how well two label maps agree, in one or two sentences."""
    if math.isnan(agreement.mean_dice):
        return "Both are empty."
    share = agreement.different_ml / agreement.labeled_ml if agreement.labeled_ml else 0.0
    text = f"Mean Dice {agreement.mean_dice:.3f}. "
    if not agreement.pairs:
        text += "No voxel differs."
    else:
        text += f"They differ in {format_number(agreement.different_ml)} ml ({share:.1%})."
    for which, names in (("A", agreement.unmatched), ("B", agreement.other_unmatched)):
        if names:
            more = ", …" if len(names) > _MAX_NAMES else ""
            text += f" Not compared, only in {which}: {', '.join(names[:_MAX_NAMES])}{more}."
    return text


def describe_pair(pair: Disagreement) -> str:
    """Name the labels of both results in a voxel where they differ."""
    return f"A {pair.name}, B {pair.other_name}"
