"""What inference requires of a model; `napari_hyperspace.nets.model.Model` implements it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import nn

from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.volume import Laterality
from napari_hyperspace.nets.base.architecture import Architecture
from napari_hyperspace.nets.base.config import Range
from napari_hyperspace.nets.base.guidance import GivenGuidance, GuidanceChannels
from napari_hyperspace.nets.base.localization import Localization


class SpacingModel(Protocol):
    """A factory of networks, with its metadata. Axis order: canonical (z, y, x)."""

    @property
    def name(self) -> str:
        """Name to show."""

    @property
    def identity(self) -> str:
        """Digest of configuration and weights: equal for models that make equal networks."""

    @property
    def digest(self) -> str:
        """Digest of everything in the model that the labels depend on."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Description of each channel that its networks see."""

    @property
    def head(self) -> str:
        """What the output is: "labels", or "class-conditional" (one structure, around hints)."""

    @property
    def n_dim(self) -> int:
        """3, or 2 for a model that works slice by slice in the plane (y, x)."""

    @property
    def in_channels(self) -> int:
        """Number of channels that its networks see: images, then guidance."""

    @property
    def image_channels(self) -> int:
        """Number of input images, all on one grid."""

    @property
    def guidance(self) -> GuidanceChannels | None:
        """The channels of guidance after the images; `None`: the model is not guided."""

    @property
    def given_guidance(self) -> GivenGuidance | None:
        """The guidance of the scan; only `GuidedModel` has one."""

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
        """Color of each label value as ``"#rrggbb"``, without the background."""

    @property
    def label_sides(self) -> Mapping[int, Laterality]:
        """Side of the body of each label value, without the background."""

    @property
    def trained_range_mm(self) -> tuple[Range, ...] | None:
        """Smallest and largest spacing of the training, per axis; `None` if unknown."""

    @property
    def normalization(self) -> Normalization:
        """Normalization of its input."""

    @property
    def tile_shape(self) -> tuple[int, ...] | None:
        """Largest block in voxels to run at once, if the model sets one."""

    @property
    def tile_mm(self) -> tuple[float, ...] | None:
        """Largest block in mm to run at once, beside that in voxels, if the model sets one."""

    @property
    def localization(self) -> Localization | None:
        """Settings of a coarse first pass, if the model asks for one."""

    def architecture(self, spacing_mm: Sequence[float]) -> Architecture:
        """Return what differs between the networks of this model for different spacings."""

    def skeleton(self, spacing_mm: Sequence[float]) -> nn.Module:
        """Return the network of a spacing on torch's meta device: no weights, made quickly."""

    def network(
        self, spacing_mm: Sequence[float], device: str | torch.device | None = None
    ) -> nn.Module:
        """Bake the plain network of a spacing: (B, C, *S) → (B, K, *S), eval mode, no autograd."""
