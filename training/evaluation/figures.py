"""Measures along a segment of spacings, after figure 2 of Joutard et al., MICCAI 2024."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_hyperspace.core.geometry import Triple
from training.evaluation.evaluate import Evaluation
from training.evaluation.methods import MAX_RES
from training.evaluation.plan import Group
from training.evaluation.summary import spread, table

_PANELS = (
    ("dice_working", "Dice, working grid", 1.0),
    ("dice_native", "Dice, native grid", 1.0),
    ("seconds_working", "seconds", 1.0),
    ("peak_bytes_working", "peak memory (MB)", 1e6),
)
_LONG = 8.0  # times the finest spacing: beyond it a linear axis would squeeze the fine ones
_COLORS = mpl.colormaps["tab10"]
_TRAINED, _OUTSIDE, _FIXED = "tab:blue", "tab:pink", "tab:purple"


def draw_segment(evaluation: Evaluation, group: Group, times: bool = True) -> Figure:
    """Draw Dice, time and memory of all methods along a segment.

    The zone that the widest trained range covers is shaded blue, the rest pink; a model trained at
    a single spacing has a vertical line there; what is clamped to the trained range is dotted.

    Parameters
    ----------
    evaluation
        What was measured.
    group
        A segment of it.
    times
        Whether to draw the time.
    """
    shown = [panel for panel in _PANELS if times or panel[0] != "seconds_working"]
    rows, columns = (2, 2) if times else (1, 3)
    figure = Figure(figsize=(4.75 * columns, 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns).ravel()
    axis = _changing_axis(group.spacings_mm)
    places = [spacing[axis] for spacing in group.spacings_mm]
    samples = [(method, table(evaluation, group, method)) for method in evaluation.methods]
    labels = [m.label.removesuffix(MAX_RES) for m in evaluation.methods]
    colors = {label: _COLORS(i % 10) for i, label in enumerate(dict.fromkeys(labels))}
    for axes, (metric, title, unit) in zip(panels, shown, strict=True):
        for (method, values), label in zip(samples, labels, strict=True):
            means = [spread(column)["mean"] for column in values[metric].T]
            line = np.array([np.nan if m is None else m / unit for m in means])
            dotted = method.label != label
            axes.plot(
                places,
                line,
                ":" if dotted else "-",
                marker="" if dotted else ".",
                color=colors[label],
                label=method.label,
                zorder=3 if dotted else 2,
            )
        _shade(axes, evaluation, group, axis)
        if not metric.startswith("dice") and any(np.ravel(s[metric]).max() > 0 for _, s in samples):
            axes.set_yscale("log")
        axes.set(title=title, xlabel=f"spacing along {_axis_name(group.spacings_mm)} (mm)")
        axes.set_xlim(min(places), max(places))
        if max(places) > _LONG * min(places):
            axes.set_xscale("log")
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].legend()
    figure.suptitle(f"{evaluation.data}, {len(evaluation.cases)} cases, {group.name} (z × y × x)")
    return figure


def _changing_axis(spacings_mm: Sequence[Triple]) -> int:
    first, last = np.array(spacings_mm[0]), np.array(spacings_mm[-1])
    return int(np.argmax(np.abs(np.log(last / first))))


def _axis_name(spacings_mm: Sequence[Triple]) -> str:
    if all(z == y == x for z, y, x in spacings_mm):
        return "each axis"
    return "zyx"[_changing_axis(spacings_mm)]


def trained_zone(
    ranges_mm: Sequence[tuple[float, float]], spacings_mm: Sequence[Triple]
) -> tuple[float, float] | None:
    """Return the part (0 to 1) of a segment that lies in a trained range, or `None`."""
    first, last = (np.array(spacings_mm[end]) for end in (0, -1))
    enter, leave = 0.0, 1.0
    for axis, (low, high) in enumerate(ranges_mm, start=3 - len(ranges_mm)):
        step = last[axis] - first[axis]
        if step == 0:
            if not low * (1 - 1e-3) <= first[axis] <= high * (1 + 1e-3):
                return None
            continue
        ends = sorted(((low - first[axis]) / step, (high - first[axis]) / step))
        enter, leave = max(enter, ends[0]), min(leave, ends[1])
    return (enter, leave) if enter <= leave else None


def _shade(axes: Axes, evaluation: Evaluation, group: Group, axis: int) -> None:
    first, last = group.spacings_mm[0][axis], group.spacings_mm[-1][axis]
    zones: list[tuple[float, float]] = []
    lines: list[float] = []
    some = False
    for method in evaluation.methods:
        ranges = evaluation.models[method.label]["trained_range_mm"]
        if ranges is None:
            continue
        some = True
        zone = trained_zone(ranges, group.spacings_mm)
        if zone is None:
            continue
        low, high = sorted(first + part * (last - first) for part in zone)
        if all(low == high for low, high in ranges):
            lines.append(low)
        else:
            zones.append((low, high))
    left, right = min(first, last), max(first, last)
    widest = max(zones, key=lambda zone: zone[1] - zone[0], default=(left, left))
    if some:
        for start, stop, color in (
            (left, widest[0], _OUTSIDE),
            (*widest, _TRAINED),
            (widest[1], right, _OUTSIDE),
        ):
            if start < stop:
                axes.axvspan(start, stop, color=color, alpha=0.12, linewidth=0, zorder=0)
    for place in dict.fromkeys(lines):
        axes.axvline(place, color=_FIXED, linewidth=1, zorder=1)


def save_figure(figure: Figure, folder: Path, stem: str, suffixes: Sequence[str]) -> list[Path]:
    """Write a figure in several formats; the same numbers give the same files."""
    FigureCanvasAgg(figure)
    files = []
    for suffix in suffixes:
        path = folder / (stem + suffix)
        metadata = {"Date": None} if suffix == ".svg" else {}
        with mpl.rc_context({"svg.hashsalt": stem}):
            figure.savefig(path, dpi=130, metadata=metadata)
        files.append(path)
    return files
