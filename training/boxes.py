"""The same box in mm out of every scan, at every spacing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.resample import grid_matrices, resample_axes
from training.data.base import Case
from training.layers import Lattice


@dataclass(frozen=True)
class Block:
    """A box with its surroundings at one spacing: what a network sees of a scan.

    Parameters
    ----------
    image
        (C, D, H, W) float32, in canonical order.
    centre
        Index of the box's centre in the image (z, y, x).
    extent
        Edges of the box in voxels, with fractions (z, y, x).
    """

    image: Tensor
    centre: Triple
    extent: Triple


def largest_box(grids: Sequence[Grid], edge_mm: float) -> Triple:
    """Return the box (z, y, x), in mm, of this edge where every scan has room for it.

    Along an axis where a scan is smaller, the box is as long as the smallest scan.
    """
    a, b, c = (min(edge_mm, *(grid.field_of_view_mm[axis] for grid in grids)) for axis in range(3))
    return a, b, c


def cut_block(
    case: Case, spacing_mm: Triple, box_mm: Triple, margin_mm: float, lattice: Lattice
) -> Block:
    """Cut a box out of a case at a spacing, with a margin for the network to look at.

    The box is centred on the labelled structures, or on the scan where nothing is labelled, and
    moved inside the scan. Its centre is the same point at every spacing, and lies alike in the
    feature maps of all cases: for that, the block is up to a period longer, and the scan's border
    goes on where it ends before. CKA compares feature maps voxel by voxel; if their grids lay
    anyhow, half a coarse voxel off in each case, deep layers would look unlike themselves.

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
    lattice
        Where the centre must lie in the block.
    """
    size, native = np.array(case.grid.shape), np.array(case.grid.spacing_mm)
    half, spacing = np.array(box_mm) / native / 2, np.array(spacing_mm)
    period, phase = np.array(lattice.period), np.array(lattice.phase)
    # The scan reaches from -0.5 to size - 0.5; a box as long as the scan may differ by rounding.
    highest = np.maximum(size - 0.5 - half, half - 0.5)
    centre = np.clip(_structure_centre(case), half - 0.5, highest)
    # From the centre to either side of the block, in new voxels.
    reach = half + margin_mm / native
    before = np.minimum(reach, centre + 0.5) * native / spacing
    after = np.minimum(reach, size - 0.5 - centre) * native / spacing
    index = phase + period * np.ceil((before - 0.5 - phase) / period - 1e-6)
    shape = np.ceil(index + 0.5 + after - 1e-6).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = case.grid.directions * spacing
    affine[:3, 3] = case.grid.index_to_mm(centre) - affine[:3, :3] @ index
    grid = Grid(tuple(shape.tolist()), affine)
    image = resample_axes(case.image, grid_matrices(case.grid, grid)).contiguous()
    z, y, x = index.tolist()
    a, b, c = (np.array(box_mm) / spacing).tolist()
    return Block(image, (z, y, x), (a, b, c))


def _structure_centre(case: Case) -> NDArray[np.float64]:
    """Return the index of the middle of all that is labelled (z, y, x)."""
    labelled = np.argwhere(case.labels.numpy())
    if not len(labelled):
        return (np.array(case.grid.shape) - 1) / 2
    middle: NDArray[np.float64] = (labelled.min(axis=0) + labelled.max(axis=0)) / 2
    return middle
