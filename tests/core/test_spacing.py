"""Ranges of spacings, with one tolerance everywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.core.spacing import SPACING_TOLERANCE, clamp_spacing, in_range, in_ranges

RANGES = ((0.8, 4.0), (0.8, 4.0), (0.5, 2.0))

steps = st.floats(0.05, 20)
ranges = st.tuples(*[st.tuples(steps, steps).map(lambda pair: tuple(sorted(pair)))] * 3)


@pytest.mark.parametrize(
    ("step", "inside"),
    [
        (0.8, True),
        (0.79999, True),  # as headers in single precision have it
        (0.8 * (1 - 0.9 * SPACING_TOLERANCE), True),
        (0.8 * (1 - 1.1 * SPACING_TOLERANCE), False),
        (4.0, True),
        (4.00001, True),
        (4.0 * (1 + 0.9 * SPACING_TOLERANCE), True),
        (4.0 * (1 + 1.1 * SPACING_TOLERANCE), False),
        (1.0, True),
        (0.1, False),
        (9.0, False),
    ],
)
def test_a_range_has_a_relative_tolerance(step, inside):
    assert in_range(step, (0.8, 4.0)) == inside
    assert in_ranges((1.0, step, 1.0), RANGES) == inside


def test_any_spacing_lies_in_an_unknown_range():
    assert in_ranges((0.001, 1, 1000), None)
    assert clamp_spacing((0.001, 1, 1000), None) == (0.001, 1, 1000)


def test_ranges_of_the_plane_leave_the_slices_alone():
    plane = RANGES[1:]
    assert in_ranges((9.0, 1.0, 1.0), plane)
    assert not in_ranges((9.0, 1.0, 3.0), plane)
    assert clamp_spacing((9.0, 0.1, 3.0), plane) == (9.0, 0.8, 2.0)


def test_the_nearest_spacing_is_taken_per_axis():
    assert clamp_spacing((0.1, 9.0, 1.0), RANGES) == (0.8, 4.0, 1.0)


def test_a_spacing_within_the_tolerance_stays_as_it_is():
    assert clamp_spacing((0.79999, 4.00001, 2.0), RANGES) == (0.79999, 4.00001, 2.0)


@given(st.tuples(steps, steps, steps), ranges)
def test_a_clamped_spacing_lies_inside_and_is_not_clamped_again(spacing, limits):
    clamped = clamp_spacing(spacing, limits)
    assert in_ranges(clamped, limits)
    assert clamp_spacing(clamped, limits) == clamped
    assert (clamped == spacing) == in_ranges(spacing, limits)
