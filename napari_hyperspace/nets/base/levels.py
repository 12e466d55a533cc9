"""Downsampling and upsampling between levels whose voxel sizes differ by any real factor.

Voxel *o* of the coarser map covers the interval ``[o·f, (o + 1)·f)`` of the finer one, in voxels
from the edge of its first voxel. Spacings therefore stay exact; a remainder at the end becomes a
voxel of its own. Both operations are separable, with one small matrix per axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# A factor such as 1.6666666 instead of 5/3, from a spacing stored in single precision, must not add
# a voxel: a remainder of up to this fraction of a coarser voxel belongs to the last one.
_ROUNDING = 1e-4


def coarser_size(size: int, factor: float) -> int:
    """Return how many voxels, each `factor` times as large, cover `size` voxels."""
    return max(1, math.ceil(size / factor - _ROUNDING))


def averaging_matrix(size: int, factor: float, like: Tensor) -> Tensor:
    """Return the weight of each finer voxel in each coarser one: (coarser, size); rows sum to 1."""
    # In double precision: in single precision, the last coarser voxel may start past the map.
    start = torch.arange(coarser_size(size, factor), dtype=torch.float64)[:, None] * factor
    voxel = torch.arange(size, dtype=torch.float64)[None]
    shares = (torch.minimum(start + factor, voxel + 1.0) - torch.maximum(start, voxel)).clamp(min=0)
    return (shares / shares.sum(1, keepdim=True)).to(like)


def interpolation_matrix(size: int, coarser: int, factor: float, like: Tensor) -> Tensor:
    """Return the linear weights of the coarser voxels for each finer one: (size, coarser)."""
    center = (torch.arange(size, device=like.device)[:, None] + 0.5) / factor - 0.5
    center = center.clamp(0, coarser - 1)
    voxel = torch.arange(coarser, device=like.device)[None]
    return (1 - (center - voxel).abs()).clamp(min=0).to(like.dtype)


class Average(nn.Module):
    """Average over the finer voxels that each coarser voxel covers.

    Attributes
    ----------
    factors
        Size of a coarser voxel in finer ones, per axis; `None` until a spacing is known.
    """

    factors: tuple[float, ...] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C, *S'), each size divided by its factor and rounded up."""
        factors = _known(self.factors)
        pool = F.avg_pool3d if image.ndim == 5 else F.avg_pool2d
        sizes = image.shape[2:]
        # On CPUs torch pools float32 only.
        pooled = image.dtype == torch.float32 or image.device.type != "cpu"
        if pooled and all(
            f.is_integer() and n % f == 0 for f, n in zip(factors, sizes, strict=True)
        ):
            return image if max(factors) == 1 else pool(image, tuple(map(int, factors)))
        for axis, factor in enumerate(factors, start=2):
            if factor != 1:
                image = _along(averaging_matrix(image.shape[axis], factor, image), image, axis)
        return image


class Interpolation(nn.Module):
    """A convolution to fewer channels, then linear interpolation at the finer voxels' centers.

    The two commute; the convolution costs less on the coarser map.

    Parameters
    ----------
    narrow
        The convolution, with a kernel of one voxel.

    Attributes
    ----------
    factors
        Size of a coarser voxel in finer ones, per axis; `None` until a spacing is known.
    """

    factors: tuple[float, ...] | None = None

    def __init__(self, narrow: nn.Module) -> None:
        super().__init__()
        self.narrow = narrow

    def forward(self, image: Tensor, sizes: Sequence[int]) -> Tensor:
        """(B, C, *S) → (B, C', *sizes)."""
        image = self.narrow(image)
        for axis, (factor, size) in enumerate(zip(_known(self.factors), sizes, strict=True), 2):
            if factor != 1:
                matrix = interpolation_matrix(size, image.shape[axis], factor, image)
                image = _along(matrix, image, axis)
        return image


def _known(factors: tuple[float, ...] | None) -> tuple[float, ...]:
    if factors is None:
        raise RuntimeError("a network with physical levels needs a spacing: call adapt(spacing_mm)")
    return factors


def _along(matrix: Tensor, image: Tensor, axis: int) -> Tensor:
    """Apply a matrix (n', n) along an axis of length n."""
    if axis == image.ndim - 1:
        return image @ matrix.T
    mapped = matrix @ image.flatten(axis + 1)
    return mapped.view(*mapped.shape[:-1], *image.shape[axis + 1 :])
