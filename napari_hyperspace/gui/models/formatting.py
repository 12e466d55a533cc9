"""Texts of the dock: descriptions of scans, models, costs and results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hyperspace.core.format import (
    format_bytes,
    format_range,
    format_seconds,
    format_spacing,
)
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.core.volume import PostprocessingStep

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate
    from napari_hyperspace.gui.adapters.layers import Placement
    from napari_hyperspace.nets.accuracy import Expected
    from napari_hyperspace.nets.model import Model

_MAX_NAMES = 4  # label names listed on one line
_OBLIQUE_DEG = 0.5


def format_number(value: float) -> str:
    """Write a number with about three figures: "0.0312", "0.600", "4.25", "36.0", "1230"."""
    size = abs(value)
    if value == 0:
        return "0"
    digits = 3 if size < 0.9995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f}" if size >= 0.1 else f"{value:.3g}"


def format_shape(shape: Sequence[int]) -> str:
    """Write a shape: "36 × 51 × 35"."""
    return " × ".join(str(n) for n in shape)


def suggest_path(scan: str | None, name: str, ending: str) -> str:
    """Return a path for a file made from a scan: next to the scan, named after it.

    Parameters
    ----------
    scan
        Path of the scan; `None` if it has none: then a file name made from ``name``.
    name
        Name of the layer.
    ending
        Such as "labels.nii.gz".
    """
    if scan is None:
        return re.sub(r"[^\w.-]+", "-", name).strip("-") + ending[ending.index(".") :]
    path = Path(scan)
    stem = path.name if path.is_dir() else re.sub(r"\.(nii\.gz|[^.]+)$", "", path.name)
    return str(path.parent / f"{stem}-{ending}")


def describe_scan(placement: Placement) -> str:
    """Describe a layer: shape, spacing, and anything unusual about them."""
    grid = placement.layer_grid
    facts = [format_shape(grid.shape), format_spacing(grid.spacing_mm, collapse=True)]
    if grid.obliqueness_deg > _OBLIQUE_DEG:
        facts.append(f"oblique {grid.obliqueness_deg:.0f}°")
    if placement.metadata.get("orientation_unknown"):
        facts.append("orientation unknown")
    if placement.note or placement.metadata.get("units_assumed"):
        facts.append("no units: taken as mm")
    return " · ".join(facts)


def describe_model(model: Model) -> str:
    """Describe a model on one line: what it segments, and its trained range."""
    names = list(model.label_names.values())
    what = ", ".join(names) if len(names) <= _MAX_NAMES else f"{len(names)} structures"
    return f"{what} · {describe_trained_range(model.trained_range_mm)}"


def describe_card(model: Model) -> str:
    """Describe a model at length, for a tool tip."""
    card, names = model.card, ", ".join(model.label_names.values())
    parts = [card.name, card.description, names, card.license and f"License: {card.license}"]
    return "\n".join(part for part in (*parts, card.citation) if part)


def describe_trained_range(ranges: Sequence[Range] | None) -> str:
    """Write a trained range: "trained at 0.8–4 mm"."""
    if ranges is None:
        return "trained range unknown"
    return f"trained at {format_range(ranges, collapse=True)}"


def describe_accuracy(expected: Expected | None, has_measurements: bool) -> str:
    """Write the Dice to expect and where it was measured: "Expected Dice 0.87 (…)".

    Parameters
    ----------
    expected
        The Dice to expect; `None` if it was not measured near this spacing.
    has_measurements
        Whether the model has measurements at any spacing.
    """
    if expected is None:
        return f"Expected Dice: not measured{' near this spacing' if has_measurements else ''}"
    places = expected.measured_mm
    if len(places) == 1:
        where = f"measured at {format_spacing(places[0], collapse=True)}"
    else:
        low = format_spacing(places[0], collapse=True, unit=False)
        where = f"between measurements at {low} and {format_spacing(places[1], collapse=True)}"
    return f"Expected Dice {expected.dice:.2f} ({where})"


def describe_cost(estimate: Estimate) -> str:
    """Write an estimate on one line: time, memory, and whether the memory is free."""
    verdict = "fits" if estimate.fits else f"only {format_bytes(estimate.available_bytes)} free"
    return f"{format_seconds(estimate.seconds)} · {format_bytes(estimate.peak_bytes)} · {verdict}"


def describe_probe(seconds: float) -> str:
    """Write how long the first run takes to find the fastest precision."""
    return (
        f"{format_seconds(seconds)} of it finds the fastest precision, once at about this spacing."
    )


def describe_outcome(predicted: Estimate, seconds: float, peak_bytes: int) -> str:
    """Write the predicted cost of a run and the measured one."""
    return (
        f"Predicted {format_seconds(predicted.seconds)} · {format_bytes(predicted.peak_bytes)}, "
        f"took {format_seconds(seconds)} · {format_bytes(peak_bytes)}."
    )


def describe_postprocessing(steps: Sequence[PostprocessingStep]) -> str:
    """Write how much each step of post-processing changed; empty if there was none."""
    changed = (
        f"{step['step']} ({format_number(step['changed_mm3'] / 1000)} ml changed)" for step in steps
    )
    return f" Post-processing: {'; '.join(changed)}." if steps else ""
