"""What a run does where memory fails, and how soon it stops."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.argmax import NativeArgmax
from tests.models import FakeModel, local_network

SPACING_MM = (1.5, 1.1, 0.8)


def scan(shape=(21, 18, 26)) -> Volume:
    noise = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return Volume(noise, Grid.from_spacing(shape, SPACING_MM))


@pytest.mark.parametrize(
    ("exhausted", "precision"),
    [(True, "fp32"), (False, "bf16-channels-last")],
    ids=["out of memory", "overflow in a short type"],
)
def test_nothing_of_a_failed_attempt_is_held_while_the_next_one_runs(exhausted, precision):
    made: list[weakref.ref] = []
    alive: list[bool] = []

    class Failing(nn.Module):
        def forward(self, image):
            if image.is_meta:
                return image.expand(-1, 3, -1, -1, -1)
            alive.extend(each() is not None for each in made)
            maps = image.expand(-1, 3, -1, -1, -1).clone()
            if not made:
                made.extend((weakref.ref(maps), weakref.ref(self)))
                if exhausted:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                maps = maps.mul_(float("inf"))
            return maps

    model = FakeModel(lambda spacing: Failing())
    messages = [step.message for step in segment_steps(scan(), model, precision=precision)]
    assert any(message.startswith("trying again (") for message in messages)
    assert alive and not any(alive)


def test_stops_between_planes_of_labels(monkeypatch):
    pushed = []
    push = NativeArgmax.push

    def counted(labeller, plane):
        pushed.append(plane)
        push(labeller, plane)

    monkeypatch.setattr(NativeArgmax, "push", counted)
    model = FakeModel(lambda spacing: local_network())
    steps = segment_steps(scan(), model, precision="fp32", should_stop=lambda: len(pushed) == 5)
    with pytest.raises(Cancelled):
        list(steps)
    assert len(pushed) == 5
