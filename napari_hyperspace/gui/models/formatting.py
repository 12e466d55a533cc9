"""Numbers as users read them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_STEPS = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
_FEW_NAMES = 4


def duration(seconds: float) -> str:
    """Write a time with two figures or so: "3.1 ms", "2.4 s", "3 min 20 s"."""
    if seconds < 1e-3:
        return f"{seconds * 1e3:.2f} ms"
    if seconds < 0.995:
        return f"{_figures(seconds * 1e3)} ms"
    if seconds < 99.5:
        return f"{_figures(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def size(n_bytes: float) -> str:
    """Write an amount of memory: "310 MB", "1.2 GB"."""
    for unit, step in _STEPS:
        if n_bytes >= step * 0.9995:
            return f"{_figures(n_bytes / step)} {unit}"
    return f"{n_bytes:.0f} B"


def spacing(spacing_mm: Sequence[float]) -> str:
    """Write a spacing: "1 mm" where all axes agree, else "3 × 1 × 1 mm"."""
    steps = [f"{step:.3g}" for step in spacing_mm]
    return f"{steps[0] if len(set(steps)) == 1 else ' × '.join(steps)} mm"


def number(value: float) -> str:
    """Write a number with three figures or so: "0.0312", "0.600", "4.25", "36.0", "1230"."""
    size = abs(value)
    if value == 0:
        return "0"
    digits = 3 if size < 0.9995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f}" if size >= 0.1 else f"{value:.3g}"


def accuracy(expected: Any, anything: bool) -> str:
    """Write the Dice to expect and where that is known from: "Expected Dice 0.87 (…)".

    Parameters
    ----------
    expected
        See `napari_hyperspace.nets.accuracy.Expected`.
    anything
        Whether anything was measured at all.
    """
    if expected is None:
        return f"Expected Dice: not measured{' near this spacing' if anything else ''}"
    places = expected.measured_mm
    if len(places) == 1:
        where = f"measured at {spacing(places[0])}"
    else:
        where = f"between measurements at {places[0][0]:g} and {spacing(places[1])}"
    return f"Expected Dice {expected.dice:.2f} ({where})"


def beside(scan: str | None, name: str, ending: str) -> str:
    """Return where something made of a scan would go: beside it, under its name.

    Parameters
    ----------
    scan
        Path of the scan; `None` if it has none: then under the name given.
    ending
        Such as "labels.nii.gz".
    """
    if scan is None:
        return re.sub(r"[^\w.-]+", "-", name).strip("-") + ending[ending.index(".") :]
    path = Path(scan)
    stem = path.name if path.is_dir() else re.sub(r"\.(nii\.gz|[^.]+)$", "", path.name)
    return str(path.parent / f"{stem}-{ending}")


def shape(sizes: Sequence[int]) -> str:
    """Write a shape: "36 × 51 × 35"."""
    return " × ".join(str(n) for n in sizes)


def cost(estimate: Any) -> str:
    """Write an estimate on one line: time, memory, and whether it fits."""
    verdict = "fits" if estimate.fits else f"only {size(estimate.available_bytes)} free"
    return f"{duration(estimate.seconds)} · {size(estimate.peak_bytes)} · {verdict}"


def probe(seconds: float) -> str:
    """Say what the first run does besides."""
    return f"{duration(seconds)} of it finds the fastest way to run, once at about this spacing."


def comparison(predicted: Any, seconds: float, peak_bytes: int | None) -> str:
    """Write what was predicted beside what was measured."""
    took = duration(seconds) + (f" · {size(peak_bytes)}" if peak_bytes is not None else "")
    return f"Predicted {duration(predicted.seconds)} · {size(predicted.peak_bytes)}, took {took}."


def postprocessing(steps: Sequence[Mapping[str, Any]]) -> str:
    """Say how much each step of post-processing changed; empty where there was none."""
    changed = (
        f"{step['step']} ({number(step['changed_mm3'] / 1000)} ml changed)" for step in steps
    )
    return f" Post-processing: {'; '.join(changed)}." if steps else ""


def scan(placement: Any) -> str:
    """Describe a layer: its size and spacing, and what is odd about it."""
    grid = placement.layer_grid
    facts = [shape(grid.shape), spacing(grid.spacing_mm)]
    if grid.obliqueness_deg > 0.5:
        facts.append(f"oblique {grid.obliqueness_deg:.0f}°")
    if placement.metadata.get("orientation_unknown"):
        facts.append("orientation unknown")
    if placement.note or placement.metadata.get("units_assumed"):
        facts.append("no units: taken as mm")
    return " · ".join(facts)


def model(model: Any) -> str:
    """Describe a model on one line: what it segments, and the spacings it has seen."""
    names = list(model.label_names.values())
    what = ", ".join(names) if len(names) <= _FEW_NAMES else f"{len(names)} structures"
    return f"{what} · {trained(model.trained_range_mm)}"


def card(model: Any) -> str:
    """Describe a model at length, for a tool tip."""
    card, names = model.card, ", ".join(model.label_names.values())
    parts = [card.name, card.description, names, card.license and f"License: {card.license}"]
    return "\n".join(part for part in (*parts, card.citation) if part)


def trained(ranges: Sequence[tuple[float, float]] | None) -> str:
    """Write a trained range: "trained at 0.8–4 mm"."""
    if ranges is None:
        return "trained range unknown"
    written = [f"{low:g}–{high:g}" for low, high in ranges]
    shown = written[0] if len(set(written)) == 1 else " × ".join(written)
    return f"trained at {shown} mm"


def _figures(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
