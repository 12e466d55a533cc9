"""Fine labels from coarse masks: the model beside the mask that is only interpolated."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import napari_hyperspace as hs
from benchmarks.interaction.cases import HELD_OUT, Labeled
from napari_hyperspace.core.resample import resample_to_grid
from training.evaluation.metrics import agreement, default_tolerance

SPACINGS_MM = (2.0, 3.0, 4.0)
EXTENDED = ("cortex", "white matter", "cerebellar grey", "cerebellar white")
"""Structures that are left out: each takes as long as all others together."""


@dataclass(frozen=True)
class CoarseRow:
    """One structure from a coarse mask.

    Parameters
    ----------
    group, name, structure, held_out
        As in `Case`.
    coarse_mm
        Spacing of the mask.
    method
        ``"model"`` or ``"mask upsampled, no network"``.
    dice, hd95_mm
        On the scan's own grid.
    seconds
        Wall time for the structure: that of the scan, divided by the number of structures.
    """

    group: str
    name: str
    structure: str
    held_out: bool
    coarse_mm: float
    method: str
    dice: float
    hd95_mm: float
    seconds: float


def coarse_rows(
    source: Labeled, model: hs.Model, spacings_mm: Sequence[float] = SPACINGS_MM
) -> Iterator[CoarseRow]:
    """Yield the rows of a scan; spacings that are not coarser than the scan's are left out."""
    names = {
        name: value
        for name, value in source.names.items()
        if name not in EXTENDED and (source.labels == value).any()
    }
    for spacing in spacings_mm:
        if spacing <= 1.2 * max(source.scan.spacing_mm):
            continue
        coarse = coarse_labels(source, list(names.values()), spacing)
        started = time.perf_counter()
        refined = hs.refine(source.scan, coarse, model).array
        seconds = (time.perf_counter() - started) / len(names)
        for method, found in (
            ("model", refined),
            ("mask upsampled, no network", upsampled(coarse, source.scan, names.values())),
        ):
            for name, value in names.items():
                tolerance = default_tolerance(source.scan.spacing_mm)
                truth = source.labels.astype(np.int16)
                score = agreement(found, truth, value, source.scan.grid, tolerance)
                yield CoarseRow(
                    source.group,
                    source.name,
                    name,
                    name in HELD_OUT,
                    spacing,
                    method,
                    score.dice,
                    score.hd95_mm,
                    seconds if method == "model" else 0.0,
                )


def coarse_labels(source: Labeled, values: Sequence[int], spacing_mm: float) -> hs.Volume:
    """Return the label that covers most of each voxel of a coarse grid, among some labels and 0."""
    grid = source.scan.grid.with_spacing([spacing_mm] * 3)
    return _winner(source.scan.with_array(source.labels), grid, values, "overlap")


def upsampled(coarse: hs.Volume, scan: hs.Volume, values: Iterable[int]) -> NDArray[np.uint8]:
    """Return coarse labels, interpolated linearly one by one; the largest share wins."""
    return np.asarray(_winner(coarse, scan.grid, list(values), "linear").array)


def _winner(
    labels: hs.Volume, grid: hs.Grid, values: Sequence[int], order: Literal["linear", "overlap"]
) -> hs.Volume:
    best = np.zeros(grid.shape, np.float32)
    rest = np.ones(grid.shape, np.float32)  # share of the background
    winner = np.zeros(grid.shape, np.uint8)
    for value in values:
        mask = labels.with_array((labels.array == value).astype(np.float32))
        share = resample_to_grid(mask, grid, order=order, fill=0.0).array
        rest -= share
        larger = share > best
        winner[larger] = value
        best[larger] = share[larger]
    winner[best <= rest] = 0
    return hs.Volume(winner, grid, labels.name)
