"""Guidance of training samples: the true labels on a coarse grid, wrong on purpose.

After Hu et al., *Scalable Segmentation for Ultra-High-Resolution Brain MR Images* (HighSeg, 2025),
section 3.1.2. In the paper the guidance is the segmentation of another program. Here it is made
from the labels of each sample, with the errors that such a segmentation has: it is sampled
coarsely, displaced, its classes are eroded or dilated or missing, or it covers a part only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.separable import AxisMatrix, axis_matrix, resample_axes
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.guidance import NO_GUIDANCE, guidance_channels
from napari_hyperspace.nets.base.guidance import GivenGuidance
from training.config.guidance import GuidanceSection
from training.data.labels import OUTSIDE

_LEAST_SHARE = 0.02  # of a coarse voxel, for a class that is dilated into it
_LEAST_PART = 0.3  # of each axis, if the guidance covers a part only


@dataclass(frozen=True)
class CoarseGrid:
    """A coarse grid over a sample, with the same axes.

    Parameters
    ----------
    spacing_mm
        Spacing (z, y, x).
    start_mm
        Position of one of its voxel centers, relative to that of the first voxel of the sample.
    """

    spacing_mm: Triple
    start_mm: Triple

    def matrices(self, shape: Sequence[int], spacing_mm: Sequence[float]) -> list[AxisMatrix]:
        """Return the matrices that average a sample over the voxels of the grid.

        Parameters
        ----------
        shape, spacing_mm
            Those of the sample (z, y, x). Voxels of the grid that extend beyond it have the part
            inside only: what is averaged is 0 outside.
        """
        matrices = []
        for n, step, coarse, start in zip(
            shape, spacing_mm, self.spacing_mm, self.start_mm, strict=True
        ):
            factor = coarse / step
            center, count = _covering(n, factor, start / step)
            matrices.append(axis_matrix(n, count, factor, center, order="overlap", extend=False))
        return matrices


def _covering(n: int, factor: float, center: float) -> tuple[float, int]:
    """Return the first center and the number of the coarse voxels that cover n voxels.

    Parameters
    ----------
    n
        Number of voxels; their edges are at -1/2 and n - 1/2.
    factor
        Size of a coarse voxel.
    center
        Center of any coarse voxel.
    """
    first = center + math.floor((-0.5 - center) / factor + 0.5) * factor
    return first, max(1, math.ceil((n - 0.5 - first) / factor + 0.5))


def sample_coarse_grid(
    rng: np.random.Generator,
    range_mm: tuple[float, float],
    spacing_mm: Sequence[float],
    anisotropic_probability: float = 0.0,
) -> CoarseGrid:
    """Return a random coarse grid, never finer than the sample.

    Parameters
    ----------
    rng
        Random generator of the sample.
    range_mm
        Smallest and largest spacing; sampled log-uniformly.
    spacing_mm
        Spacing of the sample (z, y, x).
    anisotropic_probability
        Probability of another spacing along each axis.
    """
    low, high = np.log(range_mm)
    three = np.exp(rng.uniform(low, high, 3)).clip(*range_mm)  # without the error of rounding
    if rng.random() >= anisotropic_probability:
        three[:] = three[0]
    z, y, x = np.maximum(three, spacing_mm).tolist()
    a, b, c = (rng.uniform(0, 1, 3) * (z, y, x)).tolist()
    return CoarseGrid((z, y, x), (a, b, c))


def guided_sample(
    rng: np.random.Generator,
    image: Tensor,
    labels: Tensor,
    spacing_mm: Sequence[float],
    classes: int,
    config: GuidanceSection,
    margin: Sequence[int] = (0, 0, 0),
) -> tuple[Tensor, CoarseGrid]:
    """Add the channels of guidance to an image.

    Parameters
    ----------
    rng
        Random generator of the sample.
    image
        (C, D, H, W) float32.
    labels
        (D, H, W) int16 with a margin around the image; `OUTSIDE` where the label is unknown.
    spacing_mm
        Working spacing (z, y, x).
    classes
        Number K of classes, background included.
    config
        Ranges of the random parameters.
    margin
        Voxels on each side by which the labels exceed the image.

    Returns
    -------
    tuple
        Image with guidance (C + K, D, H, W), and the grid of the guidance without its displacement.
    """
    around = Grid.from_spacing(labels.shape, spacing_mm)
    given, grid = sample_guidance(rng, labels, around, classes, config, margin)
    own = around.crop(margin, image.shape[1:])
    channels = guidance_channels(given, config.channels.build(), classes, own)
    return torch.cat([image, channels]), grid


def sample_guidance(
    rng: np.random.Generator,
    labels: Tensor,
    around: Grid,
    classes: int,
    config: GuidanceSection,
    margin: Sequence[int] = (0, 0, 0),
) -> tuple[GivenGuidance, CoarseGrid]:
    """Return random guidance for labels on a grid; see `guided_sample`."""
    steps = np.array(around.spacing_mm)
    grid = sample_coarse_grid(
        rng, config.spacing_mm, around.spacing_mm, config.anisotropic_probability
    )
    shift_mm = rng.normal(0, 1, 3) * config.shift_mm
    surface_mm = rng.uniform(-1, 1, classes) * config.surface_mm
    dropped = rng.random(classes) < config.drop_probability
    dropped[0] = False
    without, part = rng.random(2) < (config.none_probability, config.part_probability)
    corner, size = rng.uniform(0, 1, 3), rng.uniform(_LEAST_PART, 1, 3)
    if without:
        return NO_GUIDANCE, grid
    factor = np.array(grid.spacing_mm) / steps
    center = np.array(grid.start_mm) / steps + np.array(margin)
    covering = [
        _covering(n, f, c)
        for n, f, c in zip(labels.shape, factor.tolist(), center.tolist(), strict=True)
    ]
    start = np.array([first for first, _ in covering])
    shape = np.array([count for _, count in covering])
    array = _coarse_classes(labels, steps, shape, factor, start, surface_mm, dropped)
    affine = np.eye(4)
    affine[:3, :3] = around.directions * grid.spacing_mm
    affine[:3, 3] = around.index_to_mm(start) + around.directions @ shift_mm
    a, b, c = shape.tolist()
    placed = Grid((a, b, c), affine)
    if part:
        kept = np.maximum(1, np.round(size * shape)).astype(int)
        first = np.floor(corner * (shape - kept + 1)).astype(int)
        box = tuple(slice(i, i + n) for i, n in zip(first, kept, strict=True))
        placed, array = placed.crop(first.tolist(), kept.tolist()), array[box]
    return GivenGuidance(Volume(array, placed)), grid


def _coarse_classes(
    labels: Tensor,
    steps: NDArray[np.float64],
    shape: NDArray[np.int_],
    factor: NDArray[np.float64],
    start: NDArray[np.float64],
    surface_mm: NDArray[np.float64],
    dropped: NDArray[np.bool_],
) -> NDArray[np.int16]:
    """Return the class of each coarse voxel, with moved surfaces; -1 where it is unknown.

    The share that a class has of a neighborhood, weighted by a triangle, tells how deep in it a
    voxel lies: exactly, if the surface is a plane. A class that is dilated is deeper everywhere by
    this distance; the deepest class gets the voxel.
    """
    half_mm = np.maximum(factor * steps, 2 * np.abs(surface_mm).max(initial=0))
    matrices = [
        axis_matrix(n, m, f, s, order="linear", width=float(w), extend=False)
        for n, m, f, s, w in zip(
            labels.shape,
            shape.tolist(),
            factor.tolist(),
            start.tolist(),
            (half_mm / steps).tolist(),
            strict=True,
        )
    ]

    def share(mask: Tensor) -> NDArray[np.float32]:
        return resample_axes(mask.float(), matrices).numpy()

    known = share(labels != OUTSIDE)
    winner = np.zeros(known.shape, np.int16)
    best = np.full(known.shape, -np.inf, np.float32)
    for index in torch.unique(labels).tolist():
        if index == OUTSIDE or dropped[index]:
            continue
        own = share(labels == index)
        outer, inner = np.sqrt(2 * own.clip(0, 0.5)) - 1, 1 - np.sqrt(2 * (1 - own).clip(0, 0.5))
        depth_mm = half_mm.mean() * np.where(own < 0.5, outer, inner) + surface_mm[index]
        depth_mm[own < _LEAST_SHARE] = -np.inf
        deeper = depth_mm > best
        winner[deeper] = index
        best[deeper] = depth_mm[deeper]
    winner[known < 0.5] = -1
    return winner
