"""The cost of a pass: what the native grid takes, and what finished passes teach."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch

from napari_hyperspace.core import store
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.cost.learned import Correction
from napari_hyperspace.cost.memory_model import _OPENVINO
from napari_hyperspace.cost.pass_cost import PassCost, learn_from_pass, pass_cost
from napari_hyperspace.inference.plan import make_plan
from tests.models import FakeModel, local_network
from tests.rates import CALIBRATION, HOST_RATES, PRECISION_RATES

CPU = torch.device("cpu")
NATIVE = Grid.from_spacing((60, 70, 80), (1, 1, 1))


def cost(model, spacing, calibration=CALIBRATION, precision="fp32"):
    plan = make_plan(NATIVE, model, (spacing,) * 3)
    return pass_cost(NATIVE, plan, model, CPU, calibration, precision)


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network())


def with_host(**rates):
    return replace(CALIBRATION, host=replace(HOST_RATES, **rates))


def test_looking_up_labels_takes_the_same_time_at_any_working_spacing(model):
    def added(spacing):
        slower = with_host(look_up=HOST_RATES.look_up + 1e-6)
        return cost(model, spacing, slower).seconds - cost(model, spacing).seconds

    assert added(2) == pytest.approx(1e-6 * 60 * 70 * 80)
    assert added(5) == pytest.approx(added(2))


def test_coarser_labels_have_more_border_to_interpolate(model):
    def border(spacing, classes=3):
        many = replace(model, out_channels=classes, label_values=tuple(range(classes)))
        slower = with_host(interpolate=HOST_RATES.interpolate + 1e-6)
        added = cost(many, spacing, slower).seconds - cost(many, spacing).seconds
        return added / (1e-6 * 60 * 70 * 80 * classes)

    assert 0.1 < border(2) < border(4) < 0.3
    assert border(4, classes=12) == pytest.approx(border(4))


def test_what_a_pass_took_corrects_later_ones_of_its_precision(model):
    plan = make_plan(NATIVE, model, (2, 2, 2))
    slow = replace(PRECISION_RATES, convolution_overhead=1.0)  # runs of more than 0.2 s
    calibration = replace(CALIBRATION, precisions=dict.fromkeys(CALIBRATION.precisions, slow))
    before, other = (cost(model, 4, calibration, name) for name in ("fp32", "fp32-channels-last"))
    expected = pass_cost(NATIVE, plan, model, CPU, calibration, "fp32")
    size = round(1.25 * expected.peak_bytes)
    taken = PassCost(1.5 * expected.seconds, size, size, "fp32")
    for _ in range(3):  # the same whether or not it was corrected meanwhile
        learn_from_pass(NATIVE, plan, model, CPU, calibration, taken, 1.0)
    after = cost(model, 4, calibration)
    assert after.seconds == pytest.approx(1.5 * before.seconds)
    assert after.peak_bytes == pytest.approx(1.25 * before.peak_bytes, rel=1e-6)
    assert after.peak_host_bytes == after.peak_bytes
    assert cost(model, 4, calibration, "fp32-channels-last") == other
    assert len(store.recall_all("runs")) == 1
    # Measured again, with other rates, predictions have other errors.
    measured_again = replace(calibration, host=replace(HOST_RATES, copy=1.1e-10))
    assert cost(model, 4, measured_again).seconds == pytest.approx(before.seconds, rel=0.01)


def test_a_probe_is_not_corrected(model, monkeypatch):
    before = cost(model, 2, precision="auto")
    assert before.probe_seconds > 0
    monkeypatch.setattr(
        "napari_hyperspace.cost.pass_cost.correction", lambda *_: Correction(2.0, 1.0, 3)
    )
    after = cost(model, 2, precision="auto")
    assert after.seconds == pytest.approx(2 * before.seconds)
    assert after.probe_seconds == before.probe_seconds


def test_a_probe_loads_the_library_that_it_tries(model, monkeypatch):
    monkeypatch.setattr("napari_hyperspace.cost.pass_cost.candidates", lambda _: ("fp32",))
    plain = cost(model, 2, precision="auto").peak_bytes
    names = ("fp32", "openvino-fp32")
    monkeypatch.setattr("napari_hyperspace.cost.pass_cost.candidates", lambda _: names)
    costly = replace(PRECISION_RATES, compiling=100.0)
    rates = replace(CALIBRATION, precisions={"fp32": PRECISION_RATES, "openvino-fp32": costly})
    monkeypatch.setitem(sys.modules, "openvino", None)
    loaded = cost(model, 2, rates, "auto")
    assert (loaded.precision, loaded.peak_bytes) == ("fp32", plain)
    monkeypatch.delitem(sys.modules, "openvino")
    assert cost(model, 2, rates, "auto").peak_bytes == plain + _OPENVINO
    assert cost(model, 2, rates, "fp32").peak_bytes == plain
