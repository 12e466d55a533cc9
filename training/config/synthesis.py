"""The section of a configuration for images synthesized from label maps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from training.config.base import ConfigSection

Probability = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class ContrastShares(ConfigSection):
    """Relative frequency of each kind of image."""

    free: Weight = 0.35
    """Random mean intensity of every tissue."""
    t1: Weight = 0.3
    """T1-weighted."""
    t2: Weight = 0.13
    """T2-weighted."""
    pd: Weight = 0.07
    """Proton density."""
    flair: Weight = 0.15
    """FLAIR."""


class SynthesisSection(ConfigSection):
    """Random parameters of a pair synthesized from a label map. Axis order: (z, y, x)."""

    flip_probability: Probability = 0.5
    """Probability of mirroring left and right; the labels of the two sides are swapped."""
    rotation_deg: NonNegativeFloat = 18.0
    """Largest rotation about each axis, in degrees."""
    scale: Annotated[float, Field(ge=1, lt=2)] = 1.17
    """Largest scaling factor of an axis; its inverse is the smallest."""
    shear: NonNegativeFloat = 0.05
    """Largest shear."""
    elastic_mm: NonNegativeFloat = 3.5
    """Largest standard deviation of the smooth displacement, in mm."""
    elastic_control_mm: PositiveFloat = 30.0
    """Distance between the control points of the smooth displacement, in mm."""
    off_brain_probability: Probability = 0.15
    """Probability that a patch lies anywhere in the head instead of near the brain."""
    contrasts: ContrastShares = ContrastShares()
    """Relative frequency of each kind of image."""
    thin_probability: Probability = 0.2
    """Probability that some of the extra-cerebral tissues are left out."""
    strip_probability: Probability = 0.25
    """Probability of skull stripping."""
    cut_probability: Probability = 0.15
    """Probability that the field of view ends within the patch."""
    coarse_probability: Probability = 0.2
    """Probability per axis that the scan is coarser than the working spacing."""
    coarse_factor: Annotated[float, Field(ge=1)] = 2.0
    """Largest factor between the spacing of such a scan and the working spacing."""
    bias: NonNegativeFloat = 0.35
    """Largest standard deviation of the logarithm of the bias field."""
    gamma: NonNegativeFloat = 0.35
    """Largest absolute logarithm of the exponent of the intensities."""
    noise: NonNegativeFloat = 0.08
    """Largest standard deviation of the noise; the brightest tissue of the brain is about 1."""
    texture: NonNegativeFloat = 0.06
    """Largest standard deviation within a tissue."""
    fine_voxels: Annotated[int, Field(ge=1000)] = 4_000_000
    """Largest number of voxels of the fine grid that tissues are painted on."""
