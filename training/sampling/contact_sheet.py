"""A contact sheet of synthetic pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from training.sampling.pairs import SyntheticPair

_COLUMNS = 3  # pairs per row
_PLANES = (("axial", 0), ("coronal", 1), ("sagittal", 2))


def write_contact_sheet(pairs: Sequence[SyntheticPair], colors: Sequence[str], path: Path) -> Path:
    """Write a picture of three planes per pair, with colored labels over the lower half of each.

    Parameters
    ----------
    pairs
        The pairs.
    colors
        Color of each label, from 1 on.
    path
        PNG file to write.
    """
    columns = min(_COLUMNS, len(pairs))
    rows = -(-len(pairs) // columns)
    figure = Figure(figsize=(6.6 * columns, 2.5 * rows), layout="constrained")
    panels = figure.subplots(rows, 3 * columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for number, pair in enumerate(pairs):
        row, column = divmod(number, columns)
        for plane, panel in enumerate(panels[row, 3 * column : 3 * column + 3]):
            _show_plane(panel, pair, plane, colors)
        spacing = " × ".join(f"{step:.3g}" for step in pair.parameters.spacing_mm)
        stripped = ", stripped" if pair.parameters.stripping else ""
        panels[row, 3 * column].set_title(
            f"{pair.name}\n{pair.parameters.appearance.contrast}{stripped}, {spacing} mm",
            fontsize=7,
            loc="left",
        )
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=110)
    return path


def _show_plane(panel: Axes, pair: SyntheticPair, plane: int, colors: Sequence[str]) -> None:
    array, labels = pair.image.array, pair.labels.array
    shown = np.argwhere(labels > 0)
    middle = shown.mean(axis=0) if len(shown) else np.array(labels.shape) / 2
    index = int(middle[plane])
    image, mask = array.take(index, axis=plane), labels.take(index, axis=plane)
    down, across = np.delete(np.array(pair.image.spacing_mm), plane)
    low, high = np.percentile(array, (1, 99.5))
    aspect = down / across
    panel.imshow(image, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    lower = np.ma.masked_equal(mask, 0)
    lower[: len(mask) // 2] = np.ma.masked
    panel.imshow(
        lower,
        cmap=ListedColormap(list(colors)),
        vmin=1,
        vmax=max(len(colors), 2),
        alpha=0.55,
        aspect=aspect,
        interpolation="nearest",
    )
