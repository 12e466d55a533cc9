"""The working spacings to evaluate at: listed, sampled, on a segment, or the scan's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_spacing, parse_spacing
from napari_hyperspace.core.geometry import Triple
from training.seeding import generator

Bounds = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Group:
    """Spacings that belong together: a row of the table, or the x axis of a figure.

    Parameters
    ----------
    kind
        One listed spacing, samples of an interval, a segment, or each case's own spacing.
    name
        Its name in tables, without the data set.
    spacings_mm
        Working spacings (z, y, x); empty for each case's own.
    bounds_mm
        Smallest and largest spacing of an interval, per axis.
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
    return [Group("spacing", format_spacing(s), (s,)) for s in dict.fromkeys(spacings_mm)]


def interval(bounds_mm: Bounds, draws: int, seed: int) -> Group:
    """Sample spacings from an interval, uniformly in mm and independently per axis.

    The same seed gives the same relative positions in every interval, and a larger number of
    samples starts with the same ones.

    Parameters
    ----------
    bounds_mm
        Smallest and largest spacing of each axis (z, y, x).
    draws
        Number of samples.
    seed
        Seed of the samples.
    """
    low, high = np.array(bounds_mm).T
    places = generator(seed, "monte-carlo").uniform(size=(draws, 3))
    sampled = np.round(low + places * (high - low), 6)
    spacings = tuple((float(z), float(y), float(x)) for z, y, x in sampled)
    return Group("interval", interval_text(bounds_mm), spacings, bounds_mm)


def segment_between(first: Triple, last: Triple, steps: int) -> Group:
    """Return evenly spaced spacings between two (mm; z, y, x), both included."""
    if steps < 2:
        raise HyperspaceError("a segment needs at least two steps", field="--segment", found=steps)
    if first == last:
        raise HyperspaceError("the ends of a segment must differ", field="--segment", found=first)
    line = np.round(np.linspace(first, last, steps), 6)
    return segment_through([(float(z), float(y), float(x)) for z, y, x in line])


def segment_through(spacings_mm: Sequence[Triple]) -> Group:
    """Return the segment through given spacings (mm; z, y, x) on a line."""
    ends = [
        format_spacing(end, collapse=True, unit=False) for end in (spacings_mm[0], spacings_mm[-1])
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
    """Return the groups that the options of the command ask for; 1, 2 and 3 mm by default.

    Parameters
    ----------
    spacings_mm
        Listed spacings (z, y, x).
    draws, intervals, seed
        Sampled spacings; see `interval` and `parse_interval`.
    segments
        See `parse_segment`.
    native
        Whether to measure at each case's own spacing.

    Raises
    ------
    HyperspaceError
        If an interval or a segment is malformed, or only one of intervals and number of samples is
        given.
    """
    if (draws is None) != (not intervals):
        raise HyperspaceError(
            "sampled spacings need both a number and an interval",
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
            "no spacing to measure at",
            field="--spacings",
            fix="Give some, such as --spacings '1 2 1,1,3', or omit the option",
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
            expected="smallest:largest in mm, such as 0.5:3.5, or three of them for z,y,x",
        )
    (a, b), (c, d), (e, f) = pairs * (3 // len(pairs))
    return (a, b), (c, d), (e, f)


def parse_segment(text: str) -> Group:
    """Read ``from:to:steps``; from and to are spacings such as 2 or 1,1,3."""
    try:
        first, last, steps = text.split(":")
        ends, number = (parse_spacing(first), parse_spacing(last)), int(steps)
    except (ValueError, HyperspaceError):
        raise HyperspaceError(
            "not a segment of spacings",
            field="--segment",
            found=repr(text),
            expected="from:to:steps, such as 0.5:5:10 or 1,1,1:1,1,6:6",
        ) from None
    return segment_between(*ends, number)
