"""Ranges of spacings, with one tolerance everywhere, and the limits of plausible grids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.spacing import (
    SPACING_TOLERANCE,
    check_plausible_grid,
    check_plausible_spacing,
    check_plausible_working_grid,
    clamp_spacing,
    in_range,
    in_ranges,
)

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


def grid(step_mm: float, shape=(35, 40, 42)) -> Grid:
    return Grid.from_spacing(shape, (step_mm, 1.0, 1.0))


@pytest.mark.parametrize("step", [1e-6, 9.9999e-7, 4e-6, 0.3, 1.0, 20.0, 1000.0, 1000.1])
def test_spacings_of_scanners_and_microscopes_are_plausible(step):
    check_plausible_spacing((step, 1, 1))
    check_plausible_grid(grid(step))


@pytest.mark.parametrize("step", [1e-9, 2.3e-10, 9e-7, 1100.0, 1e10, 1e20])
def test_other_spacings_are_not(step):
    with pytest.raises(HyperspaceError, match="working spacing is implausible") as caught:
        check_plausible_spacing((1, step, 1), where="model")
    assert f"{step:.4g}" in str(caught.value.found)
    assert "1e-06 to 1000 mm" in str(caught.value.expected)
    assert "--allow-implausible" in caught.value.fix
    assert caught.value.where == "model"
    with pytest.raises(HyperspaceError, match="voxel spacing of the scan is implausible"):
        check_plausible_grid(grid(step))


def test_the_field_of_view_is_limited():
    check_plausible_grid(grid(1000.0, (100, 4, 4)))
    with pytest.raises(HyperspaceError, match="field of view") as caught:
        check_plausible_grid(grid(1000.0, (101, 4, 4)))
    assert "1.01e+05" in str(caught.value.found)


def test_the_number_of_voxels_is_limited():
    native = grid(1.0)
    check_plausible_working_grid(native, Grid.from_spacing((1 << 20, 1 << 20, 1), (1, 1, 1)))
    many = Grid.from_spacing((1 << 20, 1 << 20, 2), (0.01, 0.01, 0.01))
    with pytest.raises(HyperspaceError, match="working grid has an implausible number"):
        check_plausible_working_grid(native, many)
    with pytest.raises(HyperspaceError, match="scan has an implausible number"):
        check_plausible_grid(many)


@pytest.mark.parametrize(("step", "plausible"), [(1.0, True), (80.0, True), (90.0, False)])
def test_a_scan_fills_half_a_working_voxel_at_least(step, plausible):
    native = grid(1.0)  # its longest side is 42 mm
    working = native.with_spacing((step, step, step))
    if plausible:
        check_plausible_working_grid(native, working)
    else:
        with pytest.raises(HyperspaceError, match="smaller than half a voxel"):
            check_plausible_working_grid(native, working)
