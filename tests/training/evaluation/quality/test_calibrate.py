"""From agreement to Dice: curves that increase, offsets, residuals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from training.evaluation.quality.calibrate import (
    AssessedScan,
    estimated_and_true,
    fit_calibration,
)


def scans(number: int = 60, seed: int = 0, **offsets: float) -> list[AssessedScan]:
    """Results whose Dice is 0.9 times the agreement, and an offset of the structure."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(number):
        agreed = {name: float(rng.uniform(0.2, 1)) for name in offsets}
        dice = {name: 0.9 * agreed[name] + offset for name, offset in offsets.items()}
        variant = "noise" if i % 3 == 2 else ""
        found.append(AssessedScan(f"case {i // 2}", variant, (1, 1, 1), agreed, dice, {}))
    return found


def test_a_linear_relation_is_found_between_the_ends():
    calibration = fit_calibration(scans(one=0.0, two=0.0), "60 results")
    for agreed in (0.35, 0.5, 0.7, 0.85):
        # Linear between the means of groups, which are a tenth of the range wide.
        assert calibration.dice("one", agreed) == pytest.approx(0.9 * agreed, abs=0.05)
    assert calibration.dice("one", 0) == 0
    assert calibration.cases == 60 and calibration.measured_on == "60 results"


def test_offsets_tell_structures_apart():
    known = scans(one=0.05, two=-0.05)
    calibration = fit_calibration(known, "")
    assert calibration.offsets["one"] > 0.03 and calibration.offsets["two"] < -0.03
    errors = [abs(a - b) for a, b in estimated_and_true(known, calibration)]
    assert np.mean(errors) < 0.02


def test_the_curve_increases_whatever_was_measured():
    rng = np.random.default_rng(1)
    known = [
        AssessedScan(str(i), "", (1, 1, 1), {"one": rng.uniform()}, {"one": rng.uniform()}, {})
        for i in range(80)
    ]
    points = fit_calibration(known, "").points
    assert points[0] == (0, 0) and points[-1][0] == 1
    for column in zip(*points, strict=True):
        assert list(column) == sorted(column)


def test_intervals_contain_nine_of_ten():
    rng = np.random.default_rng(2)
    known = [
        AssessedScan(str(i), "", (1, 1, 1), {"one": a}, {"one": 0.9 * a + e}, {})
        for i, (a, e) in enumerate(rng.normal((0.7, 0), (0.1, 0.03), (400, 2)))
    ]
    calibration = fit_calibration(known, "")
    low, high = calibration.residuals
    inside = [
        low <= one.dice["one"] - calibration.dice("one", one.agreement["one"]) <= high
        for one in known
    ]
    assert 0.89 < np.mean(inside) < 0.91
    assert calibration.mean_residuals == calibration.residuals


def test_what_is_usual_is_that_of_scans_without_defects():
    known = scans(one=0.0)
    better = [
        AssessedScan(one.case, "", one.spacing_mm, {"one": 0.95}, {"one": 0.9}, {}) for one in known
    ]
    worse = [
        AssessedScan(one.case, "blur", one.spacing_mm, {"one": 0.3}, {"one": 0.2}, {})
        for one in known
    ]
    assert fit_calibration([*better, *worse], "").usual_dice > 0.8


def test_structures_that_nobody_has_take_no_part():
    known = scans(one=0.0)
    absent = AssessedScan("x", "", (1, 1, 1), {"one": math.nan}, {"one": math.nan}, {})
    assert fit_calibration([*known, absent], "").points == fit_calibration(known, "").points


def test_too_few_results_are_refused():
    with pytest.raises(HyperspaceError, match="too few results"):
        fit_calibration(scans(4, one=0.0), "")
    only_bad = [one for one in scans(90, one=0.0) if one.variant]
    with pytest.raises(HyperspaceError, match="too few results"):
        fit_calibration(only_bad, "")
