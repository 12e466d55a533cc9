"""A coarse look at the scan first: where in it is what a model segments?

Norms of a network see all that they are shown: a head in much air is segmented worse than the same
head alone. And often most of a scan is no part of what is segmented. So a model may ask for a
first, coarse pass over the scan; only the box round what that finds is segmented then, and sooner.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.base.localization import Localization

Box = tuple[slice, slice, slice]


def coarse_spacing(localization: Localization, spacing_mm: Sequence[float]) -> Triple:
    """Return the spacing of the first pass before one at a working spacing."""
    z, y, x = (max(step, localization.spacing_mm) for step in spacing_mm)
    return z, y, x


def usual_box(localization: Localization, grid: Grid) -> Box:
    """Return a box of the usual size in the middle of a grid, in its array order."""
    extent = grid.orientation.values_from_canonical(localization.extent_mm)
    boxes = []
    for size, step, edge in zip(grid.shape, grid.spacing_mm, extent, strict=True):
        kept = min(size, max(1, round(edge / step)))
        start = (size - kept) // 2
        boxes.append(slice(start, start + kept))
    a, b, c = boxes
    return a, b, c


def found_box(localization: Localization, labels: Volume) -> Box | None:
    """Return the box of the largest connected part of what was found, and its margin.

    Parameters
    ----------
    labels
        Of the first pass, on the scan's own grid.

    Returns
    -------
    tuple
        Slices in array order; `None` where nothing was found.
    """
    # Parts are told apart on every few voxels: the labels come from a coarse grid anyway.
    strides = [max(1, int(localization.spacing_mm / 2 / step)) for step in labels.spacing_mm]
    thinned = labels.array[tuple(slice(None, None, stride) for stride in strides)] > 0
    parts, count = ndimage.label(thinned, ndimage.generate_binary_structure(3, 3))
    if not count:
        return None
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    found = ndimage.find_objects(parts)[int(sizes.argmax()) - 1]
    boxes = []
    for part, stride, size, step in zip(
        found, strides, labels.shape, labels.spacing_mm, strict=True
    ):
        margin = int(np.ceil(localization.margin_mm / step)) + stride - 1
        start, stop = part.start * stride - margin, (part.stop - 1) * stride + 1 + margin
        boxes.append(slice(max(0, start), min(size, stop)))
    a, b, c = boxes
    return a, b, c


def crop(volume: Volume, box: Box) -> Volume:
    """Return a box of a volume, a view."""
    return Volume(volume.array[box], crop_grid(volume.grid, box), volume.name, volume.metadata)


def crop_grid(grid: Grid, box: Box) -> Grid:
    """Return the grid of a box."""
    return grid.crop([each.start for each in box], [each.stop - each.start for each in box])


def paste(block: NDArray[np.integer], box: Box, shape: Sequence[int]) -> NDArray[np.integer]:
    """Return an array of this shape that holds a block in a box, and 0 elsewhere."""
    whole = np.zeros(shape, block.dtype)
    whole[box] = block
    return whole
