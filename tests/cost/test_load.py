"""How busy other programs keep the machine."""

from __future__ import annotations

import pytest

from napari_hyperspace.cost import load
from napari_hyperspace.cost.load import Load, slowdown


@pytest.mark.parametrize(
    ("others", "threads", "processors", "expected"),
    [
        (0.0, 2, 2, 1.0),
        (2.0, 2, 2, 2.0),
        (1.0, 1, 2, 1.0),  # the other processor is free
        (6.0, 2, 8, 1.0),
        (8.0, 8, 8, 2.0),
        (0.0, 4, 2, 1.0),  # more threads than processors are not the fault of others
    ],
)
def test_slowdown(others, threads, processors, expected):
    assert slowdown(others, threads, processors) == expected


def test_own_work_does_not_count_as_that_of_others():
    start = Load(at=10.0, busy=100.0, own=5.0)
    assert start.others_until(Load(at=12.0, busy=104.0, own=6.0)) == pytest.approx(1.5)
    assert start.others_until(Load(at=12.0, busy=101.0, own=6.5)) == 0.0  # counters are rounded
    assert start.others_until(start) == 0.0


def test_own_waiting_says_how_much_longer_own_work_took():
    start = Load(at=10.0, busy=100.0, own=5.0, waited=1.0)
    assert start.slowdown_until(Load(at=13.0, busy=106.0, own=6.0, waited=2.5)) == 2.5


def test_others_that_use_all_processors_would_use_more(monkeypatch):
    monkeypatch.setattr(load.psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(load.psutil, "getloadavg", lambda: (6.0, 5.0, 4.0))
    monkeypatch.setattr(load.torch, "get_num_threads", lambda: 2)
    start = Load(at=0.0, busy=100.0, own=0.0)
    assert start.slowdown_until(Load(at=1.0, busy=102.0, own=0.0)) == pytest.approx(4.0)
    assert start.slowdown_until(Load(at=1.0, busy=101.0, own=0.0)) == pytest.approx(1.5)


def test_counters_of_this_machine_can_be_read():
    start = Load.now()
    end = Load.now()
    assert end.at >= start.at
    assert end.busy >= start.busy > 0
    assert start.slowdown_until(end) >= 1.0


def test_the_load_is_measured_between_calls(monkeypatch):
    """It waits for a measurement only if the last one is too long ago."""
    now, rests = 0.0, []

    def rest(seconds):
        nonlocal now
        rests.append(seconds)
        now += seconds

    # Two processors, both kept busy by others; one thread of ours would have taken one of them.
    monkeypatch.setattr(Load, "now", classmethod(lambda cls: cls(now, 2 * now, 0.0)))
    monkeypatch.setattr(load.psutil, "cpu_count", lambda: 2)
    monkeypatch.setattr(load.psutil, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(load.torch, "get_num_threads", lambda: 2)
    meter = load._Meter(rest)
    assert meter.slowdown(wait=True) == pytest.approx(2.0)
    assert len(rests) == 1
    now += 1.0
    assert meter.slowdown(wait=True) == pytest.approx(2.0)  # the last one is recent
    now += 5.0
    assert meter.slowdown(wait=True) == pytest.approx(2.0)  # between both calls
    assert len(rests) == 1
    now += 60.0
    assert meter.slowdown(wait=True) == pytest.approx(2.0)
    assert len(rests) == 2
    now += 60.0
    assert meter.slowdown(wait=False) == pytest.approx(2.0)  # since the last call
    monkeypatch.setattr(load.psutil, "getloadavg", lambda: (1.0, 0.0, 0.0))
    now += 600.0
    assert meter.slowdown(wait=False) == pytest.approx(1.5)  # over the last minute
    assert len(rests) == 2
