"""A simulated user who corrects a segmentation, one brush stroke after the other.

The robot looks at the truth, as a user looks at the image. Each stroke goes along the center of the
largest connected region of the error, in the slice that shows most of it, with a round brush. Like
a careful user, the robot stays on its side of the border: a stroke that adds never covers a voxel
outside of the structure, one that takes away never covers a voxel inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.graph import MCP_Geometric

BRUSH_MM = 5.0
"""Diameter of the brush."""
LENGTH_MM = 20.0
"""Largest length of what a stroke paints, from tip to tip."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stroke:
    """One stroke of the brush.

    Parameters
    ----------
    voxels
        The voxels that it paints, on the grid of the scan.
    adds
        Whether they belong to the structure.
    """

    voxels: Mask
    adds: bool


def next_stroke(truth: Mask, answer: Mask, spacing_mm: Sequence[float]) -> Stroke | None:
    """Return the stroke that a user would paint next; `None` if the answer is right.

    Parameters
    ----------
    truth, answer
        The structure, and what was found, on one grid.
    spacing_mm
        Spacing of the grid, in its axis order.
    """
    both = truth | answer
    if not both.any():
        return None
    box = tuple(
        slice(max(0, int(shown[0]) - 4), int(shown[-1]) + 5)
        for shown in (np.flatnonzero(both.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3))
    )
    inside, found = truth[box], answer[box]
    missed, false = _largest_region(inside & ~found), _largest_region(found & ~inside)
    adds = missed.sum() >= false.sum()
    region = missed if adds else false
    if not region.any():
        return None
    painted = _paint(region, spacing_mm) & (inside if adds else ~inside)
    voxels = np.zeros(truth.shape, bool)
    voxels[box] = painted
    return Stroke(voxels, bool(adds))


def _largest_region(error: Mask) -> Mask:
    """Return the largest connected region; voxels that share a corner are connected."""
    parts, count = ndimage.label(error, np.ones((3,) * error.ndim))
    if not count:
        return error
    largest: Mask = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return largest


def _paint(region: Mask, spacing_mm: Sequence[float]) -> Mask:
    """Return the voxels of a stroke along the center of a region, in its largest section."""
    steps = np.array(spacing_mm, float)
    areas = [
        region.sum(axis=tuple({0, 1, 2} - {axis})) * steps.prod() / steps[axis] for axis in range(3)
    ]
    axis = int(np.argmax([area.max() for area in areas]))
    plane = [slice(None), slice(None), slice(None)]
    at = int(np.argmax(areas[axis]))
    plane[axis] = slice(at, at + 1)
    section = np.squeeze(region[tuple(plane)], axis)
    in_plane = np.delete(steps, axis)
    line = np.ones(section.shape, bool)
    line[tuple(_center_line(_largest_region(section), in_plane).T)] = False
    stroke = ndimage.distance_transform_edt(line, sampling=in_plane) <= BRUSH_MM / 2
    painted = np.zeros(region.shape, bool)
    painted[tuple(plane)] = np.expand_dims(stroke, axis)
    return painted


def _center_line(shape: Mask, steps: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return the pixels of a line along the center of a connected shape, no longer than a stroke.

    It is the most central path between two distant ends; of a long one, the part with the largest
    distance from the border.
    """
    padded = np.pad(shape, 1)
    depth = ndimage.distance_transform_edt(padded, sampling=steps)[1:-1, 1:-1]
    middle = tuple(int(i) for i in np.unravel_index(np.argmax(depth), shape.shape))
    equal = np.where(shape, 1.0, np.inf)
    first = _farthest(equal, middle, steps)
    last = _farthest(equal, first, steps)
    central = MCP_Geometric(
        np.where(shape, 1 / np.maximum(depth, 1e-3), np.inf), sampling=tuple(steps.tolist())
    )
    central.find_costs([first])
    path = np.array(central.traceback(last))
    lengths = np.concatenate([[0], np.linalg.norm(np.diff(path, axis=0) * steps, axis=1).cumsum()])
    longest = LENGTH_MM - BRUSH_MM  # the brush adds its radius at both ends
    best, chosen = -1.0, (0, 1)
    for start in range(len(path)):
        stop = int(np.searchsorted(lengths, lengths[start] + longest + 1e-6, side="right"))
        total = float(depth[tuple(path[start:stop].T)].sum())
        if total > best:
            best, chosen = total, (start, stop)
    return path[chosen[0] : chosen[1]]


def _farthest(
    costs: NDArray[np.float64], start: tuple[int, ...], steps: NDArray[np.float64]
) -> tuple[int, ...]:
    """Return the pixel with the longest way from another one."""
    ways, _ = MCP_Geometric(costs, sampling=tuple(steps.tolist())).find_costs([start])
    ways = np.where(np.isfinite(ways), ways, -1)
    return tuple(int(i) for i in np.unravel_index(np.argmax(ways), ways.shape))
