"""The figure of a sweep: Dice, volumes, time and memory against the working spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from napari_hyperspace.api.sweeps.plan import AXES
from napari_hyperspace.api.sweeps.result import SweepSummary
from napari_hyperspace.core.files import replacing
from napari_hyperspace.core.spacing import Range

_PLAIN, _KNEE, _TRAINED = "0.15", "tab:orange", "tab:blue"
_MOST_TICKS = 7
_WIDE = 10  # ratio of volumes above which their axis is logarithmic
_DPI = 130


def draw_sweep(summary: SweepSummary, loss: float, trained: Range | None) -> Figure:
    """Draw the finished spacings of a sweep.

    Parameters
    ----------
    summary
        What the sweep found.
    loss
        Allowed loss of Dice, for the knee.
    trained
        Trained range along the axis of the figure, which is shaded; `None`: not known.
    """
    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    dice, volumes, seconds, memory = panels.ravel()
    points = summary.points
    places = [point.position_mm for point in points]
    colors = {v: summary.label_colors.get(v, _PLAIN) for v in summary.label_names}
    for value, name in summary.label_names.items():
        ml = [point.volumes_ml[value] for point in points]
        scores = [of.get(value, math.nan) for of in summary.dice]
        volumes.plot(places, ml, ".-", color=colors[value], label=name)
        dice.plot(places, scores, "-", color=colors[value], lw=1, alpha=0.7)
    dice.plot(places, summary.mean_dice, ".-", color=_PLAIN, lw=2, label="mean")
    found = [ml for point in points for ml in point.volumes_ml.values() if ml > 0]
    if found and max(found) > _WIDE * min(found):
        volumes.set_yscale("log")
    seconds.plot(places, [point.seconds for point in points], ".-", color=_PLAIN, label="taken")
    predicted = [p.predicted.seconds - p.predicted.probe_seconds for p in points]
    seconds.plot(places, predicted, ":", color=_PLAIN, label="predicted")
    memory.plot(places, [p.peak_bytes / 1e9 for p in points], ".-", color=_PLAIN, label="taken")
    expected = [p.predicted.peak_bytes / 1e9 for p in points]
    memory.plot(places, expected, ":", color=_PLAIN, label="predicted")
    other = "reference labels" if summary.has_reference else "the finest spacing"
    titles = (f"Dice with {other}", "volume (ml)", "seconds", "memory (GB)")
    knee = summary.knee(loss)
    for axes, title in zip(panels.ravel(), titles, strict=True):
        axes.set_title(title)
        axes.grid(alpha=0.3)
        if trained is not None:
            axes.axvspan(*trained, color=_TRAINED, alpha=0.08, lw=0)
        if knee is not None:
            axes.axvline(places[knee], color=_KNEE, ls="--", lw=1)
        _spacing_axis(axes, places)
    along = "" if summary.axis is None else f" along {AXES[summary.axis]}"
    for axes in panels[1]:
        axes.set_xlabel(f"working spacing{along} (mm)")
    for axes in (dice, volumes, seconds, memory):
        handles, _ = axes.get_legend_handles_labels()
        if len(handles) <= 15:
            axes.legend(fontsize="small")
    if knee is not None:
        figure.suptitle(
            f"Knee (dashed): {places[knee]:.3g} mm, the coarsest spacing within {loss:g} Dice"
        )
    return figure


def _spacing_axis(axes: Axes, places: Sequence[float]) -> None:
    axes.set_xscale("log")
    step = math.ceil(len(places) / _MOST_TICKS)
    shown = sorted(places)[::step]
    axes.set_xticks(shown, [f"{place:.3g}" for place in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    low, high = min(places), max(places)
    margin = (high / low) ** 0.04 if high > low else 1.1
    axes.set_xlim(low / margin, high * margin)


def write_figure(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write a figure as PNG and SVG, and return the files."""
    png, svg = folder / f"{name}.png", folder / f"{name}.svg"
    FigureCanvasAgg(figure)
    with replacing(png) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
    FigureCanvasSVG(figure)
    with replacing(svg) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    return [png, svg]
