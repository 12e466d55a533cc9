"""Configurations of U-Nets of physical kernels, and of their factory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from napari_hyperspace.nets.base.config import BaseNetworkConfig, Config


class HarmonicUNetConfig(BaseNetworkConfig):
    """A U-Net whose kernels and pooling sizes are defined in mm.

    The defaults are those of the resolution-adaptive "e3mm" U-Net (Diaz et al., 2025): features of
    degree 0, 1 and 2, in e3nn's notation 8x0e + 4x1e + 2x2e at full size.
    """

    kind: Literal["harmonic-unet"] = "harmonic-unet"
    n_dim: Literal[3] = 3
    """Spatial dimensions."""
    multiplicities: Annotated[
        tuple[Annotated[int, Field(ge=0, le=1024)], ...], Field(min_length=1, max_length=5)
    ] = (8, 4, 2)
    """Features of degree 0, 1, 2, … at full size; one of degree l has 2l + 1 channels."""
    channel_growth: Literal[1, 2] = 2
    """Factor of the multiplicities from one level to the next."""
    level_spacing_mm: Annotated[tuple[PositiveFloat, ...], Field(max_length=8)] = (2.0, 4.0, 8.0)
    """Voxel size in mm that each downsampling pools to; their number gives the levels."""
    kernel_mm: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, max_length=9)] = (
        5.0,
        10.0,
        20.0,
        40.0,
    )
    """Diameter in mm of the kernels of each level, the finest first."""
    radial_functions: Annotated[int, Field(ge=1, le=32)] = 5
    """Radial functions of a kernel, evenly spaced from its center to its edge."""
    max_degree: Annotated[int, Field(ge=0, le=4)] = 2
    """Largest degree of the spherical harmonics of a kernel."""
    kernels: Literal["steerable", "free", "depthwise"] = "steerable"
    """``steerable``: combinations that commute with rotations; ``free``: any combination of radial
    functions and harmonics for each pair of channels; ``depthwise``: one such combination for each
    channel, then a 1³ convolution that mixes the channels. The latter two have features of degree 0
    only."""
    convs_per_level: Annotated[int, Field(ge=1, le=8)] = 2
    """Convolutions at each level, in the encoder and in the decoder."""
    pooling: Literal["max-norm", "average"] = "max-norm"
    """``max-norm``: pools as many whole voxels as fit into the level's size and keeps the feature
    of largest norm; upsampling interpolates between the centers of the outermost voxels.
    ``average``: pools to exactly the level's size, by averages over parts of voxels; upsampling
    interpolates at exact positions."""

    @model_validator(mode="after")
    def _levels_fit_together(self) -> Self:
        if not any(self.multiplicities) or not self.multiplicities[0]:
            raise ValueError("multiplicities needs features of degree 0, which gate all others")
        if self.kernels != "steerable" and any(self.multiplicities[1:]):
            raise ValueError(
                f"{self.kernels} kernels make features of degree 0 only; "
                f"found multiplicities {self.multiplicities}"
            )
        if len(self.kernel_mm) != self.n_levels:
            raise ValueError(
                f"kernel_mm needs {self.n_levels} numbers, one per level; found {self.kernel_mm}"
            )
        if any(a >= b for a, b in pairwise(self.level_spacing_mm)):
            raise ValueError(
                f"level_spacing_mm must grow from level to level; found {self.level_spacing_mm}"
            )
        return self

    @property
    def features(self) -> str:
        """The features at full size, in words."""
        each = [f"{n} of degree {degree}" for degree, n in enumerate(self.multiplicities) if n]
        return f"{self.kernels} kernels in mm, features: {', '.join(each)}"

    @property
    def n_levels(self) -> int:
        """Number of levels, that of the input included."""
        return len(self.level_spacing_mm) + 1

    def factors(self, spacing_mm: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        """Return how many voxels of a level one voxel of the next level covers, per axis.

        Whole numbers with ``max-norm``: they jump where one more voxel fits into a level's size.
        """
        found, spacing = [], tuple(spacing_mm)
        for size in self.level_spacing_mm:
            factors = tuple(self._factor(size, step) for step in spacing)
            found.append(factors)
            spacing = tuple(step * f for step, f in zip(spacing, factors, strict=True))
        return tuple(found)

    def _factor(self, size_mm: float, step_mm: float) -> float:
        factor = max(1.0, size_mm / step_mm)
        # With a tolerance for rounded spacings: three voxels of 0.66667 mm are 2 mm.
        return float(int(factor * (1 + 1e-4))) if self.pooling == "max-norm" else factor

    def level_spacings_mm(self, spacing_mm: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        """Return the spacing in mm of the grid of each level, the finest first."""
        found = [tuple(spacing_mm)]
        for factors in self.factors(spacing_mm):
            found.append(tuple(step * f for step, f in zip(found[-1], factors, strict=True)))
        return tuple(found)


class PhysicalKernelsConfig(Config):
    """How kernels defined in mm are discretized on the grid of each level."""

    kind: Literal["physical-kernels"] = "physical-kernels"
    voxels: Literal["sampled", "integrated"] = "sampled"
    """``sampled``: the kernel at the voxels' centers, divided by their number, as published;
    ``integrated``: its integral over each voxel, which is not 0 for kernels smaller than a voxel
    and keeps the magnitude of responses from one grid to another."""

    @model_validator(mode="before")
    @classmethod
    def _accept_one_point(cls, values: object) -> object:
        # Former key: quadrature points per voxel and axis. One is a sample at the voxel's center.
        if not isinstance(values, dict) or "points" not in values or "voxels" in values:
            return values
        if values["points"] != 1:
            raise ValueError(
                f"kernels of {values['points']} points per voxel were replaced by integrated ones "
                "before the first release; train with voxels: integrated"
            )
        return {key: value for key, value in values.items() if key != "points"}
