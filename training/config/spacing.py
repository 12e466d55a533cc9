"""The section of a configuration that describes the working spacings of training."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from napari_hyperspace.core.spacing import PLAUSIBLE_SPACING_MM
from training.config.base import ConfigSection
from training.config.synthesis import Probability


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the smaller spacing comes first, not {bounds[0]} before {bounds[1]}")
    return bounds


Step = Annotated[float, Field(ge=PLAUSIBLE_SPACING_MM[0], le=PLAUSIBLE_SPACING_MM[1])]
"""Spacing along one axis, in mm."""
SpacingRange = Annotated[tuple[Step, Step], AfterValidator(_ordered)]
Spacing = tuple[Step, Step, Step]


class SpacingSection(ConfigSection):
    """The working spacings of training. Axis order: canonical (z, y, x)."""

    range_mm: tuple[SpacingRange, SpacingRange, SpacingRange]
    """Smallest and largest spacing of each axis, in mm; sampled log-uniformly."""
    clusters_mm: tuple[Spacing, ...] = ()
    """Spacings of scans as they were acquired, in mm. If there are any, one of them is sampled
    instead of the range, and images are averaged over its voxels."""
    resampled_mm: Spacing | None = None
    """Spacing that images of a cluster are interpolated to before training, in mm (images by cubic
    kernels, labels to the nearest voxel), like a data set that was resampled to one spacing."""
    isotropic_probability: Probability = 0.0
    """Fraction of the steps whose three axes are sampled jointly (1: always, 0: never)."""
    thick_slice_probability: Probability = 0.0
    """Fraction of the steps with thick slices along one axis, which is random."""
    thick_mm: SpacingRange = (3.0, 7.0)
    """Smallest and largest spacing of thick slices, in mm; limited to the range of their axis."""
    fine_mm: SpacingRange = (0.4, 1.3)
    """Smallest and largest spacing within thick slices, in mm; limited to the ranges of the other
    two axes."""
    antialias_probability: Probability = 0.75
    """Fraction of the samples that are averaged over larger voxels; the others are only
    interpolated."""
    cubic_probability: Probability = 0.2
    """Fraction of the samples without deformation that are interpolated by cubic kernels; the
    others by linear ones."""

    @model_validator(mode="after")
    def _within_the_range(self) -> SpacingSection:
        trained = [self.resampled_mm] if self.resampled_mm else [*self.clusters_mm]
        if self.resampled_mm and not self.clusters_mm:
            raise ValueError("resampled_mm: only images of clusters_mm are resampled")
        for spacing in trained:
            for step, (low, high) in zip(spacing, self.range_mm, strict=True):
                if not low <= step <= high:
                    raise ValueError(f"range_mm: must include {spacing}, a spacing of training")
        return self
