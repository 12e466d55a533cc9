"""Kernels defined in mm, realised on a voxel grid.

A kernel between two steerable fields is a sum over radial functions and spherical harmonics:

    κ(r) = Σ weight[n, path] · coupling(path) · radial_n(|r|) · harmonic_l(r / |r|)

Everything but the weights depends on the grid alone. It is computed once a grid, and a layer's
kernel is then a few small matrix products with its weights: cheap, and differentiable.

References
----------
Weiler et al., 3D steerable CNNs, NeurIPS 2018; Geiger & Smidt, e3nn, arXiv 2207.09453 (conventions
and normalisation of irreps, couplings and radial functions); Diaz et al., 2025 (kernels in mm).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from torch import Tensor

Fields = tuple[tuple[int, int], ...]
"""Multiplicity and degree of each block of features: (8, 0), (4, 1) is 8 scalars and 4 vectors."""

_ROUNDING = 1e-6


def dimension(fields: Fields) -> int:
    """Return the number of channels: a feature of degree l has 2l + 1."""
    return sum(multiplicity * (2 * degree + 1) for multiplicity, degree in fields)


def reach(diameter_mm: float, spacing_mm: float, *, averaged: bool) -> int:
    """Return how many taps a kernel has on either side of the middle.

    Parameters
    ----------
    diameter_mm
        Of the ball outside of which the kernel is 0.
    spacing_mm
        Of the grid, along the axis.
    averaged
        Whether a tap stands for a voxel, some of which the ball touches, or for the voxel's centre,
        which lies in the ball.
    """
    voxels = diameter_mm / 2 / spacing_mm
    if averaged:
        return max(0, math.ceil(voxels - 0.5 - _ROUNDING))
    return math.floor(voxels + _ROUNDING)


@dataclass(frozen=True)
class Path:
    """One way of a block of features, through harmonics of one degree, into another block.

    Parameters
    ----------
    incoming, outgoing
        Numbers of the blocks.
    degree
        Of the harmonics.
    start
        Where its weights begin: one for each pair of features (in, out), the input's first.
    scale
        What keeps the variance of the output near that of the input.
    """

    incoming: int
    degree: int
    outgoing: int
    start: int
    scale: float


@cache
def paths(incoming: Fields, max_degree: int, outgoing: Fields) -> tuple[Path, ...]:
    """Return all ways from fields to fields through harmonics of degrees 0 … `max_degree`."""
    from e3nn import o3

    with torch.device("cpu"):
        product = o3.FullyConnectedTensorProduct(
            _irreps(incoming),
            o3.Irreps.spherical_harmonics(max_degree, p=1),
            _irreps(outgoing),
            shared_weights=False,
            internal_weights=False,
            compile_left_right=False,
            compile_right=False,
        )
    found, start = [], 0
    for each in product.instructions:
        path = Path(each.i_in1, each.i_in2, each.i_out, start, float(each.path_weight))
        found.append(path)
        start += math.prod(each.path_shape)
    return tuple(found)


def weights_of(incoming: Fields, max_degree: int, outgoing: Fields) -> int:
    """Return the number of weights of all paths, for one radial function."""
    return sum(
        incoming[path.incoming][0] * outgoing[path.outgoing][0]
        for path in paths(incoming, max_degree, outgoing)
    )


@cache
def coupling(degree_in: int, degree: int, degree_out: int) -> Tensor:
    """Return the coupling of two degrees to a third (2·in + 1, 2·degree + 1, 2·out + 1)."""
    from e3nn import o3

    with torch.device("cpu"):
        found: Tensor = o3.wigner_3j(degree_in, degree, degree_out, dtype=torch.float64)
    return found


def _irreps(fields: Fields) -> str:
    return "+".join(f"{multiplicity}x{degree}e" for multiplicity, degree in fields)


@dataclass(eq=False)
class Basis:
    """The functions that kernels are made of, on one grid.

    Parameters
    ----------
    taps
        Shape of a kernel, in array-axis order.
    values
        Radial functions × harmonics (radial, harmonics, taps flattened); harmonics by degree.
    """

    taps: tuple[int, int, int]
    values: Tensor
    _coupled: dict[tuple[int, int, int], Tensor] = field(default_factory=dict)

    def coupled(self, degree_in: int, degree: int, degree_out: int) -> Tensor:
        """Return the functions for a pair of degrees (radial, in · out · taps)."""
        key = (degree_in, degree, degree_out)
        if key not in self._coupled:
            tensor = coupling(*key).to(self.values)
            harmonics = self.values[:, degree**2 : (degree + 1) ** 2]
            self._coupled[key] = torch.einsum("imk,nmt->nikt", tensor, harmonics).flatten(1)
        return self._coupled[key]


def realise_basis(
    diameter_mm: float,
    spacing_mm: Sequence[float],
    radial_functions: int,
    max_degree: int,
    points: int,
    like: Tensor,
) -> Basis:
    """Evaluate radial functions and harmonics on a grid.

    Parameters
    ----------
    diameter_mm
        Of the ball outside of which all are 0.
    spacing_mm
        Of the grid, in array-axis order; degree 1 points along the array's axes, in their order.
    radial_functions, max_degree
        Their number, and the largest degree of the harmonics.
    points
        1: sampled at the voxels' centres and divided by the number of taps, as published. More: the
        mean over each voxel, by Gauss–Legendre quadrature of so many points an axis, times its
        volume by that of the ball's bounding cube, so that a response to an image does not change
        with the grid.
    like
        A tensor of the wanted type and device.
    """
    from e3nn import o3
    from e3nn.math import soft_one_hot_linspace

    averaged = points > 1
    reaches = [reach(diameter_mm, step, averaged=averaged) for step in spacing_mm]
    a, b, c = (2 * n + 1 for n in reaches)
    nodes, shares = np.polynomial.legendre.leggauss(points)
    axes = [
        ((np.arange(-n, n + 1)[:, None] + nodes[None] / 2) * step).ravel()
        for n, step in zip(reaches, spacing_mm, strict=True)
    ]
    places = torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    radial = soft_one_hot_linspace(
        places.norm(dim=-1), 0.0, diameter_mm / 2, radial_functions, "smooth_finite", cutoff=True
    )
    degrees = list(range(max_degree + 1))
    harmonics = o3.spherical_harmonics(degrees, places, normalize=True, normalization="component")
    weight = torch.from_numpy(shares / 2)
    shape = (a, points, b, points, c, points)
    values = torch.einsum(
        "xaybzcn,xaybzcm,a,b,c->nmxyz",
        radial.view(*shape, -1),
        harmonics.view(*shape, -1),
        weight,
        weight,
        weight,
    )
    values *= math.prod(spacing_mm) / diameter_mm**3 if averaged else 1 / (a * b * c)
    return Basis((a, b, c), values.flatten(2).to(like))


def realise_kernel(
    weight: Tensor, self_weight: Tensor, incoming: Fields, outgoing: Fields, basis: Basis
) -> Tensor:
    """Make the kernel of one layer, with its self-connection at the middle tap.

    Parameters
    ----------
    weight
        (radial functions, weights of all paths).
    self_weight
        Weights of the paths through degree 0 alone, for the voxel itself.
    incoming, outgoing
        Its features.
    basis
        The functions on the grid.

    Returns
    -------
    Tensor
        (channels out, channels in, *taps), differentiable with respect to both weights.
    """
    max_degree = math.isqrt(basis.values.shape[1]) - 1
    n_taps = math.prod(basis.taps)
    kernels: dict[tuple[int, int], Tensor] = {}
    for path in paths(incoming, max_degree, outgoing):
        (u, degree_in), (v, degree_out) = incoming[path.incoming], outgoing[path.outgoing]
        own = path.scale * weight[:, path.start : path.start + u * v]
        functions = basis.coupled(degree_in, path.degree, degree_out)
        part = own.T @ functions  # (u · v, in · out · taps)
        key = (path.outgoing, path.incoming)
        kernels[key] = kernels[key] + part if key in kernels else part
    for path in paths(incoming, 0, outgoing):
        (u, degree_in), (v, degree_out) = incoming[path.incoming], outgoing[path.outgoing]
        own = path.scale * self_weight[path.start : path.start + u * v, None]
        point = coupling(degree_in, 0, degree_out).to(own).view(1, -1)
        middle = own @ point  # (u · v, in · out)
        key = (path.outgoing, path.incoming)
        sides = (n_taps // 2, n_taps // 2)
        padded = torch.nn.functional.pad(middle[..., None], sides).flatten(1)
        kernels[key] = kernels[key] + padded if key in kernels else padded
    rows = []
    for o, (v, degree_out) in enumerate(outgoing):
        blocks = []
        for i, (u, degree_in) in enumerate(incoming):
            shape = (u, v, 2 * degree_in + 1, 2 * degree_out + 1, n_taps)
            block = kernels[o, i].view(shape) if (o, i) in kernels else weight.new_zeros(shape)
            blocks.append(block.permute(1, 3, 0, 2, 4).reshape(shape[1] * shape[3], -1, n_taps))
        rows.append(torch.cat(blocks, dim=1))
    kernel = torch.cat(rows)
    return kernel.view(*kernel.shape[:2], *basis.taps)
