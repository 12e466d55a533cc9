"""Pictures of a case at several working spacings, after figures 6 to 8 of Joutard et al., 2024."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from training.data.base import Case
from training.evaluation.evaluate import Evaluation
from training.evaluation.measure import Measurer

_MOST_SPACINGS = 5
_ALPHA = 0.45
_COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#ffe119", "#f58231", "#911eb4", "#42d4f4", "#f032e6")


def draw_case(evaluation: Evaluation, measurer: Measurer, name: str) -> Figure:
    """Draw a case at up to five of its spacings: the truth, and the labels of each method.

    Each column shows the image resampled to a working spacing, always in the same axial slice (in
    mm): that in which the truth is largest.

    Parameasurers
    ----------
    evaluation
        The measurements.
    measurer
        Segments the case again.
    name
        The case.

    Raises
    ------
    HyperspaceError
        If the case was not evaluated.
    """
    if name not in evaluation.cases:
        raise HyperspaceError("no such case was evaluated", field="--picture", found=name)
    case = measurer.case(name)
    spacings = picked(evaluation, name)
    truth = measurer.truth(case)
    colors = dict(zip(sorted(evaluation.label_names), _COLORS * 9, strict=False))
    position = _position(case, truth)
    rows = 1 + len(evaluation.methods)
    figure = Figure(figsize=(2.4 * len(spacings) + 0.6, 2.6 * rows), layout="constrained")
    panels = figure.subplots(rows, len(spacings), squeeze=False)
    for column, spacing in enumerate(spacings):
        working = case.at_spacing(spacing)
        index = _slice_at(working, position)
        image = working.image[0, index].numpy()
        extent = _extent(working)
        shown = {
            "truth": (
                measurer.truth(working)[index],
                format_spacing(spacing),
            )
        }
        for method in evaluation.methods:
            labels = measurer.segment(working, method, spacing).labels.array[index]
            dice = evaluation.at(method, name, spacing)["dice_working"].mean()
            shown[method.label] = labels, f"Dice {dice:.3f}"
        for axes, (title, (labels, text)) in zip(panels[:, column], shown.items(), strict=True):
            _show(axes, image, labels, colors, extent)
            axes.set_title(text, fontsize=9)
            if column == 0:
                axes.set_ylabel(title)
    figure.legend(
        handles=[
            Patch(color=color, alpha=_ALPHA, label=evaluation.label_names[value])
            for value, color in colors.items()
        ],
        loc="outside lower center",
        ncols=len(colors),
    )
    figure.suptitle(f"{evaluation.data}, {name}; spacings z × y × x")
    return figure


def picked(evaluation: Evaluation, name: str) -> list[Triple]:
    """Return up to five of a case's spacings, from the finest to the coarsest."""
    native = evaluation.cases[name]
    every = {s for group in evaluation.groups for s in group.of_case(native)}
    ordered = sorted(every, key=lambda spacing: (np.prod(spacing), spacing))
    places = np.linspace(0, len(ordered) - 1, min(_MOST_SPACINGS, len(ordered)))
    return [ordered[round(place)] for place in places]


def _position(case: Case, truth: NDArray[Any]) -> float:
    """Return the position along z, in mm from the center, of the largest slice of the truth."""
    index, depth = int((truth > 0).sum(axis=(1, 2)).argmax()), len(truth)
    return (index - (depth - 1) / 2) * case.spacing_mm[0]


def _slice_at(case: Case, position_mm: float) -> int:
    # Working grids share the center of the native one.
    depth = case.labels.shape[0]
    index = round((depth - 1) / 2 + position_mm / case.spacing_mm[0])
    return min(max(index, 0), depth - 1)


def _extent(case: Case) -> tuple[float, float, float, float]:
    _, height, width = case.grid.field_of_view_mm
    return -width / 2, width / 2, height / 2, -height / 2


def _show(
    axes: Axes,
    image: NDArray[Any],
    labels: NDArray[Any],
    colors: Mapping[int, str],
    extent: tuple[float, float, float, float],
) -> None:
    low, high = np.percentile(image, (1, 99))
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
    overlay = np.zeros((*labels.shape, 4))
    for value, color in colors.items():
        overlay[labels == value] = to_rgba(color, _ALPHA)
    axes.imshow(overlay, extent=extent, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
