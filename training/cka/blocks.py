"""Cut the same box in mm out of every scan, at every spacing."""

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
    """A box with a margin at one spacing: the input of a network whose features are compared.

    Parameters
    ----------
    image
        (C, D, H, W) float32, in canonical order.
    center
        Index of the center of the box in the image (z, y, x).
    extent
        Edges of the box in voxels, not rounded (z, y, x).
    """

    image: Tensor
    center: Triple
    extent: Triple


def largest_box(grids: Sequence[Grid], edge_mm: float) -> Triple:
    """Return the box (z, y, x), in mm, of at most this edge that fits into every scan."""
    a, b, c = (min(edge_mm, *(grid.field_of_view_mm[axis] for grid in grids)) for axis in range(3))
    return a, b, c


def cut_block(
    case: Case, spacing_mm: Triple, box_mm: Triple, margin_mm: float, period: Sequence[int]
) -> FeatureBlock:
    """Cut a box with a margin out of a case at a spacing.

    The box is centered on the labeled structures, or on the scan if nothing is labeled, and shifted
    to lie inside the scan. Its center is the same point at every spacing and has the same position
    relative to the voxels of the feature maps in all cases. For that, the block is up to one period
    longer on either side; outside of the scan, its border values are repeated. CKA compares feature
    maps voxel by voxel: with shifts of half a coarse voxel that differ between cases, deep layers
    would not even be similar to themselves.

    Parameters
    ----------
    case
        On its native grid.
    spacing_mm
        Spacing of the block, in mm (z, y, x).
    box_mm
        Edges of the box, in mm (z, y, x); at most those of the scan.
    margin_mm
        Margin around the box, cut off at the border of the scan.
    period
        The index of the center in the block is a multiple of this (z, y, x); see `common_period`.
    """
    step = np.array(period)
    size, native = np.array(case.grid.shape), np.array(case.grid.spacing_mm)
    half, spacing = np.array(box_mm) / native / 2, np.array(spacing_mm)
    # The scan extends from -0.5 to size - 0.5; a box as long as the scan may differ by rounding.
    highest = np.maximum(size - 0.5 - half, half - 0.5)
    center = np.clip(_structure_center(case), half - 0.5, highest)
    # From the center to either side of the block, in new voxels.
    reach = half + margin_mm / native
    before = np.minimum(reach, center + 0.5) * native / spacing
    after = np.minimum(reach, size - 0.5 - center) * native / spacing
    index = step * np.ceil((before - 0.5) / step - 1e-6)
    # With one period more, less one voxel, the whole voxels of the coarsest map cover the box.
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
    """Return the index of the center of the labeled voxels' bounding box (z, y, x)."""
    labeled = np.argwhere(case.labels.numpy() > 0)
    if not len(labeled):
        return (np.array(case.grid.shape) - 1) / 2
    center: NDArray[np.float64] = (labeled.min(axis=0) + labeled.max(axis=0)) / 2
    return center
