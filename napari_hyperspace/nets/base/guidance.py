"""Guidance: a segmentation at a lower spacing, which a network sees beside the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_hyperspace.core.volume import GuidanceRecord, Volume

GuidanceKind = Literal["one-hot", "distances"]
"""What a channel of guidance contains; see `GuidanceChannels`."""


@dataclass(frozen=True)
class GuidanceChannels:
    """The channels after the images of a model that is guided: one per class, with values 0 to 1.

    All channels are 0 where nothing is known: that is not the background, which has a channel of
    its own.

    Parameters
    ----------
    kind
        ``"one-hot"``: 1 in the class, interpolated linearly between the voxels of the guidance.
        ``"distances"``: the signed distance to the surface of the class, computed on the grid of
        the guidance and interpolated linearly: 1 deep inside, 1/2 at the surface, 0 far outside.
    clip_mm
        Distance from the surface at which a channel of distances becomes 0 or 1.
    spacing_mm
        Smallest and largest spacing of the guidance in training.
    optional
        Whether the network was also trained without guidance: with all channels 0.
    """

    kind: GuidanceKind
    clip_mm: float
    spacing_mm: tuple[float, float]
    optional: bool


@dataclass(frozen=True, eq=False)
class GivenGuidance:
    """The guidance of one scan, for the classes of one model.

    Parameters
    ----------
    classes
        Index of the class of each voxel, in the order of the model's output channels; negative
        where it is unknown. On any grid. `None`: nothing is known anywhere.
    outside_class
        Class outside of that grid; negative: unknown.
    record
        Where the guidance comes from.
    """

    classes: Volume | None
    outside_class: int = -1
    record: GuidanceRecord | None = None
