"""The working spacings to evaluate at: listed, drawn by chance, on a segment, the scan's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from training.evaluation.scores import spacing_text
from training.seeding import generator

Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Group:
    """Spacings that belong together: a row of the table, or the x axis of a figure.

    Parameters
    ----------
    kind
        One listed spacing, chance draws of an interval, a segment, or each case's own spacing.
    name
        What tables call it, without the data set.
    spacings_mm
        Working spacings (z, y, x); empty for each case's own.
    bounds_mm
        Smallest and largest spacing of an interval, an axis.
    """

    kind: Literal["spacing", "interval", "segment", "native"]
    name: str
    spacings_mm: tuple[Triple, ...] = ()
    bounds_mm: Bounds | None = None

    def of_case(self, native_mm: Triple) -> tuple[Triple, ...]:
        """Return the spacings to evaluate a case at, given its own (z, y, x)."""
        return (native_mm,) if self.kind == "native" else self.spacings_mm


def listed(spacings_mm: Sequence[Triple]) -> list[Group]:
    """Return a group for each spacing (mm; z, y, x)."""
    return [Group("spacing", f"{spacing_text(s)} mm", (s,)) for s in dict.fromkeys(spacings_mm)]


def interval(bounds_mm: Bounds, draws: int, seed: int) -> Group:
    """Draw spacings from an interval, uniformly in mm and independently for each axis.

    The same seed gives the same places in every interval, and more draws begin with the fewer.

    Parameters
    ----------
    bounds_mm
        Smallest and largest spacing of each axis (z, y, x).
    draws
        How many.
    seed
        Seed of the draws.
    """
    low, high = np.array(bounds_mm).T
    places = generator(seed, "monte-carlo").uniform(size=(draws, 3))
    drawn = np.round(low + places * (high - low), 6)
    spacings = tuple((float(z), float(y), float(x)) for z, y, x in drawn)
    return Group("interval", interval_text(bounds_mm), spacings, bounds_mm)


def segment_between(first: Triple, last: Triple, steps: int) -> Group:
    """Return spacings at equal distances between two (mm; z, y, x), both included."""
    if steps < 2:
        raise HyperspaceError("a segment has two steps at least", field="--segment", found=steps)
    if first == last:
        raise HyperspaceError("a segment has two ends that differ", field="--segment", found=first)
    line = np.round(np.linspace(first, last, steps), 6)
    return segment_through([(float(z), float(y), float(x)) for z, y, x in line])


def segment_through(spacings_mm: Sequence[Triple]) -> Group:
    """Return the segment of given spacings (mm; z, y, x) on a line, at any distances."""
    ends = [
        f"{end[0]:g}" if len(set(end)) == 1 else spacing_text(end)
        for end in (spacings_mm[0], spacings_mm[-1])
    ]
    return Group("segment", f"{ends[0]} to {ends[1]} mm", tuple(spacings_mm))


NATIVE = Group("native", "native")


def make_groups(
    spacings_mm: Sequence[Triple] | None,
    draws: int | None,
    intervals: Sequence[str],
    segments: Sequence[str],
    native: bool,
    seed: int,
) -> list[Group]:
    """Return what the options of the command ask for; 1, 2 and 3 mm if for nothing.

    Parameters
    ----------
    spacings_mm
        Listed spacings (z, y, x).
    draws, intervals, seed
        Drawn spacings; see `interval` and `parse_interval`.
    segments
        See `parse_segment`.
    native
        Whether to take each case's own spacing.

    Raises
    ------
    HyperspaceError
        If an interval or a segment is none, or intervals come without a number of draws.
    """
    if (draws is None) != (not intervals):
        raise HyperspaceError(
            "drawn spacings need both a number and an interval",
            field="--monte-carlo, --interval",
            fix="Give both, such as --monte-carlo 100 --interval 0.5:3.5",
        )
    groups = [interval(parse_interval(text), draws or 0, seed) for text in intervals]
    groups += [NATIVE] if native else []
    groups += [parse_segment(text) for text in segments]
    if spacings_mm is None and not groups:
        spacings_mm = [(step, step, step) for step in (1.0, 2.0, 3.0)]
    plan = listed(spacings_mm or ()) + groups
    if not plan:
        raise HyperspaceError(
            "there is no spacing to measure at",
            field="--spacings",
            fix="Give some, such as --spacings '1 2 1,1,3', or leave the option out",
        )
    return plan


def interval_text(bounds_mm: Bounds) -> str:
    """Write an interval as the paper does: [1, 5] × [0.2, 1.5]²."""
    powers = {1: "", 2: "²", 3: "³"}
    runs = [(bounds, len(list(run))) for bounds, run in groupby(bounds_mm)]
    return " × ".join(f"[{low:g}, {high:g}]{powers[n]}" for (low, high), n in runs)


def parse_interval(text: str) -> Bounds:
    """Read ``a:b,a:b,a:b`` (z, y, x), or ``a:b`` for all axes."""
    try:
        pairs = [tuple(float(end) for end in part.split(":")) for part in text.split(",")]
    except ValueError:
        pairs = []
    good = len(pairs) in (1, 3) and all(
        len(pair) == 2 and 0 < pair[0] <= pair[1] < float("inf") for pair in pairs
    )
    if not good:
        raise HyperspaceError(
            "not an interval of spacings",
            field="--interval",
            found=repr(text),
            expected="smallest:largest in mm, such as 0.5:3.5, or one for each of z,y,x",
        )
    (a, b), (c, d), (e, f) = pairs * (3 // len(pairs))
    return (a, b), (c, d), (e, f)


def parse_segment(text: str) -> Group:
    """Read ``from:to:steps``; from and to are spacings such as 2 or 1,1,3."""
    try:
        first, last, steps = text.split(":")
        return segment_between(_triple(first), _triple(last), int(steps))
    except ValueError:
        raise HyperspaceError(
            "not a segment of spacings",
            field="--segment",
            found=repr(text),
            expected="from:to:steps, such as 0.5:5:10 or 1,1,1:1,1,6:6",
        ) from None


def _triple(text: str) -> Triple:
    numbers = [float(part) for part in text.split(",")]
    if len(numbers) not in (1, 3) or not all(0 < number < float("inf") for number in numbers):
        raise ValueError(text)
    z, y, x = numbers * (3 // len(numbers))
    return z, y, x
