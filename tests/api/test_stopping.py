"""A segmentation stops soon wherever it is, and reports its progress."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.inference.argmax import NativeArgmax
from tests.models import FakeModel, local_network
from tests.scans import scan


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network())


def test_stops_between_tiles(model):
    stop = threading.Event()
    steps = segment_steps(scan(), model, tile_shape=(8, 8, 8), should_stop=stop.is_set)
    messages = []
    with pytest.raises(Cancelled):
        for step in steps:
            messages.append(step.message)
            if step.message.startswith("tile 3"):
                stop.set()
    assert messages[-1].startswith("tile 3 of ")


def test_stops_while_the_image_is_prepared():
    stop = threading.Event()
    normalized = []

    class Slow(Normalization):
        def apply(self, array):
            normalized.append(array)
            stop.set()
            return super().apply(array)

    model = FakeModel(
        lambda s: local_network(channels=2), in_channels=2, normalization=Slow("none")
    )
    with pytest.raises(Cancelled):
        list(segment_steps([scan(), scan()], model, should_stop=stop.is_set))
    assert len(normalized) == 1


def test_stops_between_layers():
    stop = threading.Event()
    reached = []

    class Recorder(nn.Module):
        def __init__(self, then_stop=False):
            super().__init__()
            self.then_stop = then_stop

        def forward(self, image):
            if not image.is_meta:  # else it is traced, not run
                reached.append(self.then_stop)
            if self.then_stop and not image.is_meta:
                stop.set()
            return image.expand(-1, 3, -1, -1, -1)

        def __deepcopy__(self, memo):
            return type(self)(self.then_stop)

    network = nn.Sequential(Recorder(), Recorder(then_stop=True), Recorder(), Recorder())
    with pytest.raises(Cancelled):
        list(segment_steps(scan(), FakeModel(lambda s: network), should_stop=stop.is_set))
    assert reached == [False, True]


def test_stops_between_planes_of_labels(monkeypatch):
    pushed = []
    push = NativeArgmax.push

    def recorded(argmax, plane):
        pushed.append(plane)
        push(argmax, plane)

    monkeypatch.setattr(NativeArgmax, "push", recorded)
    model = FakeModel(lambda spacing: local_network())
    steps = segment_steps(scan(), model, precision="fp32", should_stop=lambda: len(pushed) == 5)
    with pytest.raises(Cancelled):
        list(steps)
    assert len(pushed) == 5


def test_hooks_are_not_added_to_the_shared_network():
    network = local_network()
    segment(scan(), FakeModel(lambda s: network))
    list(segment_steps(scan(), FakeModel(lambda s: network), should_stop=lambda: False))
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_progress_rises_to_the_end(model):
    fractions = []
    result = run_to_end(
        segment_steps(scan(), model, tile_shape=(8, 8, 8)),
        lambda fraction, message: fractions.append(fraction),
    )
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.9 < fractions[-1] <= 1
    assert result.seconds > result.bake_seconds > 0
    assert result.device == "cpu"
    assert result.spacing_mm == pytest.approx((1.1, 0.9, 2.3))
    assert result.peak_bytes >= 0


def test_threads_do_not_disturb_each_other(model):
    expected = segment(scan(), model, (2, 1, 1.3)).array
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(segment(scan(), model, (2, 1, 1.3)).array))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all((labels == expected).all() for labels in results)


def test_global_state_is_restored_between_steps(model):
    before = torch.get_num_threads(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    for _ in segment_steps(scan(), model, tile_shape=(8, 8, 8)):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
    assert before == (
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
    )
