"""The section of a configuration about guidance: a segmentation at a lower spacing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from napari_hyperspace.nets.card import GuidanceConfig
from training.config.base import ConfigSection
from training.config.spacing import SpacingRange
from training.config.synthesis import Probability


class GuidanceSection(ConfigSection):
    """Guidance, as channels after the image: one per class, the background first.

    It is made from the true labels of each sample: sampled on a coarse grid, and wrong on purpose,
    so that the network goes by the image where they differ (Hu et al., HighSeg, 2025, section 3.1).
    """

    kind: Literal["one-hot", "distances"] = "one-hot"
    """Classes, or signed distances to their surfaces, interpolated linearly between the voxels of
    the guidance."""
    clip_mm: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Distance from the surface at which a channel of distances becomes 0 or 1, in mm."""
    spacing_mm: SpacingRange = (2.0, 6.0)
    """Smallest and largest spacing of the guidance, in mm; never finer than the sample."""
    anisotropic_probability: Probability = 0.2
    """Fraction of the samples whose guidance has another spacing along each axis."""
    shift_mm: Annotated[float, Field(ge=0, le=20)] = 0.75
    """Standard deviation of the displacement of the guidance along each axis, in mm."""
    surface_mm: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Largest distance by which a class is eroded or dilated, in mm."""
    drop_probability: Probability = 0.05
    """Probability, for each class, that the guidance lacks it."""
    part_probability: Probability = 0.1
    """Probability that the guidance covers only a part of the sample."""
    none_probability: Probability = 0.1
    """Probability that there is no guidance at all."""
    consistency_weight: NonNegativeFloat = 1.0
    """Weight of the consistency with the true labels on the grid of the guidance: of the soft Dice
    loss of both, averaged over the voxels of that grid."""

    @property
    def channels(self) -> GuidanceConfig:
        """What the card of the model says about its guidance."""
        return GuidanceConfig(
            kind=self.kind,
            clip_mm=self.clip_mm,
            spacing_mm=self.spacing_mm,
            optional=self.none_probability > 0,
        )

    @property
    def margin_mm(self) -> float:
        """How far guidance depends on labels outside of a sample."""
        reach = self.clip_mm if self.kind == "distances" else 0.0
        return 1.5 * self.spacing_mm[1] + 2 * self.shift_mm + self.surface_mm + reach
