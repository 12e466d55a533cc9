"""Kernels between steerable fields: rotating the input rotates the output.

    κ(r) = Σ weight[n, path] · coupling(path) · radial_n(|r|) · harmonic_l(r / |r|)

References
----------
Weiler et al., 3D steerable CNNs, NeurIPS 2018; Geiger & Smidt, e3nn, arXiv 2207.09453 (conventions
of irreps, couplings and their normalization).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from napari_hyperspace.nets.harmonic.kernels import Basis, Fields, with_middle


@dataclass(frozen=True)
class CouplingPath:
    """A path: from a block of features, through harmonics of one degree, to another block.

    Parameters
    ----------
    incoming, outgoing
        Indices of the blocks.
    degree
        Degree of the harmonics.
    start
        Index of its first weight; there is one weight for each pair of features (in, out), the
        input's index varying slowest.
    scale
        Factor that keeps the variance of the output near that of the input.
    """

    incoming: int
    degree: int
    outgoing: int
    start: int
    scale: float


@cache
def paths(incoming: Fields, max_degree: int, outgoing: Fields) -> tuple[CouplingPath, ...]:
    """Return all paths between two lists of fields through degrees 0 … `max_degree`."""
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
        found.append(
            CouplingPath(each.i_in1, each.i_in2, each.i_out, start, float(each.path_weight))
        )
        start += math.prod(each.path_shape)
    return tuple(found)


def n_path_weights(incoming: Fields, max_degree: int, outgoing: Fields) -> int:
    """Return the number of weights of all paths, for one radial function."""
    return sum(
        incoming[path.incoming][0] * outgoing[path.outgoing][0]
        for path in paths(incoming, max_degree, outgoing)
    )


def _irreps(fields: Fields) -> str:
    return "+".join(f"{multiplicity}x{degree}e" for multiplicity, degree in fields)


@cache
def _coupling(degree_in: int, degree: int, degree_out: int) -> Tensor:
    """Return the coupling of two degrees to a third (2·in + 1, 2·degree + 1, 2·out + 1)."""
    from e3nn import o3

    with torch.device("cpu"):
        found: Tensor = o3.wigner_3j(degree_in, degree, degree_out, dtype=torch.float64)
    return found


class CoupledBasis:
    """The functions on one grid, coupled to pairs of degrees; computed once for all layers."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        self.max_degree = math.isqrt(basis.values.shape[1]) - 1
        self._known: dict[tuple[int, int, int], Tensor] = {}

    def functions(self, degree_in: int, degree: int, degree_out: int) -> Tensor:
        """Return the functions for a pair of degrees (radial functions, in · out · taps)."""
        key = (degree_in, degree, degree_out)
        if key not in self._known:
            values = self.basis.values[:, degree**2 : (degree + 1) ** 2]
            coupling = _coupling(*key).to(values)
            self._known[key] = torch.einsum("imk,nmt->nikt", coupling, values).flatten(1)
        return self._known[key]


def point_kernel(weight: Tensor, incoming: Fields, outgoing: Fields) -> Tensor:
    """Make the matrix of a linear map per voxel that commutes with rotations.

    Parameters
    ----------
    weight
        One for each pair of features of equal degree.
    incoming, outgoing
        Features of input and output.

    Returns
    -------
    Tensor
        (channels out, channels in).
    """
    return _assemble(_point_blocks(weight, incoming, outgoing), incoming, outgoing, weight)[..., 0]


def steerable_kernel(
    weight: Tensor, self_weight: Tensor, incoming: Fields, outgoing: Fields, coupled: CoupledBasis
) -> Tensor:
    """Make the kernel of one layer, with its self-connection at the middle tap.

    Parameters
    ----------
    weight
        (radial functions, weights of all paths).
    self_weight
        As in `point_kernel`.
    incoming, outgoing
        Features of input and output.
    coupled
        The functions on the grid.

    Returns
    -------
    Tensor
        (channels out, channels in, *taps), differentiable with respect to both weights.
    """
    blocks: dict[tuple[int, int], Tensor] = {}
    for path in paths(incoming, coupled.max_degree, outgoing):
        (u, degree_in), (v, degree_out) = incoming[path.incoming], outgoing[path.outgoing]
        own = path.scale * weight[:, path.start : path.start + u * v]
        part = own.T @ coupled.functions(degree_in, path.degree, degree_out)
        key = (path.outgoing, path.incoming)
        blocks[key] = blocks[key] + part if key in blocks else part
    kernel = _assemble(blocks, incoming, outgoing, weight)
    kernel = with_middle(kernel, point_kernel(self_weight, incoming, outgoing))
    return kernel.view(*kernel.shape[:2], *coupled.basis.taps)


def _point_blocks(
    weight: Tensor, incoming: Fields, outgoing: Fields
) -> dict[tuple[int, int], Tensor]:
    blocks = {}
    for path in paths(incoming, 0, outgoing):
        (u, degree_in), (v, degree_out) = incoming[path.incoming], outgoing[path.outgoing]
        own = path.scale * weight[path.start : path.start + u * v, None]
        point = _coupling(degree_in, 0, degree_out).to(own)
        blocks[path.outgoing, path.incoming] = own @ point.view(1, -1)
    return blocks


def _assemble(
    blocks: dict[tuple[int, int], Tensor], incoming: Fields, outgoing: Fields, like: Tensor
) -> Tensor:
    """Arrange blocks (u · v, in · out · taps) of features as one kernel: (out, in, taps)."""
    (o, i), block = next(iter(blocks.items()))
    n_taps = block.shape[1] // ((2 * incoming[i][1] + 1) * (2 * outgoing[o][1] + 1))
    rows = []
    for o, (v, degree_out) in enumerate(outgoing):
        row = []
        for i, (u, degree_in) in enumerate(incoming):
            shape = (u, v, 2 * degree_in + 1, 2 * degree_out + 1, n_taps)
            block = blocks[o, i].view(shape) if (o, i) in blocks else like.new_zeros(shape)
            row.append(block.permute(1, 3, 0, 2, 4).reshape(v * shape[3], u * shape[2], n_taps))
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)
