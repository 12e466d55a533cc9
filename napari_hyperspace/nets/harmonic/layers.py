"""The layers of a steerable network for one spacing: plain tensor operations on channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_hyperspace.nets.base.modules import ExactMode
from napari_hyperspace.nets.base.normalization import InstanceNorm
from napari_hyperspace.nets.harmonic.kernels import Fields, Taps


def gate_input(fields: Fields) -> Fields:
    """Return the input fields of a gate: one more scalar for each feature of higher degree."""
    gates = sum(multiplicity for multiplicity, degree in fields if degree)
    scalars, *others = fields
    return ((scalars[0] + gates, 0), *others)


def split(image: Tensor, fields: Fields) -> Iterator[tuple[int, Tensor]]:
    """Yield degree and view (B, multiplicity, 2l + 1, *S) of each block of features."""
    start = 0
    for multiplicity, degree in fields:
        size = multiplicity * (2 * degree + 1)
        block = image.narrow(1, start, size)
        yield degree, block.view(-1, multiplicity, 2 * degree + 1, *image.shape[2:])
        start += size


class Convolution(ExactMode, nn.Conv3d):
    """A convolution whose middle tap includes the self-connection of each voxel.

    In exact mode the contribution of the middle tap is added last, as published: it is much larger
    than the others, and adding it first makes rounding errors larger. In fast mode and in training
    it is a single convolution.
    """

    def __init__(self, incoming: int, outgoing: int, taps: Taps, groups: int = 1) -> None:
        a, b, c = taps
        padding = (a // 2, b // 2, c // 2)
        super().__init__(incoming, outgoing, taps, padding=padding, groups=groups, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C', *S)."""
        if self.training or not self.exact or self.groups > 1 or max(self.kernel_size) == 1:
            return super().forward(image)
        a, b, c = (slice(n // 2, n // 2 + 1) for n in self.kernel_size)
        middle, others = self.weight[:, :, a, b, c], self.weight.clone()
        others[:, :, a, b, c] = 0
        return F.conv3d(image, others, padding=self.padding) + F.conv3d(image, middle)


class Separable(nn.Module):
    """A kernel for each channel, then a 1³ convolution that mixes the channels."""

    def __init__(self, incoming: int, outgoing: int, taps: Taps) -> None:
        super().__init__()
        self.filter = Convolution(incoming, incoming, taps, groups=incoming)
        self.mix = nn.Conv3d(incoming, outgoing, 1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C', *S)."""
        features: Tensor = self.mix(self.filter(image))
        return features


class SteerableNorm(nn.Module):
    """Instance normalization that commutes with rotations.

    Scalars are normalized by mean and variance, features of higher degree by the mean square of
    their components only. There is one scale per feature and one shift per scalar.

    Parameters
    ----------
    fields
        Features of the image, scalars first.
    """

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.fields = fields
        (n_scalars, _), *self._others = fields
        self.scalars = InstanceNorm(n_scalars)
        self.weight = nn.Parameter(torch.ones(sum(m for m, _ in self._others)))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C, *S)."""
        n_scalars = self.fields[0][0]
        parts = [self.scalars(image[:, :n_scalars])]
        start = 0
        for _, features in split(image[:, n_scalars:], tuple(self._others)):
            weight = self.weight[start : start + features.shape[1]]
            start += features.shape[1]
            exact = torch.promote_types(image.dtype, torch.float32)
            power = features.square().mean(dim=(2, 3, 4, 5), dtype=exact)
            scale = (weight * (power + self.scalars.eps).rsqrt()).to(image.dtype)
            parts.append((features * scale[..., None, None, None, None]).flatten(1, 2))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


@cache
def unit_power(name: str) -> float:
    """Return the factor that keeps the second moment of normally distributed values.

    Parameters
    ----------
    name
        The non-linearity, ``"relu"`` or ``"sigmoid"``.

    Notes
    -----
    e3nn estimates it on a million random values; published networks were trained with that value.
    """
    from e3nn.math import normalize2mom

    with torch.device("cpu"):
        return float(normalize2mom({"relu": torch.relu, "sigmoid": torch.sigmoid}[name]).cst)


class Gate(nn.Module):
    """ReLU of the scalars; each other feature is multiplied by the sigmoid of its own scalar.

    Parameters
    ----------
    fields
        Features of the output. The input has one more scalar for each feature of higher degree.
    """

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self.fields = fields
        self._relu, self._sigmoid = unit_power("relu"), unit_power("sigmoid")

    def forward(self, image: Tensor) -> Tensor:
        """(B, C + gates, *S) → (B, C, *S)."""
        (n_scalars, _), *others = self.fields
        parts = [F.relu(image[:, :n_scalars]) * self._relu]
        n_gates = sum(multiplicity for multiplicity, _ in others)
        gates = torch.sigmoid(image[:, n_scalars : n_scalars + n_gates]) * self._sigmoid
        start = 0
        for _, features in split(image[:, n_scalars + n_gates :], tuple(others)):
            gate = gates[:, start : start + features.shape[1], None]
            start += features.shape[1]
            parts.append((features * gate).flatten(1, 2))
        return torch.cat(parts, dim=1) if others else parts[0]


class MaxNormPool(nn.Module):
    """Pooling that keeps the feature of largest norm, or the largest scalar.

    Parameters
    ----------
    fields
        Features of the image.
    factors
        Voxels pooled into one, per axis.
    """

    def __init__(self, fields: Fields, factors: Sequence[float]) -> None:
        super().__init__()
        self.fields = fields
        self.factors = tuple(map(int, factors))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, *S) → (B, C, *S / factors); the factors must divide the sizes."""
        if max(self.factors) == 1:
            return image
        parts = []
        for degree, features in split(image, self.fields):
            if degree == 0:
                parts.append(F.max_pool3d(features[:, :, 0], self.factors))
                continue
            norms = torch.linalg.vector_norm(features, dim=2)
            pooled, places = F.max_pool3d(norms, self.factors, return_indices=True)
            flat = places.flatten(2)[:, :, None].expand(-1, -1, 2 * degree + 1, -1)
            chosen = features.flatten(3).gather(3, flat)
            parts.append(chosen.view(len(image), -1, *pooled.shape[2:]))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


class LinearUp(nn.Module):
    """Linear interpolation that maps the centers of the corner voxels to each other."""

    def forward(self, image: Tensor, sizes: Sequence[int]) -> Tensor:
        """(B, C, *S) → (B, C, *sizes)."""
        if image.shape[2:] == torch.Size(sizes):
            return image
        return F.interpolate(image, size=tuple(sizes), mode="trilinear", align_corners=True)


def level_fields(multiplicities: Sequence[int], factor: int) -> Fields:
    """Return the fields of a level, whose multiplicities are those given times a factor."""
    return tuple((m * factor, degree) for degree, m in enumerate(multiplicities) if m)
