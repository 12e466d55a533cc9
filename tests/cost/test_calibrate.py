"""A device is measured once, and its rates are stored."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from napari_hyperspace.core import store
from napari_hyperspace.core.errors import Cancelled, HyperspaceWarning
from napari_hyperspace.core.progress import stopped_by
from napari_hyperspace.cost import calibrate as calibration
from napari_hyperspace.cost import device_rates, timing
from napari_hyperspace.cost.calibrate import calibrate, is_calibrated
from napari_hyperspace.cost.device_rates import measure_precision, page_fault_seconds
from napari_hyperspace.cost.host_rates import measure_host
from napari_hyperspace.cost.rates import encode
from napari_hyperspace.inference.execution import PRECISIONS
from tests.rates import CALIBRATION, HOST_RATES, PRECISION_RATES

CPU = torch.device("cpu")


@pytest.fixture
def measured(monkeypatch):
    """Count the measurements of a round, which give round rates."""
    rounds = []

    def measure_host(setting_up, page_fault):
        rounds.append(setting_up)
        return replace(HOST_RATES, setting_up=setting_up, page_fault=page_fault)

    monkeypatch.setattr(calibration, "page_fault_seconds", lambda device: HOST_RATES.page_fault)
    monkeypatch.setattr(calibration, "measure_precision", lambda *_: (PRECISION_RATES, 0.0))
    monkeypatch.setattr(calibration, "measure_like", lambda *_: PRECISION_RATES)
    monkeypatch.setattr(calibration, "measure_host", measure_host)
    monkeypatch.setattr(calibration.Load, "slowdown_until", lambda *_: 1.0)
    return rounds


@pytest.fixture
def new_process(monkeypatch):
    """Return a function that forgets what was read from disk, as a new process would."""
    return lambda: monkeypatch.setattr(store, "_MEMORY", {})


def test_this_machine_can_be_measured(monkeypatch):
    """The only test that measures for real: one precision, one round, few small cases."""
    monkeypatch.setattr(timing, "_SECONDS_EACH", 0.0)
    monkeypatch.setattr(device_rates, "_CONVOLUTIONS", ((1, 16, 8), (16, 16, 8)))
    rates, setting_up = measure_precision(PRECISIONS["fp32-channels-last"], CPU, 1e-10)
    assert all(rate > 0 for rate in (*rates.convolutions.values(), *rates.depthwise.values()))
    assert min(rates.transposed, rates.norm, rates.pool, rates.pointwise, rates.upsample) > 0
    assert rates.overhead > 0
    host = measure_host(setting_up, page_fault_seconds(CPU))
    assert min(min(pair) for pair in host.normalize.values()) > 0
    assert min(host.copy, host.product, host.gather, host.winner) > 0
    assert host.setting_up == setting_up >= 0


def test_rates_are_measured_once_and_stored(measured, new_process):
    assert not is_calibrated(CPU)
    first = calibrate(CPU)
    assert first == CALIBRATION
    assert len(measured) == 2  # two rounds
    assert is_calibrated(CPU)
    assert calibrate(CPU) == first
    new_process()
    assert calibrate(CPU) == first
    assert calibrate(CPU) is calibrate(CPU)  # decoded once
    assert len(measured) == 2
    calibrate(CPU, again=True)
    assert len(measured) == 4


@pytest.mark.parametrize("damage", ["{", '{"precisions": {}}', "[]"])
def test_damaged_file_is_replaced(measured, new_process, own_cache, damage):
    calibrate(CPU)
    path = own_cache / "measured-rates.json"
    path.write_text(damage)
    new_process()
    assert not is_calibrated(CPU)
    calibrate(CPU)
    assert is_calibrated(CPU)
    new_process()
    assert is_calibrated(CPU)


def test_entry_of_another_version_is_measured_again(measured, new_process, own_cache):
    calibrate(CPU)
    path = own_cache / "measured-rates.json"
    path.write_text(path.read_text().replace('"itemsize"', '"size"'))
    new_process()
    assert not is_calibrated(CPU)


@pytest.mark.parametrize("value", ["NaN", "0", "-1.0", '"fast"', "1e400"])
def test_impossible_stored_rates_are_measured_again_and_said_once(
    measured, new_process, own_cache, value
):
    calibrate(CPU)
    path = own_cache / "measured-rates.json"
    path.write_text(path.read_text().replace('"copy": 1e-10', f'"copy": {value}'))
    new_process()
    assert not is_calibrated(CPU)
    with pytest.warns(HyperspaceWarning, match="measured again"):
        assert calibrate(CPU) == CALIBRATION
    assert len(measured) == 4
    assert calibrate(CPU) == CALIBRATION  # without a warning
    new_process()
    assert calibrate(CPU) == CALIBRATION


def test_file_of_an_earlier_version_is_read(measured, own_cache):
    """A file with the keys ``forms``, ``fault`` and ``normalise``."""
    stored = encode(CALIBRATION)
    stored["forms"] = stored.pop("precisions")
    for rates in (*stored["forms"].values(), stored["host"]):
        rates["fault"] = rates.pop("page_fault")
    stored["host"]["normalise"] = stored["host"].pop("normalize")
    own_cache.mkdir()
    text = json.dumps({f"7 | {calibration.device_name(CPU)}": stored})
    (own_cache / "measured-rates.json").write_text(text)
    assert is_calibrated(CPU)
    assert calibrate(CPU) == CALIBRATION
    assert not measured


def test_the_faster_of_two_rounds_is_used(measured, monkeypatch):
    slow = replace(HOST_RATES, copy=3e-10, gather=2e-10, normalize={"none": (1e-9, 5e-9)})
    fast = replace(HOST_RATES, copy=2e-10, gather=4e-10, normalize={"none": (2e-9, 4e-9)})
    rounds = iter([slow, fast])
    monkeypatch.setattr(calibration, "measure_host", lambda *_: next(rounds))
    host = calibrate(CPU).host
    assert (host.copy, host.gather) == (2e-10, 2e-10)
    assert host.normalize == {"none": (1e-9, 4e-9)}


def test_a_second_round_is_left_out_if_the_first_took_long(measured, monkeypatch):
    monkeypatch.setattr(calibration, "_MOST_S", -1.0)
    assert calibrate(CPU) == CALIBRATION
    assert len(measured) == 1


def test_plain_fp32_is_derived_from_a_network(measured, monkeypatch):
    """One of two precisions of the same type is measured operation by operation."""
    whole, derived = [], []

    def measure_precision(precision, device, page_fault):
        whole.append(precision.name)
        return PRECISION_RATES, 0.0

    def measure_like(precision, device, similar):
        derived.append(precision.name)
        return PRECISION_RATES

    monkeypatch.setattr(calibration, "measure_precision", measure_precision)
    monkeypatch.setattr(calibration, "measure_like", measure_like)
    calibrate(CPU)
    assert set(whole) == {"fp32-channels-last", "bf16-channels-last"}
    assert "fp32" in derived


def test_rates_of_a_busy_machine_are_marked_and_measured_again_once_it_is_quiet(
    measured, monkeypatch, new_process
):
    monkeypatch.setattr(calibration, "_repeated", set())
    monkeypatch.setattr(calibration.Load, "slowdown_until", lambda *_: 2.0)
    monkeypatch.setattr(calibration, "current_slowdown", lambda: 2.0)
    assert calibrate(CPU).slowdown == 2.0
    new_process()
    assert calibrate(CPU).slowdown == 2.0
    assert len(measured) == 2  # it is still busy

    monkeypatch.setattr(calibration, "current_slowdown", lambda: 1.0)
    assert calibrate(CPU).slowdown == 2.0  # somebody has disturbed it again
    assert len(measured) == 4
    calibrate(CPU)
    assert len(measured) == 4  # not more than once per process

    monkeypatch.setattr(calibration, "_repeated", set())
    monkeypatch.setattr(calibration.Load, "slowdown_until", lambda *_: 1.0)
    new_process()
    assert calibrate(CPU).slowdown == 1.0
    assert len(measured) == 6
    calibrate(CPU)
    new_process()
    calibrate(CPU)
    assert len(measured) == 6


def test_a_measurement_that_takes_time_is_announced(measured, monkeypatch, capsys):
    calibrate(CPU)
    assert capsys.readouterr() == ("", "")

    class Timer:
        """A timer whose time is always over."""

        def __init__(self, seconds, work):
            self.start, self.cancel = work, lambda: None

    monkeypatch.setattr(calibration.threading, "Timer", Timer)
    calibrate(CPU, again=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "measuring the speed of this machine, once: a few seconds\n"


def test_shortest_of_several_runs_without_the_first(monkeypatch):
    """By a clock that the work moves forward itself."""
    now = 0.0
    durations = iter([9.0, 0.03, 0.02, 0.025])

    def work():
        nonlocal now
        now += next(durations)

    monkeypatch.setattr(timing, "clock", lambda device: now)
    assert timing.shortest_seconds(work, CPU) == pytest.approx(0.02)
    assert next(durations, None) is not None  # 0.025 s in two runs are enough


def test_a_measurement_can_be_stopped(tmp_path, monkeypatch):
    """Real measurements are many short ones; the first of them asks."""
    asked = []

    def should_stop() -> bool:
        asked.append(True)
        return len(asked) > 1

    monkeypatch.setattr(timing, "_SECONDS_EACH", 0.0)
    with stopped_by(should_stop), pytest.raises(Cancelled):
        measure_precision(PRECISIONS["fp32"], CPU, 0.0)
    assert len(asked) == 2
