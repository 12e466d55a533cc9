"""Ways down and up between levels whose voxels differ by any real factor.

Voxel *o* of the coarser map covers ``[o·f, (o + 1)·f)`` voxels of the finer one, from the first
voxel's edge on: spacings stay exact, and what remains at the end is a voxel of its own. Both maps
are separable, one small matrix an axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# A factor such as 1.6666666 in place of 5/3, from a spacing that a file stores in single precision,
# is not to add a voxel: this much of a finer voxel, of thousands, belongs to the last one.
_ROUNDING = 1e-4


def coarser_size(size: int, factor: float) -> int:
    """Return how many voxels, each `factor` times larger, cover `size` voxels."""
    return max(1, math.ceil(size / factor - _ROUNDING))


def averaging_matrix(size: int, factor: float, like: Tensor) -> Tensor:
    """Return the shares of the finer voxels in each coarser one: (coarser, size), rows sum to 1."""
    # In double precision: single would start a last sliver of a voxel behind the finer ones.
    start = torch.arange(coarser_size(size, factor), dtype=torch.float64)[:, None] * factor
    voxel = torch.arange(size, dtype=torch.float64)[None]
    shares = (torch.minimum(start + factor, voxel + 1.0) - torch.maximum(start, voxel)).clamp(min=0)
    return (shares / shares.sum(1, keepdim=True)).to(like)


def interpolation_matrix(size: int, coarser: int, factor: float, like: Tensor) -> Tensor:
    """Return the linear weights of the coarser voxels in each finer one: (size, coarser)."""
    center = (torch.arange(size, device=like.device)[:, None] + 0.5) / factor - 0.5
    center = center.clamp(0, coarser - 1)
    voxel = torch.arange(coarser, device=like.device)[None]
    return (1 - (center - voxel).abs()).clamp(min=0).to(like.dtype)


class Average(nn.Module):
    """Average over the voxels that a larger one covers.

    Attributes
    ----------
    factors
        How much larger its voxels are, an axis; `None` until a spacing is known.
    """

    factors: tuple[float, ...] | None = None

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C, *S'), each size divided by its factor and rounded up."""
        factors = _known(self.factors)
        pool = F.avg_pool3d if image.ndim == 5 else F.avg_pool2d
        sizes = image.shape[2:]
        # Torch has no pooling of short types on a CPU.
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
    """Fewer channels, then linear interpolation at the centers of the finer voxels.

    The two commute; on the coarser map the channels cost less.

    Attributes
    ----------
    factors
        How much smaller the voxels become, an axis; `None` until a spacing is known.
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
