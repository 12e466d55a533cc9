"""Texts of the dock: descriptions of scans, models, costs and results."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hyperspace.core.format import format_range, format_seconds, format_spacing
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.core.structures import brain_volume_ml, laterality_in_name
from napari_hyperspace.core.volume import PostprocessingStep, Record
from napari_hyperspace.gui.models.view import Tone

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate
    from napari_hyperspace.api.segment import SegmentResult
    from napari_hyperspace.gui.adapters.layers import Placement
    from napari_hyperspace.nets.accuracy import Expected
    from napari_hyperspace.nets.card import Contrast, RealDice
    from napari_hyperspace.nets.model import Model

NOT_FINITE = "Voxels that are not finite"
"""Title of the question what to replace them by."""

_POSTPROCESSED = ", post-processed"
_CONTRASTS = {"t1": "T1", "t2": "T2", "pd": "PD", "flair": "FLAIR"}
_MAX_NAMES = 4  # label names listed on one line
_OBLIQUE_DEG = 0.5
_SET_UP_S = 0.5  # set-up of a first run that is worth a word
_BUSY = 1.3  # from here on, it is said how much longer work takes
_FAR = 2.0  # a cost this many times another one is far off …
_CLOSE_S, _CLOSE_BYTES = 1.0, 0.25e9  # … unless the difference is this small


def format_number(value: float) -> str:
    """Write a number with about three figures: "0.0312", "0.600", "4.25", "36.0", "1230"."""
    size = abs(value)
    if value == 0:
        return "0"
    digits = 3 if size < 0.9995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value:.{digits}f}" if size >= 0.1 else f"{value:.3g}"


def format_ml(value: float) -> str:
    """Write a volume in ml without an exponent: "< 0.001", "0.0312", "4.25", "1230"."""
    return "< 0.001" if 0 < value < 0.001 else format_number(value)


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


def describe_scan(placement: Placement, *, corrected: bool = False) -> str:
    """Describe a layer: shape, spacing, and anything unusual about them.

    Parameters
    ----------
    placement
        The geometry of the layer.
    corrected
        Whether the user has corrected the spacing.
    """
    grid = placement.layer_grid
    facts = [format_shape(grid.shape), format_spacing(grid.spacing_mm, collapse=True)]
    if corrected:
        facts.append("spacing corrected")
    if grid.obliqueness_deg > _OBLIQUE_DEG:
        facts.append(f"oblique {grid.obliqueness_deg:.0f}°")
    if placement.metadata.get("orientation_unknown"):
        facts.append("orientation unknown")
    if placement.note or placement.metadata.get("units_assumed"):
        facts.append("no units: taken as mm")
    return " · ".join(facts)


def describe_unsuitable(name: str, n_dim: int, rgb: bool) -> str:
    """Describe an image that cannot be segmented: why not, and what to do."""
    if n_dim < 3:
        what, fix = f"is {n_dim}-D", "Open a volume."
    elif rgb:
        what, fix = "is a color image", "Right-click it and choose “Split RGB”."
    else:
        what = f"has {n_dim} axes"
        fix = "Right-click it and choose “Split Stack”, or open its file with “Open…” here."
    return f"“{name}” {what}; a scan is a 3-D image of one channel. {fix}"


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


def describe_accuracy(expected: Expected | None, data: str, *, native: bool) -> str:
    """Write the Dice on validation data, where and on what it was measured.

    Parameters
    ----------
    expected
        The Dice; `None` if it was not measured near this spacing.
    data
        What was segmented; empty if nothing was measured.
    native
        Whether it was scored on the grids of the scans themselves, and not on that of the spacing.
    """
    if expected is None:
        return f"Dice on validation data: not measured{' near this spacing' if data else ''}."
    text = f"Dice on validation data: {expected.dice:.2f}, {_measured_where(expected)} on {data}"
    if native:
        return f"{text}, scored on their own grids."
    return f"{text}. Scored on the grid of each spacing: not comparable between spacings."


def describe_real_accuracy(
    expected: Expected | None, measured: RealDice, contrast: Contrast | None
) -> str:
    """Write the Dice on real scans of one contrast, where and against what it was measured.

    Parameters
    ----------
    expected
        The Dice; `None` if it was not measured near this spacing.
    measured
        One of the measurements that it is from.
    contrast
        Contrast of the scan; `None`: unknown.
    """
    name = _CONTRASTS[measured.contrast]
    what = "Agreement" if measured.agreement else "Dice"
    on = f"{what} on real {name} scans"
    if expected is None:
        return f"{on}: not measured near this spacing."
    cases = measured.cases
    scans = "" if cases is None else f" on {cases} {'scan' if cases == 1 else 'scans'}"
    text = f"{on}: {expected.dice:.2f}, {_measured_where(expected)}{scans}"
    if measured.agreement:
        text += f", with {measured.compared_with} (Dice; not accuracy)"
    if contrast is None:
        return f"{text}. The name of this scan does not say its contrast."
    if contrast != measured.contrast:
        return f"{text}. Not measured on {_CONTRASTS[contrast]}."
    return f"{text}."


def _measured_where(expected: Expected) -> str:
    places = expected.measured_mm
    if len(places) == 1:
        return f"measured at {format_spacing(places[0], collapse=True)}"
    low = format_spacing(places[0], collapse=True, unit=False)
    return f"between measurements at {low} and {format_spacing(places[1], collapse=True)}"


def describe_localization(record: Record | None) -> str:
    """Write how the region was found, if that was not at first sight; else nothing."""
    match None if record is None else record.localized:
        case "found-from-top":
            return " The first look was implausible: found from the top of the head down."
        case "whole-scan":
            return " No plausible region was found: the whole scan was segmented."
        case _:
            return ""


def format_time(seconds: float) -> str:
    """Write a duration for people: "17 s", "3 min 20 s"; below a second only "under 1 s"."""
    return "under 1 s" if seconds < 0.95 else format_seconds(seconds).replace(".0 s", " s")


def format_memory(n_bytes: float) -> str:
    """Write an amount of memory in GB, as the panel asks for it: "1.4 GB", "under 0.1 GB"."""
    gigabytes = n_bytes / 1e9
    if gigabytes < 0.1:
        return "under 0.1 GB"
    return f"{gigabytes:.0f} GB" if gigabytes >= 9.95 else f"{gigabytes:.1f} GB"


def about_time(seconds: float) -> str:
    """Write an estimated duration: "about 17 s", "under 1 s"."""
    text = format_time(seconds)
    return text if text.startswith("under") else f"about {text}"


def describe_cost(estimate: Estimate, slowdown: float = 1.0) -> str:
    """Write an estimate on one line: "about 17 s · 1.4 GB · first run here: +24 s".

    The set-up of the first run is stated separately: later runs at about this spacing skip it.

    Parameters
    ----------
    estimate
        On a quiet machine.
    slowdown
        How many times as long work takes at present, because of other programs.
    """
    later = estimate.seconds - estimate.probe_seconds
    parts = [about_time(later), format_memory(estimate.peak_bytes)]
    if estimate.probe_seconds >= _SET_UP_S:
        parts.append(f"first run here: +{format_time(estimate.probe_seconds)}")
    if slowdown >= _BUSY and later >= _CLOSE_S:
        parts.append(f"machine busy: about {slowdown:.2g} × longer")
    if estimate.peak_bytes > estimate.available_bytes:
        parts.append(f"only {format_memory(estimate.available_bytes)} free")
    elif not estimate.fits:
        needed, free = estimate.peak_host_bytes, estimate.available_host_bytes
        parts.append(f"{format_memory(needed)} of main memory, only {format_memory(free)} free")
    return " · ".join(parts)


def describe_outcome(predicted: Estimate, result: SegmentResult) -> tuple[str, Tone]:
    """Write what a run took and what was predicted, both without the set-up of a first run.

    Returns
    -------
    str
        Such as "Took 9.6 s · 1.5 GB; predicted 9 s · 1.4 GB."
    str
        "warning" if the prediction was far off.
    """
    seconds = result.seconds - result.probe_seconds
    expected = predicted.seconds - predicted.probe_seconds
    took = f"{format_time(seconds)} · {format_memory(result.peak_bytes)}"
    forecast = f"{format_time(expected)} · {format_memory(predicted.peak_bytes)}"
    same = took == forecast
    text = f"Took {took}, as predicted." if same else f"Took {took}; predicted {forecast}."
    if result.probe_seconds >= _SET_UP_S:
        text += f" Set-up of the first run here: {format_time(result.probe_seconds)}."
    far = _far_apart(seconds, expected, _CLOSE_S)
    far = far or _far_apart(result.peak_bytes, predicted.peak_bytes, _CLOSE_BYTES)
    return text, "warning" if far else "plain"


def _far_apart(one: float, other: float, close: float) -> bool:
    """Whether two costs differ by more than a factor of two, and by more than ``close``."""
    low, high = sorted((one, other))
    return high > _FAR * low and high - low > close


def describe_preview(side_mm: float | None) -> str:
    """Write what a preview shows: "140 mm box"; `None`: the whole scan."""
    return "whole scan" if side_mm is None else f"{side_mm:.0f} mm box"


def describe_no_preview(side_mm: float | None, seconds: float, allowed_ms: int) -> str:
    """Write why there is no preview, and what would help."""
    if side_mm is None:
        needed = "the whole scan is needed"
    else:
        needed = f"the model needs a {side_mm:.0f} mm box to be reliable"
    time = f"about {format_seconds(seconds)}".replace(".0 s", " s")
    return f"No preview within {allowed_ms} ms: {needed}, {time}. Allow more time or go coarser."


def postprocessed_name(name: str) -> str:
    """Return the name of post-processed labels: "brain 3 mm, post-processed · T1"."""
    what, separator, scan = name.partition(" · ")
    mark = "" if what.endswith(_POSTPROCESSED) else _POSTPROCESSED
    return f"{what}{mark}{separator}{scan}"


def describe_totals(volumes: Sequence[tuple[str, float]]) -> str:
    """Write total volumes: "Total 1432 ml · left 701 ml · right 699 ml · brain 1388 ml".

    Parameters
    ----------
    volumes
        Name and volume in ml of each structure.
    """
    parts = [f"Total {format_ml(sum(ml for _, ml in volumes))} ml"] if len(volumes) > 1 else []
    for side in ("left", "right"):
        found = [ml for name, ml in volumes if laterality_in_name(name).side == side]
        if found:
            parts.append(f"{side} {format_ml(sum(found))} ml")
    brain = brain_volume_ml(volumes)
    if brain is not None:
        parts.append(f"brain without fluid {format_ml(brain)} ml")
    return " · ".join(parts)


def describe_doubts(warnings: Sequence[str]) -> str:
    """Write what speaks against a result: the first warning, and how many more there are."""
    more = f" (and {len(warnings) - 1} more)" if len(warnings) > 1 else ""
    return f"Look at the result: {warnings[0]}{more}."


def describe_postprocessing(steps: Sequence[PostprocessingStep]) -> str:
    """Write how much each step of post-processing changed; empty if there was none."""
    changed = (
        f"{step['step']} ({format_ml(step['changed_mm3'] / 1000)} ml changed)"
        if step["connectivity"]
        else step["step"]
        for step in steps
    )
    return f" Post-processing: {'; '.join(changed)}." if steps else ""
