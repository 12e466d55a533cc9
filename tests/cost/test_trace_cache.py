"""Each kind of architecture of a model is traced once."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from torch import nn

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.cost import trace_cache
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.cost.trace_cache import CannotTraceError, trace_of
from napari_hyperspace.nets.base.architecture import Architecture
from tests.models import FakeModel, local_network


@pytest.fixture
def traced(monkeypatch):
    """The function that traces a network, recorded."""
    recorded = Mock(wraps=trace)
    monkeypatch.setattr(trace_cache, "trace", recorded)
    return recorded


def test_a_model_is_traced_and_baked_once(traced):
    model = FakeModel(lambda spacing: local_network())
    found = [trace_of(model, (s, s, s)) for s in (1, 2, 3)]
    assert traced.call_count == 1
    assert model.asked == [(1, 1, 1)]
    assert {each.bake_seconds for each in found} == {found[0].bake_seconds}
    assert found[0].bake_seconds > 0


def test_the_bake_is_timed_at_a_trained_spacing(traced):
    """Kernels in mm are huge far outside the trained range."""
    model = FakeModel(lambda spacing: local_network(), trained_range_mm=((0.8, 4),) * 3)
    trace_of(model, (1e-3, 1, 50))
    assert model.asked == [(0.8, 1, 4)]
    near = FakeModel(lambda spacing: local_network(), trained_range_mm=((0.8, 4),) * 3)
    trace_of(near, (0.79999, 1, 4.00001))
    assert near.asked == [(0.79999, 1, 4.00001)]


def test_each_kind_of_architecture_is_traced(traced, monkeypatch):
    model = FakeModel(lambda spacing: local_network())
    monkeypatch.setattr(model, "architecture", lambda spacing: Architecture(spacing[0] > 2, ()))
    for step in (1, 3, 1, 3, 2):
        trace_of(model, (step, step, step))
    assert traced.call_count == 2
    assert len(model.asked) == 1


def test_the_oldest_traces_are_dropped(traced, monkeypatch):
    monkeypatch.setattr(trace_cache, "_CAPACITY", 2)
    monkeypatch.setattr(trace_cache, "_traces", trace_cache.OrderedDict())
    first, second, third = (FakeModel(lambda spacing: local_network()) for _ in range(3))
    for model in (first, second, first, third, first):  # the second is the one not used for longest
        trace_of(model, (1, 1, 1))
    assert traced.call_count == 3
    trace_of(second, (1, 1, 1))
    assert traced.call_count == 4


def test_network_that_depends_on_values_cannot_be_traced():
    class Undecided(nn.Module):
        def forward(self, image):
            return image if image.mean() > 9 else -image

    with pytest.raises(CannotTraceError, match="cannot be estimated") as caught:
        trace_of(FakeModel(lambda spacing: Undecided(), name="undecided"), (1, 1, 1))
    assert isinstance(caught.value, HyperspaceError)
    assert caught.value.where == "undecided"
