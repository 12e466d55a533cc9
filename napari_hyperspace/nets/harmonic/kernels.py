"""The functions in mm that kernels are combinations of, discretized on a voxel grid.

A kernel is a combination of radial functions and spherical harmonics:

    κ(r) = Σ weight[n, l, m] · radial_n(|r|) · harmonic_lm(r / |r|)

Everything but the weights depends on the grid only and is computed once per grid. The kernel of a
layer is then a small matrix product with its weights: fast, and differentiable.

References
----------
Geiger & Smidt, e3nn, arXiv 2207.09453 (radial functions and harmonics, their normalization);
Diaz et al., Learning from spatially inhomogeneous data: resolution-adaptive convolutions, 2025
(kernels in mm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

Fields = tuple[tuple[int, int], ...]
"""Multiplicity and degree of each block of features: (8, 0), (4, 1) is 8 scalars and 4 vectors."""
Taps = tuple[int, int, int]

_ROUNDING = 1e-6
_POINTS = 3  # quadrature points per distance between two radial functions
_RADII = 4001  # samples of the integral of a radial function


def dimension(fields: Fields) -> int:
    """Return the number of channels: a feature of degree l has 2l + 1."""
    return sum(multiplicity * (2 * degree + 1) for multiplicity, degree in fields)


def reach(diameter_mm: float, spacing_mm: float, *, integrated: bool) -> int:
    """Return how many taps a kernel has on each side of the middle one, along an axis.

    Parameters
    ----------
    diameter_mm
        Diameter of the ball outside of which the kernel is 0.
    spacing_mm
        Spacing of the grid along the axis.
    integrated
        True: there is a tap for each voxel that overlaps the ball; false: for each voxel whose
        center lies in the ball.
    """
    voxels = diameter_mm / 2 / spacing_mm
    if integrated:
        return max(0, math.ceil(voxels - 0.5 - _ROUNDING))
    return math.floor(voxels + _ROUNDING)


@dataclass(frozen=True, eq=False)
class Basis:
    """The functions that kernels are combinations of, on one grid.

    Parameters
    ----------
    taps
        Shape of a kernel, in array-axis order.
    values
        Values (radial functions, harmonics, flattened taps); harmonics are ordered by degree.
    """

    taps: Taps
    values: Tensor


def discretize_basis(
    diameter_mm: float,
    spacing_mm: Sequence[float],
    radial_functions: int,
    max_degree: int,
    like: Tensor,
    *,
    integrated: bool,
) -> Basis:
    """Evaluate radial functions and harmonics on a grid.

    Parameters
    ----------
    diameter_mm
        Diameter of the ball outside of which all functions are 0.
    spacing_mm
        Spacing of the grid, in array-axis order. Harmonics of degree 1 point along the array's
        axes, in their order.
    radial_functions, max_degree
        Number of radial functions, and largest degree of the harmonics.
    like
        A tensor of the dtype and device of the result.
    integrated
        False: values at the voxels' centers divided by the number of taps, as published. True:
        integrals over the voxels, by Gauss–Legendre quadrature, divided by the integral of the
        radial function over the ball. The response to an image then approximates that of the
        kernel in mm on any grid; to a constant image of 1 it is the weight.
    """
    from e3nn import o3
    from e3nn.math import soft_one_hot_linspace

    axes = [
        _samples(diameter_mm / 2, step, radial_functions, integrated=integrated)
        for step in spacing_mm
    ]
    a, b, c = (len(places) for places, _ in axes)
    grids = torch.meshgrid(*(places.flatten() for places, _ in axes), indexing="ij")
    places = torch.stack(grids, dim=-1)
    radial = soft_one_hot_linspace(
        places.norm(dim=-1), 0.0, diameter_mm / 2, radial_functions, "smooth_finite", cutoff=True
    )
    degrees = list(range(max_degree + 1))
    harmonics = o3.spherical_harmonics(degrees, places, normalize=True, normalization="component")

    def by_tap(functions: Tensor) -> Tensor:
        """(samples of all voxels per axis, functions) → (taps, samples per voxel, functions)."""
        sizes = [size for places, _ in axes for size in places.shape]
        return functions.view(*sizes, -1).permute(0, 2, 4, 1, 3, 5, 6).flatten(3, 5).flatten(0, 2)

    za, zb, zc = (shares for _, shares in axes)
    shares = torch.einsum("ai,bj,ck->abcijk", za, zb, zc).flatten(3).flatten(0, 2)
    values = ((by_tap(radial) * shares[..., None]).mT @ by_tap(harmonics)).permute(1, 2, 0)
    if integrated:
        whole = torch.tensor(_integrals(radial_functions)) * diameter_mm**3
        values = values * math.prod(spacing_mm) / whole[:, None, None]
    else:
        values = values / (a * b * c)
    return Basis((a, b, c), values.to(like))


def _samples(
    radius_mm: float, step_mm: float, radial_functions: int, *, integrated: bool
) -> tuple[Tensor, Tensor]:
    """Return the positions in mm of the samples along an axis, and their weights: (taps, samples).

    Where the ball ends inside a voxel, only the part inside the ball is sampled.
    """
    side = reach(2 * radius_mm, step_mm, integrated=integrated)
    centers = np.arange(-side, side + 1)[:, None] * float(step_mm)
    if not integrated:
        return torch.from_numpy(centers), torch.ones(len(centers), 1, dtype=torch.float64)
    width = radius_mm / (radial_functions + 1)  # distance between the peaks of radial functions
    count = max(3, math.ceil(_POINTS * min(step_mm, 2 * radius_mm) / width))
    nodes, weights = np.polynomial.legendre.leggauss(count)
    low = np.maximum(centers - step_mm / 2, -radius_mm)
    length = np.minimum(centers + step_mm / 2, radius_mm) - low
    places = low + length * (nodes + 1) / 2
    return torch.from_numpy(places), torch.from_numpy(length / step_mm * weights / 2)


@cache
def _integrals(radial_functions: int) -> tuple[float, ...]:
    """Return the integral of each radial function over a ball of diameter 1."""
    from e3nn.math import soft_one_hot_linspace

    with torch.device("cpu"):
        radii = torch.linspace(0, 0.5, _RADII, dtype=torch.float64)
        values = soft_one_hot_linspace(
            radii, 0.0, 0.5, radial_functions, "smooth_finite", cutoff=True
        )
        shells = 4 * math.pi * radii[:, None] ** 2 * values
        return tuple(torch.trapezoid(shells, radii, dim=0).tolist())


def free_kernel(weight: Tensor, self_weight: Tensor, basis: Basis) -> Tensor:
    """Make kernels that are arbitrary combinations of the functions.

    Parameters
    ----------
    weight
        (radial functions · harmonics, channels out, channels in).
    self_weight
        (channels out, channels in): added to the middle tap.
    basis
        The functions on the grid.

    Returns
    -------
    Tensor
        (channels out, channels in, *taps), differentiable with respect to both weights.
    """
    functions = basis.values.flatten(0, 1)
    kernel = (weight.flatten(1).T @ functions).view(*weight.shape[1:], -1)
    return with_middle(kernel, self_weight).view(*weight.shape[1:], *basis.taps)


def with_middle(kernel: Tensor, middle: Tensor) -> Tensor:
    """Add values (...) to the middle tap of flattened kernels (..., taps)."""
    side = kernel.shape[-1] // 2
    return kernel + torch.nn.functional.pad(middle[..., None], (side, side))
