"""Write CKA as figures (after figure 3 of Joutard et al., MICCAI 2024) and as numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from scipy.sparse import lil_array
from scipy.sparse.csgraph import shortest_path

from napari_hyperspace.core.files import create_folder, replacing, write_text
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.inference.protocols import SpacingModel
from training.cka.layers import NetworkLayer
from training.cka.measure import measure_cka
from training.cka.result import CKAResult, CKASettings, edge_mm
from training.cka.similarity import Array
from training.data.base import DataSet

_LEVELS = mpl.colormaps["tab10"]
_UNDEFINED = "0.8"


def run_cka(
    models: Sequence[SpacingModel],
    dataset: DataSet,
    names: Sequence[str],
    out: str | os.PathLike[str],
    settings: CKASettings | None = None,
    *,
    device: str | torch.device | None = None,
    report: ReportProgress | None = None,
) -> list[Path]:
    """Measure CKA and write `cka.json`, `cka.png` and `cka.svg`; one figure per model.

    Parameters
    ----------
    models, dataset, names, settings, device, report
        As in `measure_cka`.
    out
        Folder to write to; created if it does not exist.

    Returns
    -------
    list of Path
        The files, the numbers first.

    Raises
    ------
    HyperspaceError
        As in `measure_cka`.
    """
    result = measure_cka(models, dataset, names, settings, device=device, report=report)
    folder = Path(out)
    create_folder(folder)
    numbers = folder / "cka.json"
    write_text(numbers, json.dumps(result.to_dict(), ensure_ascii=False) + "\n")
    files = [numbers]
    for model in range(len(result.models)):
        stem = "cka" if model == 0 else f"cka-{model + 1}"
        files += _save(draw_cka(result, model), folder, stem)
    return files


def _save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    FigureCanvasAgg(figure)
    layout = figure.get_layout_engine()
    if layout is not None:  # computed once for both files
        layout.execute(figure)
        figure.set_layout_engine("none")
    files = []
    # Without dates and random ids: equal numbers make equal files.
    for suffix, metadata in ((".png", {}), (".svg", {"Date": None})):
        path = folder / (stem + suffix)
        with mpl.rc_context({"svg.hashsalt": "cka"}), replacing(path) as temporary:
            figure.savefig(temporary, dpi=130, metadata=metadata)
        files.append(path)
    return files


def draw_cka(result: CKAResult, model: int = 0) -> Figure:
    """Draw the eight panels of one model.

    a, b: layers of one network, at the reference and at the largest voxels. c: slope of these
    against spacing. d: distance between layers, and their levels. e, f: the network of the
    reference against those of larger voxels. g: slope of these. h: two models at the reference, or,
    for a single model, the same layer at the reference and at each spacing.

    Parameters
    ----------
    result
        The result.
    model
        Index of the model.
    """
    layers, skips = result.layers[model], result.skips[model]
    last, reference = len(result.spacings_mm) - 1, result.reference
    middle = (reference + last + 1) // 2
    name = result.models[model][0]

    figure = Figure(figsize=(19, 9.5), layout="constrained")
    panels = figure.subplots(2, 4).ravel()

    def heat(panel: int, cka: Array, title: str, columns: str) -> None:
        _heat(panels[panel], cka, layers, layers, f"{'abcdefgh'[panel]}  {title}", columns)
        _mark_skips(panels[panel], skips)

    def text(index: int) -> str:
        return format_spacing(result.spacings_mm[index], collapse=True)

    within, between = result.within[model], result.between[model]
    heat(0, within[reference], f"within the network of {text(reference)}", "layer")
    heat(1, within[last], f"within the network of {text(last)}", "layer")
    _slope(panels[2], result.within_slope(model), layers, skips, "c  slope of a … b")
    _structure(panels[3], layers, skips)
    for panel, index in ((4, middle), (5, last)):
        heat(panel, between[index], f"{text(reference)} against {text(index)}", text(index))
        panels[panel].set_ylabel(text(reference))
    _slope(panels[6], result.between_slope(model), layers, skips, "g  slope of e … f")
    if result.across:
        other = 1 - model
        cka = result.across[reference] if model == 0 else result.across[reference].T
        title = f"h  two models at {text(reference)}"
        _heat(
            panels[7], cka, layers, result.layers[other], title, f"second: {_title(result, other)}"
        )
        panels[7].set_ylabel(f"first: {_title(result, model)}")
    else:
        _levels_against_spacing(panels[7], result, model)
    conditions = result.conditions
    figure.suptitle(
        f"CKA of {name}: {conditions.cases} cases of {conditions.data}, "
        f"box of {format_spacing(conditions.box_mm, collapse=True)}; "
        "circles: skip connections; lines: borders of levels"
    )
    return figure


def _title(result: CKAResult, model: int) -> str:
    name, identity = result.models[model]
    return f"{name} ({identity[:6]})"


def _heat(
    axes: Axes,
    cka: Array,
    rows: Sequence[NetworkLayer],
    columns: Sequence[NetworkLayer],
    title: str,
    label: str,
) -> None:
    image = _image(axes, cka, "magma", (0.0, 1.0))
    axes.set_title(title)
    _mark_levels(axes, rows, columns, "deepskyblue")
    axes.set_xlabel(label)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="CKA")


def _slope(
    axes: Axes,
    slope: Array | None,
    layers: Sequence[NetworkLayer],
    skips: Sequence[tuple[int, int]],
    title: str,
) -> None:
    axes.set_title(title)
    if slope is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "needs two spacings", ha="center", transform=axes.transAxes)
        return
    largest = float(np.nanmax(np.abs(slope))) if np.isfinite(slope).any() else 1.0
    image = _image(axes, slope, "RdBu_r", (-largest or -1.0, largest or 1.0))
    _mark_levels(axes, layers, layers, "black")
    _mark_skips(axes, skips)
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="change of CKA per mm")


def _image(axes: Axes, values: Array, colors: str, limits: tuple[float, float]) -> AxesImage:
    colormap = mpl.colormaps[colors].with_extremes(bad=_UNDEFINED)
    masked = np.ma.masked_invalid(values)
    return axes.imshow(masked, cmap=colormap, vmin=limits[0], vmax=limits[1], origin="lower")


def _structure(
    axes: Axes, layers: Sequence[NetworkLayer], skips: Sequence[tuple[int, int]]
) -> None:
    """Draw distances below the diagonal and layers of equal level above it."""
    n = len(layers)
    levels = np.array([layer.level for layer in layers])
    below = np.tril(np.ones((n, n), bool), -1)
    image = _image(axes, np.where(below, distances(n, skips), np.nan), "Greys", (0, n / 2))
    same = (levels[:, None] == levels) & ~below
    colors = ListedColormap([_LEVELS(level % 10) for level in range(levels.max() + 1)])
    blocks = np.ma.masked_where(~same, np.broadcast_to(levels[:, None], (n, n)))
    axes.imshow(blocks, cmap=colors, vmin=-0.5, vmax=levels.max() + 0.5, origin="lower")
    _mark_levels(axes, layers, layers, "black")
    for down, up in skips:
        axes.plot([down, down, up], [down, up, up], color="tab:red", linewidth=1)
    _mark_skips(axes, [(down, up) for down, up in skips], both=False)
    axes.set_title("d  layers: levels (colors), distance (gray)")
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label="distance, in layers")


def distances(n: int, skips: Sequence[tuple[int, int]]) -> Array:
    """Return the number of steps between layers, (n, n); a skip connection is one step.

    Parameters
    ----------
    n
        Number of layers, in sequence.
    skips
        Pairs of layers that are joined as well.
    """
    graph = lil_array((n, n))
    for a, b in [*((i, i + 1) for i in range(n - 1)), *skips]:
        graph[a, b] = 1
    lengths: Array = shortest_path(graph.tocsr(), directed=False, unweighted=True)
    return lengths


def _levels_against_spacing(axes: Axes, result: CKAResult, model: int) -> None:
    layers = result.layers[model]
    diagonals = np.array([np.diagonal(cka) for cka in result.between[model]])  # (spacings, layers)
    edges = [edge_mm(spacing) for spacing in result.spacings_mm]
    for group, members in _groups(layers):
        known = np.ma.masked_invalid(diagonals[:, members])
        style = {"down": "-", "bottom": "-.", "up": "--"}[layers[members[0]].way]
        color = _LEVELS(layers[members[0]].level % 10)
        axes.plot(edges, known.mean(axis=1).filled(np.nan), style, color=color, label=group)
    axes.axvline(edges[result.reference], color="0.5", linewidth=1)
    reference = format_spacing(result.spacings_mm[result.reference], collapse=True)
    axes.set(
        title=f"h  same layers, {reference} against others",
        xlabel="spacing (mm)",
        ylabel="mean CKA",
    )
    axes.grid(alpha=0.3)
    axes.legend()


def _groups(layers: Sequence[NetworkLayer]) -> list[tuple[str, list[int]]]:
    """Return the groups of consecutive layers of one path and level, with their indices."""
    keys = [f"{layer.way} {layer.level}" for layer in layers]
    return [(key, list(group)) for key, group in groupby(range(len(keys)), keys.__getitem__)]


def _mark_levels(
    axes: Axes, rows: Sequence[NetworkLayer], columns: Sequence[NetworkLayer], color: str
) -> None:
    for draw, axis, layers in (
        (axes.axhline, axes.yaxis, rows),
        (axes.axvline, axes.xaxis, columns),
    ):
        groups = _groups(layers)
        for _, members in groups[1:]:
            draw(members[0] - 0.5, color=color, linewidth=0.6)
        axis.set_ticks([float(np.mean(m)) for _, m in groups], [name for name, _ in groups])
    axes.tick_params(axis="x", rotation=45)
    axes.tick_params(length=0, labelsize=8)


def _mark_skips(axes: Axes, skips: Sequence[tuple[int, int]], both: bool = True) -> None:
    points = [*skips, *((b, a) for a, b in skips)] if both else list(skips)
    for x, y in points:
        axes.plot(x, y, "o", markerfacecolor="none", markeredgecolor="tab:green", markersize=7)
