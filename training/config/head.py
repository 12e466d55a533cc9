"""The section of a configuration that says what a network is trained to return."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from training.config.base import ConfigSection
from training.config.spacing import SpacingRange
from training.config.synthesis import Probability


class LabelsHead(ConfigSection):
    """One class per label."""

    kind: Literal["labels"] = "labels"
    """All labels at once."""


class SignedDistanceHead(ConfigSection):
    """The signed distance in mm to the surface of each class (Hu et al., HighSeg, 2025, eq. 5).

    The network returns the distances, negated and divided by the temperature: their softmax is the
    soft assignment of equation 2, and the class with the smallest distance has the largest output.
    So such a model is used like any other.
    """

    kind: Literal["signed-distance"]
    """Distances to all labels at once."""
    clip_mm: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Largest distance of the targets, in mm."""
    temperature_mm: PositiveFloat = 1.0
    """Temperature of the soft assignment, in mm."""
    gradient_weight: NonNegativeFloat = 0.1
    """Weight of the squared difference of the gradient's norm from 1, within the clipping distance
    of a surface."""
    variation_weight: NonNegativeFloat = 0.01
    """Weight of the total variation, the mean norm of the gradient."""


class HintShares(ConfigSection):
    """How often each kind of rough mask is given, relative to the others."""

    coarse: NonNegativeFloat = 0.15
    """The structure on a coarse grid."""
    smooth: NonNegativeFloat = 0.1
    """The structure eroded or dilated."""
    slices: NonNegativeFloat = 0.15
    """A few slices of it."""
    answer: NonNegativeFloat = 0.2
    """A wrong answer of a network, with strokes where it is wrong."""
    strokes: NonNegativeFloat = 0.4
    """No mask, strokes only."""


class ClassConditionalHead(ConfigSection):
    """One structure per pass, selected by channels after the image (Hu et al., HighSeg, 2025).

    The channels are a rough mask of the structure, voxels known to be inside it, and voxels known
    to be outside. They are made from the truth of each sample and are wrong on purpose, so that the
    network does not copy them.
    """

    kind: Literal["class-conditional"]
    """One structure per pass."""
    held_out: tuple[str, ...] = ()
    """Names of labels that are never the structure of a training sample."""
    group_probability: Probability = 0.15
    """Probability that the structure is the union of two neighboring labels."""
    blob_probability: Probability = 0.15
    """Probability that the structure is a random one, painted into the image."""
    blob_mm: SpacingRange = (2.5, 15.0)
    """Smallest and largest radius of random structures, in mm."""
    coarse_mm: SpacingRange = (1.5, 8.0)
    """Smallest and largest spacing of rough masks that are resampled from a coarse grid, in mm."""
    shift_mm: NonNegativeFloat = 1.0
    """Standard deviation of the displacement of rough masks along each axis, in mm."""
    smoothing_mm: SpacingRange = (0.7, 3.0)
    """Smallest and largest standard deviation of the blur that erodes or dilates masks, in mm."""
    defect_probability: Probability = 0.3
    """Probability that a part of a rough mask is missing, or that it has one too many."""
    hints: HintShares = HintShares()
    """Kinds of rough masks."""
    largest_from_strokes_ml: PositiveFloat = 40.0
    """Largest volume, in ml, of structures that are hinted at by strokes only."""
    crop_voxels: Annotated[int, Field(ge=16, le=512)] = 48
    """Largest size of a sample along each axis: a part of the patch, around the hints."""
    structures_per_patch: Annotated[int, Field(ge=1, le=64)] = 1
    """Samples made from each patch, with different structures and hints."""
    stroke_probability: Probability = 0.5
    """Probability of strokes in addition to a rough mask; without a mask there always are some."""
    max_strokes: Annotated[int, Field(ge=1, le=100)] = 10
    """Largest number of strokes inside, and outside, of a structure."""
    stroke_mm: PositiveFloat = 20.0
    """Largest length of a stroke, in mm."""
    brush_mm: SpacingRange = (1.0, 6.0)
    """Smallest and largest diameter of the brush, in mm."""
    consistency_weight: NonNegativeFloat = 0.0
    """Weight of the consistency with the structure on a grid of a spacing from `coarse_mm`: of the
    soft Dice loss of both, averaged over the voxels of that grid."""
