"""The part of a configuration that says how images are synthesised from label maps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from training.config.base import ConfigSection

Probability = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(ge=0)]


class ContrastShares(ConfigSection):
    """How often each kind of image is drawn, relative to the others."""

    free: Share = 0.35
    """Every tissue as bright as chance will have it."""
    t1: Share = 0.3
    """T1-weighted."""
    t2: Share = 0.13
    """T2-weighted."""
    pd: Share = 0.07
    """Proton density."""
    flair: Share = 0.15
    """FLAIR."""


class SynthesisSection(ConfigSection):
    """How a training pair is made from a label map. Lengths in mm, axes canonical (z, y, x)."""

    flip_probability: Probability = 0.5
    """Chance of mirroring left and right; the labels of the sides are swapped."""
    rotation_deg: NonNegativeFloat = 18.0
    """Largest rotation about each axis."""
    scale: Annotated[float, Field(ge=1, lt=2)] = 1.17
    """Largest factor by which an axis grows or shrinks."""
    shear: NonNegativeFloat = 0.05
    """Largest shear."""
    elastic_mm: NonNegativeFloat = 3.5
    """Largest standard deviation of the smooth displacement."""
    elastic_control_mm: PositiveFloat = 30.0
    """Distance between the control points of that displacement."""
    off_brain_probability: Probability = 0.15
    """Chance that a patch lies anywhere in the head instead of near the brain."""
    contrasts: ContrastShares = ContrastShares()
    """How often each kind of image is drawn."""
    thin_probability: Probability = 0.2
    """Chance that some of the extra-cerebral tissues are left out."""
    strip_probability: Probability = 0.25
    """Chance that all that lies outside of the skull's inside is left out."""
    cut_probability: Probability = 0.15
    """Chance that the field of view ends within the patch."""
    coarse_probability: Probability = 0.2
    """Chance, an axis, that the scan was taken coarser than the working spacing."""
    coarse_factor: Annotated[float, Field(ge=1)] = 2.0
    """Largest factor of such a spacing."""
    bias: NonNegativeFloat = 0.35
    """Largest standard deviation of the logarithm of the bias field."""
    gamma: NonNegativeFloat = 0.35
    """Largest logarithm of the exponent of the intensities."""
    noise: NonNegativeFloat = 0.08
    """Largest standard deviation of the noise, where the brain's brightest tissue is about 1."""
    texture: NonNegativeFloat = 0.06
    """Largest standard deviation within a tissue."""
    fine_voxels: Annotated[int, Field(ge=1000)] = 4_000_000
    """Most voxels of the fine grid that tissues are painted on before they are averaged."""
