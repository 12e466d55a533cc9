"""The members that are averaged: neighboring spacings, each also with the image mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import clamp_spacing
from napari_hyperspace.core.volume import Side
from napari_hyperspace.inference.options import Outside
from napari_hyperspace.inference.protocols import SpacingModel

FACTORS = (1.0, 0.9, 1.1, 1.2)
"""Spacings of the members relative to the working spacing, which comes first."""
_COARSE_MM = 2.0  # voxels from this size on lose visibly when they are resampled to others
_SAME = 1e-3  # relative difference of equal spacings


@dataclass(frozen=True)
class Member:
    """One of the networks that are averaged.

    Parameters
    ----------
    spacing_mm
        Working spacing, canonical order (z, y, x).
    mirrored
        Whether it sees the image with left and right exchanged.
    """

    spacing_mm: Triple
    mirrored: bool


def members_at(
    model: SpacingModel, spacing_mm: Triple, native_mm: Triple, outside: Outside = "refuse"
) -> list[Member]:
    """Return the members for a working spacing; those of one spacing follow each other.

    Spacings are clamped to the trained range, unless the model extrapolates, and equal ones left
    out. An axis that needs no resampling keeps its spacing if it is coarse: members that resample
    it are worse than the mean gains. A 2-D model keeps the spacing of the slices. A model whose
    classes cannot be mirrored, or that is guided, has no mirrored members.

    Parameters
    ----------
    model
        Its trained range and classes are used.
    spacing_mm, native_mm
        Working spacing, and the scan's own, canonical order (z, y, x).
    outside
        As in `InferenceOptions`.
    """
    kept = [
        own >= _COARSE_MM and abs(step / own - 1) < _SAME
        for step, own in zip(spacing_mm, native_mm, strict=True)
    ]
    if model.n_dim == 2:
        kept[0] = True
    spacings: list[Triple] = []
    for factor in FACTORS:
        z, y, x = (
            step if keep else factor * step for step, keep in zip(spacing_mm, kept, strict=True)
        )
        scaled = (z, y, x)
        if outside != "extrapolate":
            scaled = clamp_spacing(scaled, model.trained_range_mm)
        if factor == 1.0:
            scaled = spacing_mm
        if scaled not in spacings:
            spacings.append(scaled)
    both = (False, True) if mirrored_classes(model) is not None else (False,)
    return [Member(spacing, mirrored) for spacing in spacings for mirrored in both]


def mirrored_classes(model: SpacingModel) -> Sequence[int] | None:
    """Return the class of the mirrored image that each class of the image corresponds to.

    Structures on one side of the body correspond to their counterparts. `None` if one of them has
    none, or the model sees guidance beside the image.
    """
    if model.given_guidance is not None:
        return None
    places = {
        (side.side, side.structure): model.label_values.index(value)
        for value, side in model.label_sides.items()
    }
    opposite: dict[Side, Side] = {"left": "right", "right": "left"}
    classes = list(range(len(model.label_values)))
    for value, side in model.label_sides.items():
        if side.side is not None:
            counterpart = places.get((opposite[side.side], side.structure))
            if counterpart is None:
                return None
            classes[model.label_values.index(value)] = counterpart
    return classes
