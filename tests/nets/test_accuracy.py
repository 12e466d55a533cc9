from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_hyperspace.nets.accuracy import expected_dice, measured_along
from napari_hyperspace.nets.card import DiceRecord


def record(*spacing_mm: float, mean: float) -> DiceRecord:
    return DiceRecord(spacing_mm=spacing_mm, dice={}, mean=mean)


RECORDS = (
    record(4, 4, 4, mean=0.7),
    record(1, 1, 1, mean=0.9),
    record(2, 2, 2, mean=0.8),
    record(6.5, 0.7, 0.7, mean=0.6),
    record(1, 1, 5, mean=0.65),
)


def test_at_a_measured_spacing_the_result_is_that_measurement():
    found = expected_dice(RECORDS, (2, 2, 2))
    assert found is not None
    assert (found.dice, found.measured_mm, found.is_exact) == (0.8, ((2, 2, 2),), True)


def test_the_dice_is_linear_in_the_logarithm_of_the_spacing():
    found = expected_dice(RECORDS, (math.sqrt(2),) * 3)
    assert found is not None
    assert found.dice == pytest.approx(0.85)
    assert found.measured_mm == ((1, 1, 1), (2, 2, 2))
    assert not found.is_exact


@settings(deadline=None)
@given(st.floats(1, 4))
def test_between_measurements_it_lies_between_them(spacing):
    found = expected_dice(RECORDS, (spacing,) * 3)
    assert found is not None
    # Up to 1 % from a measured spacing, the result is that measurement.
    expected = 0.9 - 0.1 * math.log2(spacing)
    assert found.dice == pytest.approx(expected, abs=0.1 * math.log2(1.011))


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (8, 8, 8), (3, 1, 1), (1, 5, 1), (2, 2, 3)])
def test_far_from_all_measurements_there_is_no_result(spacing):
    assert expected_dice(RECORDS, spacing) is None


@pytest.mark.parametrize(
    ("spacing", "measured"),
    [
        ((6.0, 0.69, 0.69), (6.5, 0.7, 0.7)),
        ((1.1, 0.9, 5.5), (1, 1, 5)),
        ((0.9, 0.9, 0.9), (1, 1, 1)),  # finer than all measurements
    ],
)
def test_near_a_measurement_the_result_is_that_measurement(spacing, measured):
    found = expected_dice(RECORDS, spacing)
    assert found is not None
    assert found.measured_mm == (measured,)
    assert found.dice == next(one.mean for one in RECORDS if one.spacing_mm == measured)
    assert not found.is_exact


def test_one_isotropic_measurement_is_not_interpolated():
    assert expected_dice(RECORDS[:1], (3, 3, 3)) is None


def test_models_of_two_dimensions_and_without_records():
    records = [record(1, 1, mean=0.9), record(4, 4, mean=0.7)]
    found = expected_dice(records, (2, 2))
    assert found is not None
    assert found.dice == pytest.approx(0.8)
    assert expected_dice(records, (2, 2, 2)) is None
    assert expected_dice((), (2, 2, 2)) is None
    assert measured_along((), (1, 1, 1)) == []


def test_measurements_in_the_same_proportions():
    isotropic = measured_along(RECORDS, (3, 3, 3))
    assert [mean for mean, _ in isotropic] == pytest.approx([1, 2, 4])
    assert [dice for _, dice in isotropic] == [0.9, 0.8, 0.7]
    ((mean, dice),) = measured_along(RECORDS, (2 * 6.5, 2 * 0.7, 2 * 0.7))
    assert (mean, dice) == (pytest.approx((6.5 * 0.7 * 0.7) ** (1 / 3)), 0.6)
    assert measured_along(RECORDS, (0.7, 0.7, 6.5)) == []


def test_spacings_of_records_must_be_positive():
    with pytest.raises(ValidationError):
        record(0.0, 1, 1, mean=0.5)
