"""Find what a model segments in a coarse first pass, so that only its bounding box is segmented.

Normalization layers depend on everything in their input: a network segments a head in much air
worse than the same head alone. A box also takes less time than the whole scan. A model may
therefore ask for a coarse first pass over the scan (`Localization`).
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
    """Return the spacing of the first pass for a working spacing, both in canonical order."""
    z, y, x = (max(step, localization.spacing_mm) for step in spacing_mm)
    return z, y, x


def usual_box(localization: Localization, grid: Grid) -> Box:
    """Return a box of the usual size at the center of a grid, in its array order."""
    extent = grid.orientation.values_from_canonical(localization.extent_mm)
    boxes = []
    for size, step, edge in zip(grid.shape, grid.spacing_mm, extent, strict=True):
        kept = min(size, max(1, round(edge / step)))
        start = (size - kept) // 2
        boxes.append(slice(start, start + kept))
    a, b, c = boxes
    return a, b, c


def found_box(localization: Localization, labels: Volume) -> Box | None:
    """Return the bounding box of the largest connected component, with its margin.

    Parameters
    ----------
    localization
        Spacing and margin.
    labels
        Labels of the first pass, on the scan's own grid.

    Returns
    -------
    tuple
        Slices in array order; `None` if there are no labels.
    """
    # Components are found on a subsampled array: the labels come from a coarse grid anyway.
    strides = [max(1, int(localization.spacing_mm / 2 / step)) for step in labels.spacing_mm]
    thinned = labels.array[tuple(slice(None, None, stride) for stride in strides)] > 0
    components, count = ndimage.label(thinned, ndimage.generate_binary_structure(3, 3))
    if not count:
        return None
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    found = ndimage.find_objects(components)[int(sizes.argmax()) - 1]
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
    """Return a box of a volume, as a view."""
    return Volume(volume.array[box], crop_grid(volume.grid, box), volume.name, volume.metadata)


def crop_grid(grid: Grid, box: Box) -> Grid:
    """Return the grid of a box."""
    return grid.crop([each.start for each in box], [each.stop - each.start for each in box])


def paste(block: NDArray[np.integer], box: Box, shape: Sequence[int]) -> NDArray[np.integer]:
    """Return an array of this shape with a block in the box and 0 elsewhere."""
    array = np.zeros(shape, block.dtype)
    array[box] = block
    return array
