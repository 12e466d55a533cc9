"""Configurations of a plain U-Net, and of the factory with the same weights for all spacings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from napari_hyperspace.nets.base.config import BaseNetworkConfig, Config

Convolutions = Annotated[int, Field(ge=1, le=8)]


class UNetConfig(BaseNetworkConfig):
    """A U-Net. The defaults are those of HyperSpace (MICCAI 2024) for BRATS and MM-WHS.

    With ``level_spacing_mm`` its levels are *physical*: pooling factors follow from the spacing
    instead of being fixed strides, so that a level sees structures of the same size in mm at any
    spacing.
    """

    kind: Literal["unet"] = "unet"
    n_dim: Literal[2, 3] = 3
    """Spatial dimensions."""
    channels: Annotated[int, Field(ge=1, le=1024)] = 16
    """Feature channels at full size."""
    channel_growth: Annotated[float, Field(ge=1, le=4)] = 2.0
    """Factor of the channels from one level to the next."""
    max_channels: PositiveInt | None = None
    """Upper limit of the channels of a level."""
    strides: Annotated[tuple[tuple[Literal[1, 2, 4], ...], ...], Field(max_length=8)] = (
        (2, 2, 2),
        (2, 2, 2),
        (2, 2, 2),
    )
    """Stride per axis (array-axis order) of each downsampling; their number gives the levels."""
    level_spacing_mm: (
        Annotated[tuple[PositiveFloat, ...], Field(min_length=1, max_length=8)] | None
    ) = None
    """Instead of strides: spacing in mm of each level below the first; along an axis whose voxels
    are already as large, nothing is pooled. Downsampling is then an average over the voxels that a
    larger one covers, upsampling a linear interpolation."""
    convs_per_level: Convolutions | Annotated[tuple[Convolutions, ...], Field(max_length=9)] = 3
    """Convolutions at each level, in the encoder and in the decoder; or a number for each level,
    the finest first."""
    kernel_size: Literal[3, 5] = 3
    """Edge of the convolutions' kernels, in voxels."""
    stem: bool = True
    """Whether a convolution from the input to the first features comes before the first level."""
    down: Literal["strided", "max-pool"] = "strided"
    """Strided convolution to the channels of the next level, or max-pooling (the next convolution
    changes the channels). Not used with physical levels, as ``up`` and ``up_kernel``."""
    up: Literal["transposed", "linear"] = "transposed"
    """Transposed convolution, or linear interpolation (the next convolution changes channels)."""
    up_kernel: Literal["double", "stride"] = "double"
    """Kernel of a transposed convolution: twice the stride (overlapping), or the stride."""
    norm: Literal["instance", "batch", "none"] = "instance"
    """Normalization, with learned scale and shift."""
    activation: Literal["relu", "leaky-relu"] = "relu"
    """Non-linearity after each convolution."""
    order: Literal["conv-act-norm", "conv-norm-act"] = "conv-act-norm"
    """Order of convolution, activation and normalization."""
    final_kernel_size: Literal[1, 3] = 3
    """Edge of the last convolution's kernel, in voxels."""

    @model_validator(mode="before")
    @classmethod
    def _physical_levels_have_no_strides(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("level_spacing_mm") is not None:
            return {"strides": (), **values}
        return values

    @model_validator(mode="after")
    def _levels_fit_together(self) -> Self:
        for stride in self.strides:
            if len(stride) != self.n_dim:
                raise ValueError(
                    f"each stride needs {self.n_dim} numbers, one per axis; found {stride}"
                )
        if self.level_spacing_mm is not None:
            if self.strides:
                raise ValueError("levels have either strides or level_spacing_mm, not both")
            if any(a >= b for a, b in pairwise(self.level_spacing_mm)):
                raise ValueError(
                    f"level_spacing_mm must grow from level to level; found {self.level_spacing_mm}"
                )
        if not isinstance(self.convs_per_level, int):
            wanted, found = self.n_levels, len(self.convs_per_level)
            if found != wanted:
                raise ValueError(f"convs_per_level needs {wanted} numbers, or one; found {found}")
        return self

    @property
    def features(self) -> str:
        """The features at full size, in words."""
        return f"{self.channels} channels"

    @property
    def n_levels(self) -> int:
        """Number of levels, that of the input included."""
        return len(self.level_spacing_mm or self.strides) + 1

    @property
    def level_channels(self) -> tuple[int, ...]:
        """Feature channels of each level, the finest first."""
        limit = self.max_channels or 1 << 30
        return tuple(
            min(limit, round(self.channels * self.channel_growth**level))
            for level in range(self.n_levels)
        )

    @property
    def level_convolutions(self) -> tuple[int, ...]:
        """Convolutions of each level, the finest first."""
        convs = self.convs_per_level
        return (convs,) * self.n_levels if isinstance(convs, int) else convs

    def factors(self, spacing_mm: Sequence[float]) -> tuple[tuple[float, ...], ...]:
        """Return how many voxels of a level one voxel of the next level covers, per axis.

        The strides, at any spacing; with physical levels, real numbers of at least 1 that depend
        continuously on the spacing.
        """
        if self.level_spacing_mm is None:
            return tuple(tuple(map(float, stride)) for stride in self.strides)
        spacings = [tuple(spacing_mm)]
        spacings += [tuple(max(s, level) for s in spacing_mm) for level in self.level_spacing_mm]
        return tuple(
            tuple(b / a for a, b in zip(fine, coarse, strict=True))
            for fine, coarse in pairwise(spacings)
        )


class ConstantConfig(Config):
    """The same weights for every spacing: the baseline, and imported plain checkpoints."""

    kind: Literal["constant"] = "constant"
