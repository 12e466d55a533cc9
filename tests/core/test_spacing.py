from __future__ import annotations

import pytest

from napari_hyperspace.core.spacing import clamp_spacing, in_range, in_ranges

CUBE = ((0.8, 4.0),) * 3


@pytest.mark.parametrize(
    ("step", "inside"), [(0.8, True), (0.79999, True), (4.003, True), (0.79, False), (4.1, False)]
)
def test_a_range_has_a_tolerance(step, inside):
    assert in_range(step, (0.8, 4.0)) is inside


def test_ranges_of_fewer_axes_are_those_of_the_last_axes():
    plane = ((0.5, 2.0), (0.5, 2.0))
    assert in_ranges((9.0, 1.0, 1.0), plane)
    assert not in_ranges((1.0, 9.0, 1.0), plane)
    assert clamp_spacing((9.0, 9.0, 0.1), plane) == (9.0, 2.0, 0.5)


def test_without_ranges_every_spacing_is_inside():
    assert in_ranges((0.01, 99.0, 1.0), None)
    assert clamp_spacing((0.01, 99.0, 1.0), None) == (0.01, 99.0, 1.0)


def test_clamping_goes_to_the_nearest_end():
    assert clamp_spacing((0.1, 9.0, 1.0), CUBE) == (0.8, 4.0, 1.0)


def test_a_spacing_within_the_tolerance_is_not_changed():
    assert clamp_spacing((0.79999, 1.0, 4.001), CUBE) == (0.79999, 1.0, 4.001)
