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


@dataclass(frozen=True)
class Block:
    """A box with its surroundings at one spacing: what a network sees of a scan.

    Parameters
    ----------
    image
        (C, D, H, W) float32, in canonical order.
    centre
        Index of the box's centre in the image, with fractions (z, y, x).
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


def cut_block(case: Case, spacing_mm: Triple, box_mm: Triple, margin_mm: float) -> Block:
    """Cut a box out of a case at a spacing, with a margin for the network to look at.

    The box is centred on the labelled structures, or on the scan where nothing is labelled, and
    moved inside the scan. Box and margin cover the same voxels of the scan at every spacing, up to
    less than one new voxel.

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
    """
    size, native = np.array(case.grid.shape), np.array(case.grid.spacing_mm)
    half = np.array(box_mm) / native / 2
    # The scan reaches from -0.5 to size - 0.5; the slack of a box as long as the scan is rounding.
    highest = np.maximum(size - 0.5 - half, half - 0.5)
    centre = np.clip(_structure_centre(case), half - 0.5, highest)
    reach = half + margin_mm / native
    start = np.maximum(np.floor(centre - reach + 0.5 + 1e-6), 0).astype(int)
    stop = np.minimum(np.ceil(centre + reach + 0.5 - 1e-6), size).astype(int)
    grid = case.grid.crop(start.tolist(), (stop - start).tolist()).with_spacing(spacing_mm)
    image = resample_axes(case.image, grid_matrices(case.grid, grid)).contiguous()
    z, y, x = grid.mm_to_index(case.grid.index_to_mm(centre)).tolist()
    a, b, c = (edge / step for edge, step in zip(box_mm, spacing_mm, strict=True))
    return Block(image, (z, y, x), (a, b, c))


def _structure_centre(case: Case) -> NDArray[np.float64]:
    """Return the index of the middle of all that is labelled (z, y, x)."""
    labelled = np.argwhere(case.labels.numpy())
    if not len(labelled):
        return (np.array(case.grid.shape) - 1) / 2
    middle: NDArray[np.float64] = (labelled.min(axis=0) + labelled.max(axis=0)) / 2
    return middle
