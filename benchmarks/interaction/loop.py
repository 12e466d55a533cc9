"""Let the simulated user correct one case with one method, and measure each answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import napari_hyperspace as hs
from benchmarks.interaction.methods import Method
from benchmarks.interaction.robot import Mask, Stroke, next_stroke

COUNTS = (0, 1, 3, 5, 10)
"""Numbers of strokes that are reported."""


@dataclass(frozen=True, eq=False)
class Case:
    """A structure of a scan.

    Parameters
    ----------
    name
        Name of the scan.
    group
        Kind of scan; the tables have the mean over a group.
    structure
        Name of the structure.
    held_out
        Whether the model was trained without this structure.
    scan
        The image.
    truth
        The structure.
    start
        A result to correct; `None` if there is none.
    """

    name: str
    group: str
    structure: str
    held_out: bool
    scan: hs.Volume
    truth: Mask
    start: Mask | None = None


@dataclass(frozen=True)
class Answer:
    """What one answer was worth.

    Parameters
    ----------
    strokes
        Number of strokes so far.
    dice
        On all voxels.
    dice_unpainted
        On the voxels that no stroke covers.
    seconds
        Wall time of the answer; 0 if nothing was computed.
    """

    strokes: int
    dice: float
    dice_unpainted: float
    seconds: float


def dice(found: Mask, truth: Mask) -> float:
    """Return 2·|A ∩ B| / (|A| + |B|), and 1 if both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def interact(
    case: Case, method: Method, counts: Sequence[int] = COUNTS
) -> tuple[list[Answer], list[Stroke]]:
    """Correct a case stroke by stroke; return the answers at some counts, and the strokes.

    If an answer is right, the user paints no more, and it counts for all larger numbers too.
    """
    include, exclude = (np.zeros(case.truth.shape, bool) for _ in range(2))
    found = include.copy() if case.start is None else case.start
    answers = [_measure(case, found, include | exclude, 0, 0.0)] if 0 in counts else []
    strokes: list[Stroke] = []
    seconds = 0.0
    for number in range(1, max(counts) + 1):
        stroke = next_stroke(case.truth, found, case.scan.spacing_mm)
        if stroke is not None:
            strokes.append(stroke)
            (include if stroke.adds else exclude)[stroke.voxels] = True
            started = time.perf_counter()
            found = method.answer(case.scan, case.start, found, include, exclude)
            seconds = time.perf_counter() - started
        if number in counts:
            answers.append(_measure(case, found, include | exclude, number, seconds))
    return answers, strokes


def replay(
    case: Case, method: Method, strokes: Sequence[Stroke], counts: Sequence[int] = COUNTS
) -> list[Answer]:
    """Answer strokes that were painted in reply to another method's answers."""
    include, exclude = (np.zeros(case.truth.shape, bool) for _ in range(2))
    found = include.copy() if case.start is None else case.start
    answers = [_measure(case, found, include | exclude, 0, 0.0)] if 0 in counts else []
    seconds = 0.0
    for number in range(1, max(counts) + 1):
        for stroke in strokes[number - 1 : number]:
            (include if stroke.adds else exclude)[stroke.voxels] = True
        if number in counts:
            started = time.perf_counter()
            found = method.answer(case.scan, case.start, found, include, exclude)
            seconds = time.perf_counter() - started
            answers.append(_measure(case, found, include | exclude, number, seconds))
    return answers


def _measure(case: Case, found: Mask, painted: Mask, strokes: int, seconds: float) -> Answer:
    rest = ~painted
    return Answer(
        strokes,
        dice(found, case.truth),
        dice(found[rest], case.truth[rest]),
        seconds,
    )
