"""Guidance: from a label map on any grid to the input channels of a network.

After Hu et al., *Scalable Segmentation for Ultra-High-Resolution Brain MR Images* (HighSeg, 2025),
section 3.1.2. Training and inference make the channels by the same function.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_hyperspace.core.errors import Cancelled, ShouldStop
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.normalized import NormalizedModel
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.nets.base.guidance import GivenGuidance, GuidanceChannels

__all__ = ["NO_GUIDANCE", "GuidedModel", "guidance_channels", "signed_distance"]

NO_GUIDANCE = GivenGuidance(None)
"""Nothing is known: all channels are 0."""


class GuidedModel(NormalizedModel):
    """A guided model with the guidance of one scan.

    Parameters
    ----------
    model
        The model; nothing of it is replaced.
    given
        The guidance.
    """

    def __init__(self, model: SpacingModel, given: GivenGuidance) -> None:
        super().__init__(model)
        self.normalization = model.normalization
        self.localization = model.localization
        self.given_guidance: GivenGuidance | None = given


def guidance_channels(
    given: GivenGuidance,
    channels: GuidanceChannels,
    count: int,
    grid: Grid,
    out: Tensor | None = None,
    should_stop: ShouldStop = lambda: False,
) -> Tensor:
    """Return the channels of guidance on a grid; see `GuidanceChannels`.

    The voxels are matched by their positions in mm.

    Parameters
    ----------
    given
        The guidance, on any grid.
    channels
        What the channels contain.
    count
        Number K of classes, background included.
    grid
        Where to make the channels.
    out
        (K, D, H, W) float32 to fill; `None`: a new tensor.
    should_stop
        Called before each channel, and as in `resample_to_grid`.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    """
    if out is None:
        out = torch.empty(count, *grid.shape)
    classes = given.classes
    for index, channel in enumerate(out):
        if should_stop():
            raise Cancelled
        outside = float(index == given.outside_class)
        if classes is None:
            channel.fill_(outside)
            continue
        inside = classes.array == index
        if not outside and not inside.any():
            channel.zero_()
            continue
        values = Volume(_channel(inside, classes, channels), classes.grid)
        resampled = resample_to_grid(values, grid, fill=outside, should_stop=should_stop)
        channel.copy_(torch.from_numpy(resampled.array.copy()))
    return out


def _channel(
    inside: NDArray[np.bool_], classes: Volume, channels: GuidanceChannels
) -> NDArray[np.float32]:
    """Return the values of one channel on the grid of the guidance."""
    if channels.kind == "one-hot":
        return inside.astype(np.float32)
    known = classes.array >= 0
    distance = signed_distance(inside, classes.spacing_mm, known)
    values = (1 - distance.clip(-channels.clip_mm, channels.clip_mm) / channels.clip_mm) / 2
    return np.where(known, values, 0).astype(np.float32)


def signed_distance(
    mask: NDArray[np.bool_],
    spacing_mm: Sequence[float],
    known: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Return the signed distance in mm to the surface of a mask, negative inside.

    The distance of a voxel is that to the nearest voxel center on the other side of the surface,
    minus half a voxel: half the length, in this direction, of the ellipsoid whose axes are the
    spacing. So the zero level lies half-way between neighbors on both sides, and the gradient
    across the surface is 1 at any spacing.

    Parameters
    ----------
    mask
        (D, H, W).
    spacing_mm
        Spacing of the grid, in array order.
    known
        (D, H, W) voxels whose side is known; the others are on neither side. `None`: all.

    Returns
    -------
    ndarray
        (D, H, W); infinite, with its sign, if there is nothing on the other side.
    """
    distance = np.full(mask.shape, np.inf)
    rest = ~mask if known is None else known & ~mask
    for part, other in ((mask, rest), (~mask, mask)):
        if part.any() and other.any():
            nearest = ndimage.distance_transform_edt(
                ~other, sampling=spacing_mm, return_distances=False, return_indices=True
            )
            voxels = (nearest - np.indices(mask.shape))[:, part].astype(float)
            mm = voxels * np.array(spacing_mm)[:, None]
            length, steps = (np.sqrt((each**2).sum(axis=0)) for each in (mm, voxels))
            distance[part] = length * (1 - 0.5 / steps)
    return np.where(mask, -distance, distance)
