"""A model's card as plain text: which model for this scan?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from napari_hyperspace.core.format import format_range, format_spacing
from napari_hyperspace.nets.card import DiceRecord, GuidanceConfig, ModelCard, RealDice

__all__ = ["card_text", "describe_guidance", "one_line"]

_MAX_NAMES = 6  # label names listed on one line
_END = re.compile(r"(?<=\w)\.(?:\s|$)")  # of a sentence


def one_line(card: ModelCard) -> str:
    """Return what a model is for: the first sentence of its description, or its labels."""
    text = " ".join(card.description.split())
    if text:
        return _END.split(text, maxsplit=1)[0].rstrip(".")
    names = [label.name for label in card.labels]
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"segments {', '.join(names[:_MAX_NAMES])}{more}"


def card_text(card: ModelCard) -> str:
    """Return what a user needs to choose a model, as paragraphs of plain text.

    Description, structures, input, trained range, data, license and citation, measured Dice.
    """
    return "\n\n".join(part for part in _parts(card) if part)


def _parts(card: ModelCard) -> Iterator[str]:
    yield card.description
    names = ", ".join(f"{label.value} {label.name}" for label in card.labels)
    yield f"Structures: {names}"
    yield f"Input: {', '.join(card.channel_names)}"
    yield f"Guidance: {describe_guidance(card.guidance)}" if card.guidance else ""
    ranges = card.trained_range_mm
    trained = f"{format_range(ranges, collapse=True)} (z, y, x)" if ranges else "not stated"
    yield f"Trained range: {trained}"
    data = card.training.get("data")
    yield f"Training data: {data}" if isinstance(data, str) and data else ""
    yield f"License: {card.license or 'not stated'}"
    yield f"Cite: {card.citation}" if card.citation else ""
    yield _dice_text(card.dice)
    yield _real_text(card.real)


def describe_guidance(guidance: GuidanceConfig) -> str:
    """Return what a guided model is guided by, on one line."""
    low, high = guidance.spacing_mm
    kind = "classes" if guidance.kind == "one-hot" else "distances to their surfaces"
    also = "; also trained without" if guidance.optional else ""
    return f"the same structures at {low:g} to {high:g} mm, as {kind}{also}"


def _dice_text(records: tuple[DiceRecord, ...]) -> str:
    """Return the measured Dice, one line per spacing."""
    if not records:
        return "Measured Dice: none stated"
    lines = []
    for one in records:
        cases = "" if one.cases is None else f", {one.cases} cases"
        worst = min(one.dice, key=one.dice.__getitem__, default="")
        lowest = f"; lowest {one.dice[worst]:.3f} ({worst})" if worst else ""
        where = format_spacing(one.spacing_mm, collapse=True)
        lines.append(f"  {where}: mean {one.mean:.3f}{lowest}{cases}")
    return "\n".join(["Measured Dice, on the working grid:", *lines])


def _real_text(records: tuple[RealDice, ...]) -> str:
    """Return the Dice on real scans, one line per contrast and spacing."""
    lines = []
    for one in records:
        where = format_spacing(one.spacing_mm, collapse=True)
        cases = "" if one.cases is None else f", {one.cases} scans"
        kind = "agreement" if one.agreement else "mean"
        found = f"{kind} {one.mean:.3f} with {one.compared_with}{cases}"
        lines.append(f"  {one.contrast.upper()}, {where}: {found}")
    return "\n".join(["Dice on real scans, on their own grids:", *lines]) if lines else ""
