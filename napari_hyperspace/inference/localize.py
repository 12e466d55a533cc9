"""Find what a model segments in a coarse first pass, so that only its bounding box is segmented.

Normalization layers depend on everything in their input: a network segments a head in much air
worse than the same head alone. A box also takes less time than the whole scan. A model may
therefore ask for a coarse first pass over the scan (`Localization`).

The first pass suffers from the same: with a neck and shoulders in view, it may take parts of them
for brain. What it found is therefore checked, and if it is implausible, looked for again from the
top of the head down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.base.localization import Localization

Box = tuple[slice, slice, slice]

_LARGEST = 1.25  # plausible size of what is found, relative to the usual size of the box
_LEAST_SHARE = 0.5  # of all labels that its largest component has, if that is plausible
_TOP_AREA_MM2 = 2000.0  # of a plane through the head, just below its top
_THINNED_MM = 4.0  # voxels that the top is looked for in
_ALL = 0.95  # part of the height from which on there is nothing to leave out


@dataclass(frozen=True)
class Finding:
    """The largest connected component of the labels of a first pass.

    Parameters
    ----------
    box
        Its bounding box with the margin, in array order.
    extent_mm
        Size of its bounding box without the margin, canonical order (z, y, x).
    volume_ml
        Its volume.
    share
        Its share of the volume of all labels.
    is_cut
        Whether it reaches a face of the scan, so that a part of it may be out of view.
    """

    box: Box
    extent_mm: Triple
    volume_ml: float
    share: float
    is_cut: bool


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
    """Return the bounding box of the largest connected component, with its margin; see `find`."""
    finding = find(localization, labels)
    return None if finding is None else finding.box


def find(localization: Localization, labels: Volume) -> Finding | None:
    """Find the largest connected component of the labels of a first pass.

    Parameters
    ----------
    localization
        Spacing and margin.
    labels
        Labels of the first pass, on the scan's own grid.

    Returns
    -------
    Finding
        `None` if there are no labels.
    """
    # Components are found on a subsampled array: the labels come from a coarse grid anyway.
    strides = [max(1, int(localization.spacing_mm / 2 / step)) for step in labels.spacing_mm]
    thinned = labels.array[tuple(slice(None, None, stride) for stride in strides)] > 0
    components, count = ndimage.label(thinned, ndimage.generate_binary_structure(3, 3))
    if not count:
        return None
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    largest = int(sizes.argmax())
    found = ndimage.find_objects(components)[largest - 1]
    boxes, extents, is_cut = [], [], False
    for part, stride, size, step, thin in zip(
        found, strides, labels.shape, labels.spacing_mm, thinned.shape, strict=True
    ):
        margin = int(np.ceil(localization.margin_mm / step)) + stride - 1
        start, stop = part.start * stride - margin, (part.stop - 1) * stride + 1 + margin
        boxes.append(slice(max(0, start), min(size, stop)))
        extents.append((part.stop - part.start) * stride * step)
        is_cut |= part.start == 0 or part.stop == thin
    a, b, c = boxes
    voxel_ml = labels.grid.voxel_volume_ml * float(np.prod(strides))
    return Finding(
        (a, b, c),
        labels.grid.orientation.values_to_canonical(extents),
        voxel_ml * int(sizes[largest]),
        float(sizes[largest] / sizes.sum()),
        is_cut,
    )


def implausible(localization: Localization, finding: Finding | None) -> str:
    """Return what is implausible about what a first pass found; empty if nothing is.

    A part that is cut off by the scan may be small, but not large.
    """
    if localization.plausible_ml is None:
        return ""
    if finding is None:
        return "nothing was found"
    low, high = localization.plausible_ml
    if finding.volume_ml > high or (finding.volume_ml < low and not finding.is_cut):
        return f"a volume of {finding.volume_ml:.0f} ml was found"
    for extent, usual in zip(finding.extent_mm, localization.extent_mm, strict=True):
        if extent > _LARGEST * usual:
            return f"something {extent:.0f} mm long was found"
    if finding.share < _LEAST_SHARE:
        return "several separate parts were found"
    return ""


def below_the_top(localization: Localization, volume: Volume) -> Box | None:
    """Return the part of a scan of the head from its top down, in array order.

    The top is the uppermost plane of which an area of 20 cm² is brighter than the scan's mean.

    Parameters
    ----------
    localization
        Its ``from_top_mm`` is the height of the part.
    volume
        The scan; superior and inferior are known from its grid.

    Returns
    -------
    tuple
        `None` if there is no such height, no top, or almost the whole scan would be left.
    """
    height, grid = localization.from_top_mm, volume.grid
    if height is None:
        return None
    turned = grid.orientation.to_canonical(volume.array)
    steps = grid.canonical().spacing_mm
    strides = [max(1, round(_THINNED_MM / step)) for step in steps]
    thinned: NDArray[Any] = turned[tuple(slice(None, None, stride) for stride in strides)]
    pixel = steps[1] * strides[1] * steps[2] * strides[2]
    areas = pixel * np.count_nonzero(thinned > thinned.mean(dtype=np.float64), axis=(1, 2))
    shown = np.flatnonzero(areas >= _TOP_AREA_MM2)
    if not len(shown):
        return None
    top = max(0, (int(shown[0]) - 1) * strides[0] + 1)  # the plane before was looked at, too
    size = turned.shape[0]
    stop = min(size, top + max(1, round(height / steps[0])))
    if stop - top > _ALL * size:
        return None
    box = [slice(0, n) for n in volume.shape]
    axis = grid.orientation.axes[0]
    box[axis] = slice(size - stop, size - top) if grid.orientation.flips[0] else slice(top, stop)
    a, b, c = box
    return a, b, c


def inside(outer: Box, box: Box) -> Box:
    """Return a box of a crop as a box of the whole."""
    a, b, c = (
        slice(one.start + part.start, one.start + part.stop)
        for one, part in zip(outer, box, strict=True)
    )
    return a, b, c


def crop(volume: Volume, box: Box) -> Volume:
    """Return a box of a volume, as a view."""
    return Volume(volume.array[box], crop_grid(volume.grid, box), volume.name, volume.metadata)


def crop_grid(grid: Grid, box: Box) -> Grid:
    """Return the grid of a box."""
    return grid.crop([each.start for each in box], [each.stop - each.start for each in box])


def paste(block: NDArray[Any], box: Box, shape: Sequence[int]) -> NDArray[Any]:
    """Return an array of this shape with a block in the box and 0 elsewhere."""
    array = np.zeros(shape, block.dtype)
    array[box] = block
    return array
