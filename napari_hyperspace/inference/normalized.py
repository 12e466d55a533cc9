"""A model for a part of a scan that was normalized as a whole before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hyperspace.core.intensity import Normalization

if TYPE_CHECKING:  # they load torch, which the plug-in does off the main thread
    from napari_hyperspace.inference.protocols import SpacingModel
    from napari_hyperspace.nets.base.localization import Localization


class NormalizedModel:
    """A model for blocks of an image that is normalized already.

    Parameters
    ----------
    model
        The model; only its normalization and localization are replaced.
    """

    def __init__(self, model: SpacingModel) -> None:
        self._model = model
        self.normalization = Normalization("none")
        self.localization: Localization | None = None  # the block is where the user looks
        self.name = model.name
        self.head = model.head
        self.n_dim = model.n_dim
        self.in_channels = model.in_channels
        self.image_channels = model.image_channels
        self.guidance = model.guidance
        self.given_guidance = model.given_guidance
        self.channel_names = model.channel_names
        self.out_channels = model.out_channels
        self.label_values = model.label_values
        self.label_names = model.label_names
        self.label_colors = model.label_colors
        self.label_sides = model.label_sides
        self.trained_range_mm = model.trained_range_mm
        self.tile_shape = model.tile_shape
        self.tile_mm = model.tile_mm
        self.architecture = model.architecture
        self.skeleton = model.skeleton
        self.network = model.network

    @property
    def identity(self) -> str:
        """Digest of the model, computed when first needed: it reads all weights."""
        return self._model.identity

    @property
    def digest(self) -> str:
        """Digest of the model, too; previews are not kept."""
        return self._model.digest
