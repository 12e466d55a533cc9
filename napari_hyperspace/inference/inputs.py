"""Turn scans into the input of a network: checked, normalized, canonical, on the working grid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning, ShouldStop
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.resample import SLAB_VOXELS, resample_to_grid
from napari_hyperspace.core.separable import grid_matrices, resample_axes
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.guidance import guidance_channels
from napari_hyperspace.inference.plan import Plan
from napari_hyperspace.inference.protocols import SpacingModel

# Bytes per voxel while an axis is smoothed: before and after, and both again in that axis's order.
_SMOOTHING = 16
_POINT = 160  # bytes per interpolated point: positions and weights of its taps


def as_volumes(volume: Volume | Sequence[Volume], model: SpacingModel) -> list[Volume]:
    """Return the images of the input, on one grid.

    Raises
    ------
    HyperspaceError
        If their number does not match the model, their grids differ, or a voxel is not finite.
    """
    volumes = [volume] if isinstance(volume, Volume) else list(volume)
    if len(volumes) != model.image_channels:
        raise HyperspaceError(
            "wrong number of images for this model",
            where=model.name,
            found=len(volumes),
            expected=model.image_channels,
        )
    first, *rest = volumes
    for other in rest:
        if not other.grid.is_close(first.grid):
            raise HyperspaceError(
                "the images are not on one grid",
                where=other.name or None,
                found=f"shape {other.shape}, corners "
                f"{first.grid.corner_distance_mm(other.grid):.3g} mm apart",
                expected=f"shape {first.shape}",
                fix="Resample them to one grid first",
            )
    for each in volumes:
        if each.dtype.kind not in "fiub":
            raise HyperspaceError(
                "voxels must be real numbers", where=each.name or None, found=each.dtype
            )
        if each.dtype.kind != "f" or np.isfinite(each.array.sum(dtype=np.float64)):
            continue  # a sum is finite only if all values are, and needs no temporary array
        bad = each.array.size - int(np.count_nonzero(np.isfinite(each.array)))
        if bad:
            raise HyperspaceError(
                "the image contains values that are not finite",
                where=each.name or None,
                found=f"{bad} of {each.array.size} voxels",
                fix="Read it with a fill value to replace them",
            )
    return volumes


def guidance_needed(model: SpacingModel) -> HyperspaceError:
    """Return the error of a guided model that is used without guidance."""
    return HyperspaceError(
        "this model needs guidance: a segmentation of the same structures at a lower spacing",
        where=model.name,
        field="guidance",
        expected="labels on any grid, or a coarse pass of a model",
        fix="Give labels as guidance, or hs.Guidance(model, spacing_mm); with the command line, "
        "--guidance FILE or --guidance MODEL@SPACING",
    )


def straight_grid(grid: Grid) -> Grid:
    """Return the grid of perpendicular axes on which a scan with a sheared grid is segmented.

    Its axes are the nearest perpendicular ones, its spacing is the same, and it contains all voxel
    centers of the sheared grid. A grid that is not sheared is returned unchanged.
    """
    if not grid.is_sheared:
        return grid
    left, _, right = np.linalg.svd(grid.directions)
    affine = np.eye(4)
    affine[:3, :3] = (left @ right) * grid.spacing_mm
    corners = np.linalg.solve(affine[:3, :3], grid.corners_mm().T).T
    lowest, highest = corners.min(axis=0), corners.max(axis=0)
    affine[:3, 3] = affine[:3, :3] @ lowest
    a, b, c = (int(n) for n in np.ceil(highest - lowest - 1e-4) + 1)
    return Grid((a, b, c), affine)


def straightening_bytes(sheared: Grid, straight: Grid) -> int:
    """Return the peak memory in bytes of resampling a volume from its sheared grid.

    The peak is either in smoothing or in interpolation. The volume itself is not included: the
    caller holds it.
    """
    before, after = math.prod(sheared.shape), math.prod(straight.shape)
    at_once = max(SLAB_VOXELS, straight.shape[1] * straight.shape[2])
    return max(_SMOOTHING * before, 4 * (before + after) + _POINT * at_once)


def working_image(
    volumes: Sequence[Volume],
    model: SpacingModel,
    plan: Plan,
    should_stop: ShouldStop = lambda: False,
) -> Tensor:
    """Return the input of the network (C, D, H, W), float32, on the plan's working grid.

    Volumes on a sheared grid are resampled to the plan's native grid first, with a warning.

    Parameters
    ----------
    volumes
        The images, on one grid.
    model
        Its normalization and its guidance are used.
    plan
        Native and working grid.
    should_stop
        Called before each step of each channel, and every few planes while a sheared volume is
        resampled.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If the model is guided and has no guidance.
    """

    def check() -> None:
        if should_stop():
            raise Cancelled

    # The grid of the first volume is used for all. Grids that are equal within the tolerance may
    # still have different orientations if they are rotated by about 45°.
    grid = volumes[0].grid
    if grid.is_sheared:
        warnings.warn(
            "the grid is sheared (possibly by a tilted gantry): the image is resampled to "
            "perpendicular axes, and the labels are resampled back",
            HyperspaceWarning,
            stacklevel=2,
        )
    matrices = grid_matrices(plan.native, plan.working)
    image = torch.empty(model.in_channels, *plan.working.shape)
    if model.guidance is not None:
        if model.given_guidance is None:
            raise guidance_needed(model)
        guidance_channels(
            model.given_guidance,
            model.guidance,
            model.out_channels,
            plan.working,
            image[len(volumes) :],
            should_stop,
        )
    for channel, volume in zip(image[: len(volumes)], volumes, strict=True):
        check()
        values = volume.array
        if grid.is_sheared:
            scan = Volume(values, grid)
            values = resample_to_grid(scan, plan.native, should_stop=should_stop).array
            check()
        values = model.normalization.apply(values)
        check()
        if not grid.is_sheared:
            values = grid.orientation.to_canonical(values)
        if min(values.strides) < 0 or not (values.flags.c_contiguous and values.flags.writeable):
            values = values.copy()  # torch supports neither negative strides nor read-only memory
            check()
        with torch.inference_mode():
            channel.copy_(resample_axes(torch.from_numpy(values), matrices))
        del values  # free it before the next channel is made
    return image
