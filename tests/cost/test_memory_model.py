"""Peak memory of the phases of a segmentation."""

from __future__ import annotations

import pytest
import torch

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.cost.memory_model import peaks, resampling_stages
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.inference.execution import PRECISIONS
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import make_plan
from tests.models import FakeModel, local_network

CPU = torch.device("cpu")


def test_resampling_stages_shrink_first():
    plan = make_plan(Grid.from_spacing((40, 300, 50), (1, 1, 1)), FakeModel(None), (1, 4, 2))
    stages = resampling_stages(plan)
    assert [(s.incoming, s.outgoing) for s in stages] == [(600_000, 150_000), (150_000, 75_000)]
    assert stages[0].gathered == 150_000 * 8
    assert stages[1].products == 75_000 * 50


def test_no_resampling_at_the_own_spacing():
    plan = make_plan(Grid.from_spacing((4, 5, 6), (1, 2, 3)), FakeModel(None))
    assert resampling_stages(plan) == []


@pytest.fixture
def model():
    return FakeModel(lambda spacing: local_network())


def peak(model, *, precision="fp32", device=CPU, **options):
    grid = Grid.from_spacing((96, 100, 104), (1, 1, 1))
    plan = make_plan(grid, model, None, InferenceOptions(**options))
    network = trace(local_network(), 1, 3)
    return peaks(grid, plan, model, network, PRECISIONS[precision], device)


def test_host_and_device_are_one_on_the_cpu(model):
    on_device, on_host = peak(model)
    assert on_device == on_host
    voxels = 96 * 100 * 104
    assert on_device > 4 * (1 + 4 + 3) * voxels  # the image and the maps of two convolutions


def test_on_another_device_the_network_takes_no_main_memory(model):
    on_device, on_host = peak(model, device=torch.device("cuda"))
    assert on_host < peak(model)[1]
    assert on_device > 4 * (4 + 3) * 96 * 100 * 104


def test_a_shorter_type_and_smaller_tiles_take_less(model):
    whole = peak(model, precision="fp32-channels-last")[0]
    assert peak(model, precision="bf16-channels-last")[0] < whole
    assert peak(model, precision="fp32-channels-last", tile_shape=(32, 32, 32))[0] < whole
