"""Figures of metrics along a segment of spacings, after figure 2 of Joutard et al., 2024."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from napari_hyperspace.core.files import replacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import Range, in_range
from training.evaluation.methods import MAX_RES

Means = Mapping[str, Mapping[str, float | None]]
"""Mean over cases of each metric (inner key) of each method (outer key); `None`: undefined."""

_PANELS = (
    ("dice_working", "Dice, working grid", 1.0),
    ("dice_native", "Dice, native grid", 1.0),
    ("seconds_working", "seconds", 1.0),
    ("peak_bytes_working", "peak memory (MB)", 1e6),
)
_LONG = 8.0  # times the finest spacing: beyond it a linear axis would squeeze the fine ones
_COLORS = mpl.colormaps["tab10"]
_TRAINED, _OUTSIDE, _FIXED = "tab:blue", "tab:pink", "tab:purple"
_DPI = 130
_SMALL_DPI = 100
_PALETTE = 64  # colors of a small figure; lines and text need no more


@dataclass(frozen=True)
class Curves:
    """Metrics of methods along a segment of spacings.

    Parameters
    ----------
    title
        Title of the figure.
    spacings_mm
        Spacings (z, y, x) on a line.
    means
        Means at each of the spacings.
    trained_ranges_mm
        Trained range of each method, by its label and in the order to draw them; `None` where it
        is not known.
    """

    title: str
    spacings_mm: Sequence[Triple]
    means: Sequence[Means]
    trained_ranges_mm: Mapping[str, Sequence[Range] | None]

    def of(self, method: str, metric: str) -> list[float]:
        """Return a metric of a method at each spacing; NaN where it is undefined."""
        values = [means[method][metric] for means in self.means]
        return [np.nan if value is None else value for value in values]


def draw_segment(curves: Curves, times: bool = True) -> Figure:
    """Draw Dice, time and memory of all methods along a segment.

    The part that the widest trained range covers is shaded blue, the rest pink; a vertical line
    marks the spacing of a model trained at one spacing; methods that clamp to the trained range are
    dotted.

    Parameters
    ----------
    curves
        The metrics.
    times
        Whether to draw the time.
    """
    shown = [panel for panel in _PANELS if times or panel[0] != "seconds_working"]
    rows, columns = (2, 2) if times else (1, 3)
    figure = Figure(figsize=(4.75 * columns, 3.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns).ravel()
    axis = _changing_axis(curves.spacings_mm)
    places = [spacing[axis] for spacing in curves.spacings_mm]
    models = {method: method.removesuffix(MAX_RES) for method in curves.trained_ranges_mm}
    colors = {model: _COLORS(i % 10) for i, model in enumerate(dict.fromkeys(models.values()))}
    for axes, (metric, title, unit) in zip(panels, shown, strict=True):
        for method, model in models.items():
            dotted = method != model
            axes.plot(
                places,
                np.array(curves.of(method, metric)) / unit,
                ":" if dotted else "-",
                marker="" if dotted else ".",
                color=colors[model],
                label=method,
                zorder=3 if dotted else 2,
            )
        _shade(axes, curves, axis)
        if not metric.startswith("dice") and any(
            value > 0 for method in models for value in curves.of(method, metric)
        ):
            axes.set_yscale("log")
        axes.set(title=title, xlabel=f"spacing along {_axis_name(curves.spacings_mm)} (mm)")
        axes.set_xlim(min(places), max(places))
        if max(places) > _LONG * min(places):
            axes.set_xscale("log")
            axes.set_xticks(places, [f"{place:g}" for place in places])
            axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0].legend()
    figure.suptitle(curves.title)
    return figure


def _changing_axis(spacings_mm: Sequence[Triple]) -> int:
    first, last = np.array(spacings_mm[0]), np.array(spacings_mm[-1])
    return int(np.argmax(np.abs(np.log(last / first))))


def _axis_name(spacings_mm: Sequence[Triple]) -> str:
    if all(z == y == x for z, y, x in spacings_mm):
        return "each axis"
    return "zyx"[_changing_axis(spacings_mm)]


def trained_zone(
    ranges_mm: Sequence[Range], spacings_mm: Sequence[Triple]
) -> tuple[float, float] | None:
    """Return the part (0 to 1) of a segment that lies in a trained range, or `None`."""
    first, last = (np.array(spacings_mm[end]) for end in (0, -1))
    enter, leave = 0.0, 1.0
    for axis, (low, high) in enumerate(ranges_mm, start=3 - len(ranges_mm)):
        step = last[axis] - first[axis]
        if step == 0:
            if not in_range(first[axis], (low, high)):
                return None
            continue
        ends = sorted(((low - first[axis]) / step, (high - first[axis]) / step))
        enter, leave = max(enter, ends[0]), min(leave, ends[1])
    return (enter, leave) if enter <= leave else None


def _shade(axes: Axes, curves: Curves, axis: int) -> None:
    first, last = curves.spacings_mm[0][axis], curves.spacings_mm[-1][axis]
    known = [ranges for ranges in curves.trained_ranges_mm.values() if ranges is not None]
    zones: list[Range] = []
    lines: list[float] = []
    for ranges in known:
        zone = trained_zone(ranges, curves.spacings_mm)
        if zone is None:
            continue
        low, high = sorted(first + part * (last - first) for part in zone)
        if all(low == high for low, high in ranges):
            lines.append(low)
        else:
            zones.append((low, high))
    left, right = min(first, last), max(first, last)
    widest = max(zones, key=lambda zone: zone[1] - zone[0], default=(left, left))
    if known:
        for start, stop, color in (
            (left, widest[0], _OUTSIDE),
            (*widest, _TRAINED),
            (widest[1], right, _OUTSIDE),
        ):
            if start < stop:
                axes.axvspan(start, stop, color=color, alpha=0.12, linewidth=0, zorder=0)
    for place in dict.fromkeys(lines):
        axes.axvline(place, color=_FIXED, linewidth=1, zorder=1)


def save_figure(figure: Figure, folder: Path, stem: str, suffixes: Iterable[str]) -> list[Path]:
    """Write a figure in several formats; the same numbers give the same files."""
    FigureCanvasAgg(figure)
    files = []
    for suffix in suffixes:
        path = folder / (stem + suffix)
        metadata = {"Date": None} if suffix == ".svg" else {}
        with mpl.rc_context({"svg.hashsalt": stem}), replacing(path) as temporary:
            figure.savefig(temporary, dpi=_DPI, metadata=metadata)
        files.append(path)
    return files


def save_small_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file with a palette, to be kept under version control."""
    FigureCanvasAgg(figure)
    pixels = io.BytesIO()
    figure.savefig(pixels, dpi=_SMALL_DPI, format="png")
    image = Image.open(pixels).convert("RGB")
    small = image.quantize(_PALETTE, kmeans=3, dither=Image.Dither.NONE)
    with replacing(path) as temporary:
        small.save(temporary, "PNG", optimize=True)
