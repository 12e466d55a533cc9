"""The same box in mm out of every scan, at every spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.separable import grid_matrices, resample_axes
from training.data.base import Case


@dataclass(frozen=True)
class FeatureBlock:
    """A box with its surroundings at one spacing: what a network sees of a scan.

    Parameters
    ----------
    image
        (C, D, H, W) float32, in canonical order.
    center
        Index of the box's center in the image (z, y, x).
    extent
        Edges of the box in voxels, with fractions (z, y, x).
    """

    image: Tensor
    center: Triple
    extent: Triple


def largest_box(grids: Sequence[Grid], edge_mm: float) -> Triple:
    """Return the box (z, y, x), in mm, of this edge where every scan has room for it.

    Along an axis where a scan is smaller, the box is as long as the smallest scan.
    """
    a, b, c = (min(edge_mm, *(grid.field_of_view_mm[axis] for grid in grids)) for axis in range(3))
    return a, b, c


def cut_block(
    case: Case, spacing_mm: Triple, box_mm: Triple, margin_mm: float, period: Sequence[int]
) -> FeatureBlock:
    """Cut a box out of a case at a spacing, with a margin for the network to look at.

    The box is centered on the labeled structures, or on the scan where nothing is labeled, and
    moved inside the scan. Its center is the same point at every spacing, and lies alike in the
    feature maps of all cases: for that, the block is up to a period longer on either side, and the
    scan's border goes on where it ends before. CKA compares feature maps voxel by voxel: were they
    off by half a coarse voxel, in each case otherwise, deep layers would look unlike themselves.

    Parameters
    ----------
    case
        On its native grid.
    spacing_mm
        Spacing to cut it at, mm (z, y, x).
    box_mm
        Edges of the box, mm (z, y, x); no longer than the scan's.
    margin_mm
        How far to go beyond the box, as far as the scan reaches.
    period
        The center's index in the block is a multiple of this (z, y, x); see `common_period`.
    """
    step = np.array(period)
    size, native = np.array(case.grid.shape), np.array(case.grid.spacing_mm)
    half, spacing = np.array(box_mm) / native / 2, np.array(spacing_mm)
    # The scan reaches from -0.5 to size - 0.5; a box as long as the scan may differ by rounding.
    highest = np.maximum(size - 0.5 - half, half - 0.5)
    center = np.clip(_structure_center(case), half - 0.5, highest)
    # From the center to either side of the block, in new voxels.
    reach = half + margin_mm / native
    before = np.minimum(reach, center + 0.5) * native / spacing
    after = np.minimum(reach, size - 0.5 - center) * native / spacing
    index = step * np.ceil((before - 0.5) / step - 1e-6)
    # One period more, less a voxel: the coarsest map, whole voxels only, then covers the box.
    shape = np.ceil(index + 0.5 + after - 1e-6).astype(int) + step - 1
    affine = np.eye(4)
    affine[:3, :3] = case.grid.directions * spacing
    affine[:3, 3] = case.grid.index_to_mm(center) - affine[:3, :3] @ index
    grid = Grid(tuple(shape.tolist()), affine)
    image = resample_axes(case.image, grid_matrices(case.grid, grid)).contiguous()
    z, y, x = index.tolist()
    a, b, c = (np.array(box_mm) / spacing).tolist()
    return FeatureBlock(image, (z, y, x), (a, b, c))


def _structure_center(case: Case) -> NDArray[np.float64]:
    """Return the index of the middle of all that is labeled (z, y, x)."""
    labeled = np.argwhere(case.labels.numpy() > 0)
    if not len(labeled):
        return (np.array(case.grid.shape) - 1) / 2
    middle: NDArray[np.float64] = (labeled.min(axis=0) + labeled.max(axis=0)) / 2
    return middle
