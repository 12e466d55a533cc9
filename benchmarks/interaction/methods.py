"""What answers a user's strokes: the class-conditional model, and plain methods beside it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import random_walker

import napari_hyperspace as hs
from benchmarks.interaction.robot import Mask
from napari_hyperspace.api.corrections.refine import CONTEXT_MM
from napari_hyperspace.core.geodesic import geodesic_membership

BETA = 200.0
"""Edge penalty of the random walker; see `RandomWalker`."""
DOUBT_MM = 4.0
"""Distance from a stroke within which the random walker does not trust a result that differs."""


class Method(Protocol):
    """Answers strokes with a segmentation."""

    @property
    def name(self) -> str:
        """Name in the tables."""
        ...

    def answer(
        self, scan: hs.Volume, start: Mask | None, before: Mask, include: Mask, exclude: Mask
    ) -> Mask:
        """Return the structure.

        Parameters
        ----------
        scan
            The image.
        start
            The result that is corrected; `None`: there is none.
        before
            The answer to the strokes before the last one.
        include, exclude
            All voxels painted as inside and outside so far.
        """
        ...


@dataclass(frozen=True)
class Refinement:
    """The class-conditional model, by `napari_hyperspace.refine`.

    Parameters
    ----------
    model
        The model.
    hand_back
        Whether the answer before is the rough mask of the next one. Otherwise it is the result that
        is corrected, or nothing.
    name
        Name in the tables.
    """

    model: hs.Model
    hand_back: bool = False
    name: str = "model"

    def answer(
        self, scan: hs.Volume, start: Mask | None, before: Mask, include: Mask, exclude: Mask
    ) -> Mask:
        """Return the refined labels."""
        rough = before if self.hand_back else start
        nothing = np.zeros(scan.shape, bool)
        coarse, inside, outside = (
            scan.with_array((nothing if mask is None else mask).astype(np.uint8))
            for mask in (rough, include, exclude)
        )
        refined = hs.refine(scan, coarse, self.model, include=inside, exclude=outside)
        return np.asarray(refined.array > 0)


@dataclass(frozen=True)
class RandomWalker:
    """The random walker of scikit-image (Grady, 2006) in the box that the model has, too.

    The border of the box is outside. A result that is corrected is a seed except near its surface
    and near strokes that contradict it.

    Parameters
    ----------
    beta
        Edge penalty, for an image with standard deviation 1 in the box. The default is the best of
        3, 10, 30, 100, 200 and 300 on six real hippocampi that are not measured.
    certain_mm
        Distance from the surface of a result up to which it is not trusted.
    name
        Name in the tables.
    """

    beta: float = BETA
    certain_mm: float = 2.0
    name: str = "random walker"

    def answer(
        self, scan: hs.Volume, start: Mask | None, before: Mask, include: Mask, exclude: Mask
    ) -> Mask:
        """Return the voxels that are reached from inside first."""
        shown = include if start is None else include | start
        box = box_around(shown, scan.spacing_mm, CONTEXT_MM)
        image = scan.array[box].astype(np.float64)
        image = (image - image.mean()) / max(float(image.std()), 1e-6)
        outside = exclude[box].copy()
        for axis in range(3):
            for end in (0, -1):
                np.moveaxis(outside, axis, 0)[end] = True
        inside = include[box]
        if start is not None:
            first, steps = start[box], scan.spacing_mm
            added, removed = (_distance(each[box], steps) > DOUBT_MM for each in (include, exclude))
            inside = inside | (removed & (_distance(~first, steps) > self.certain_mm))
            outside = outside | (added & (_distance(first, steps) > self.certain_mm))
        seeds = np.zeros(image.shape, np.int8)
        seeds[outside] = 2
        seeds[inside] = 1
        seeds[include[box]] = 1
        seeds[exclude[box]] = 2
        found = np.zeros(scan.shape, bool)
        if not (seeds == 1).any():
            return found
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # on rounding, and on seeds that are cut off
            labels: NDArray[np.int_] = random_walker(
                image, seeds, beta=self.beta, mode="cg_j", tol=1e-3, spacing=scan.spacing_mm
            )
        found[box] = labels == 1
        return found


@dataclass(frozen=True)
class Fronts:
    """The mask that the class-conditional model is given, without the model."""

    name: str = "fronts alone"

    def answer(
        self, scan: hs.Volume, start: Mask | None, before: Mask, include: Mask, exclude: Mask
    ) -> Mask:
        """Return the voxels that the front from inside reaches first."""
        del start, before
        found = np.zeros(scan.shape, bool)
        box = box_around(include | exclude, scan.spacing_mm, CONTEXT_MM)
        image = scan.array[box].astype(np.float64)
        member = geodesic_membership(image, include[box], exclude[box], scan.spacing_mm)
        found[box] = member > 0.5
        return found


@dataclass(frozen=True)
class Painting:
    """Nothing but the strokes: what a user gets who corrects by hand."""

    name: str = field(default="strokes alone")

    def answer(
        self, scan: hs.Volume, start: Mask | None, before: Mask, include: Mask, exclude: Mask
    ) -> Mask:
        """Return what was painted, in the result that is corrected."""
        del scan, before
        return include.copy() if start is None else (start | include) & ~exclude


def _distance(mask: Mask, steps: Sequence[float]) -> NDArray[np.float64]:
    """Return the distance of each voxel from a mask in mm; infinite if it is empty."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=steps))


def box_around(
    mask: Mask, spacing_mm: Sequence[float], margin_mm: float
) -> tuple[slice, slice, slice]:
    """Return the box of a mask with a margin, within the grid."""
    parts = []
    for axis, step in enumerate(spacing_mm):
        shown = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        reach = int(np.ceil(margin_mm / step))
        stop = min(mask.shape[axis], int(shown[-1]) + 1 + reach)
        parts.append(slice(max(0, int(shown[0]) - reach), stop))
    return parts[0], parts[1], parts[2]
