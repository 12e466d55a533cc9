"""Estimates are corrected by what earlier runs took."""

from __future__ import annotations

import itertools
import math

import pytest

from napari_hyperspace.core import store
from napari_hyperspace.cost.learned import Correction, FinishedRun, correction, record_run

KEY = "3-D 1-3 | fp32 | this machine"


def run(ratio, size_ratio=1.0, *, slowdown=1.0, rates="r", predicted=2.0):
    return FinishedRun(rates, predicted, ratio * predicted, 1e8, size_ratio * 1e8, slowdown)


def learned(*ratios, **facts):
    for ratio in ratios:
        record_run(KEY, run(ratio, **facts))
    return correction(KEY, "r")


def test_without_runs_nothing_is_corrected():
    assert correction(KEY, "r") == Correction()


def test_one_run_corrects_the_next_prediction():
    found = learned(1.5, size_ratio=1.2)
    assert found == Correction(pytest.approx(1.5), pytest.approx(1.2), 1)


def test_another_precision_device_or_family_is_not_corrected():
    learned(1.5)
    assert correction(KEY + ", 2 threads", "r") == Correction()


@pytest.mark.parametrize("position", range(5))
def test_one_outlier_changes_little(position):
    ratios = [1.25] * 5
    ratios[position] = 3.9
    assert learned(*ratios).seconds == pytest.approx(1.25)


def test_errors_that_last_replace_earlier_ones():
    assert learned(*[1.5] * 16).seconds == pytest.approx(1.5)
    factors = [learned(0.75).seconds for _ in range(8)]
    assert factors[0] == pytest.approx(1.5)  # slowly
    assert factors[-1] == pytest.approx(0.75)


def test_corrections_are_limited():
    assert learned(1000.0, size_ratio=100.0) == Correction(4.0, 3.0, 1)
    assert learned(*[0.15] * 9, size_ratio=1e-3).seconds == 0.25
    assert learned(*[1.0] * 9, size_ratio=1e-3).n_bytes == 0.8


def test_quiet_runs_count_and_disturbed_ones_only_without_them():
    assert learned(3.0, slowdown=2.0).seconds == pytest.approx(1.5)
    assert learned(1.25).seconds == pytest.approx(1.25)
    assert learned(8.0, 8.0, slowdown=2.0).seconds == pytest.approx(1.25)


def test_memory_that_a_process_held_already_does_not_lower_it_at_once():
    """The first run of a process grows its memory, later ones reuse it."""
    ratios = itertools.cycle([1.2, 0.2])
    for _ in range(8):
        record_run(KEY, run(1.0, next(ratios)))
    assert correction(KEY, "r").n_bytes == pytest.approx(1.2)


def test_runs_that_were_predicted_with_other_rates_are_forgotten():
    learned(1.5, 1.5)
    record_run(KEY, run(1.2, rates="new"))
    assert correction(KEY, "new").seconds == pytest.approx(1.2)
    assert correction(KEY, "r") == Correction()


def test_short_runs_say_nothing():
    assert learned(2.0, predicted=0.05) == Correction()


@pytest.mark.parametrize("number", [math.nan, math.inf, 0.0, -1.0])
def test_impossible_runs_are_not_stored(number):
    record_run(KEY, FinishedRun("r", number, 2.0, 1e8, 1e8, 1.0))
    record_run(KEY, FinishedRun("r", 2.0, 2.0, 1e8, number, 1.0))
    assert store.recall("runs", KEY) is None


@pytest.mark.parametrize(
    "damage", [None, 3, "x", {}, [3], [[]], [["r", 1, 2]], [["r", "1", 2, 3, 4, 1]], [[{}] * 6]]
)
def test_damaged_runs_are_left_out(damage):
    store.keep("runs", KEY, damage)
    assert correction(KEY, "r") == Correction()
    assert learned(1.5).runs == 1


def test_the_last_runs_are_kept(monkeypatch):
    learned(*[1.5] * 40)
    monkeypatch.setattr(store, "_MEMORY", {})
    assert correction(KEY, "r").runs == 16
