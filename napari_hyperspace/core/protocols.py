"""What the engine needs to know of a model; `napari_hyperspace.nets.Model` has it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import torch
from torch import nn

from napari_hyperspace.core.intensity import Normalisation
from napari_hyperspace.core.search import Search

Range = tuple[float, float]
_LEAST = 1.01  # pooling by less changes no size that matters


@dataclass(frozen=True)
class Architecture:
    """What a model's networks for different spacings do not share, beside their weights.

    Parameters
    ----------
    kind
        Networks of one kind run the same operations, on maps whose sizes may differ.
    voxels
        Size of the voxels of each level below the first, an axis, in voxels of the input.
    taps
        Voxels of the kernel of each convolution, in the order of execution; none if they are the
        same for all spacings.
    """

    kind: Hashable
    voxels: tuple[tuple[float, ...], ...]
    taps: tuple[int, ...] = ()

    @classmethod
    def of_factors(
        cls, factors: Sequence[tuple[float, ...]], taps: tuple[int, ...] = ()
    ) -> Architecture:
        """Describe levels, each of which pools so many voxels of the level before into one.

        Which axes are pooled at all, and by whole numbers, tells kinds apart.
        """
        kinds = tuple(tuple((f > _LEAST) + (f % 1 > 0) for f in level) for level in factors)
        voxels = accumulate(factors, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)))
        return cls(kinds, tuple(voxels), taps)


class SpacingModel(Protocol):
    """A factory of networks with what its users must know. Axis order: canonical (z, y, x)."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def identity(self) -> str:
        """Digest of configuration and weights: equal for models that make equal networks."""

    @property
    def n_dim(self) -> int:
        """3, or 2 for a model that works slice by slice in the plane (y, x)."""

    @property
    def in_channels(self) -> int:
        """Number of images it wants, all on one grid."""

    @property
    def out_channels(self) -> int:
        """Number of classes, background included."""

    @property
    def label_values(self) -> tuple[int, ...]:
        """Value in the label map of each output channel; the first is 0, the background."""

    @property
    def label_names(self) -> Mapping[int, str]:
        """Name of each label value, without the background."""

    @property
    def label_colors(self) -> Mapping[int, str]:
        """Colour of each label value as ``"#rrggbb"``, without the background."""

    @property
    def trained_range_mm(self) -> tuple[Range, ...] | None:
        """Smallest and largest spacing seen in training, an axis; `None` if unknown."""

    @property
    def normalisation(self) -> Normalisation:
        """How its input is normalised."""

    @property
    def tile_shape(self) -> tuple[int, ...] | None:
        """Largest block in voxels to run at once, if the model asks for one."""

    @property
    def tile_mm(self) -> tuple[float, ...] | None:
        """Largest block in mm to run at once, beside that in voxels, if the model asks for one."""

    @property
    def search(self) -> Search | None:
        """How what it segments is to be found first, if the model asks for that."""

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        """Tell what of the network of a spacing the model's other networks do not share."""

    def skeleton(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Return the network of a spacing on torch's meta device: no weights, made quickly."""

    def network(
        self, spacing_mm: Sequence[float], device: str | torch.device | None = None
    ) -> nn.Module:
        """Bake the plain network of a spacing: (B, C, *S) → (B, K, *S), eval mode, no autograd."""
