"""The precision of a network is chosen by measurement, and never at the cost of the labels."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import nn

from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core import store
from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference import precision as precisions
from napari_hyperspace.inference.argmax import border_voxels
from napari_hyperspace.inference.execution import PRECISIONS, NetworkRunner
from napari_hyperspace.inference.precision import choose_precision, known_choice, upper_rate
from tests.models import FakeModel, local_network

CPU = torch.device("cpu")
SPACING = (1.0, 1.5, 2.0)


class Signs(nn.Module):
    """Class 1 where the image is positive; off by a bit in short types, if told so."""

    def __init__(self, bias_in_short_types=0.0):
        super().__init__()
        self.bias = bias_in_short_types

    def forward(self, image):
        level = image.float() + (self.bias if image.dtype != torch.float32 else 0)
        return torch.cat([-level, level, level * 0 - 9], dim=1).to(image.dtype)


def run_to_the_end(steps):
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


@pytest.fixture
def ramp():
    """A signed ramp along x of 60 values: one border plane."""
    z, y, x = np.indices((20, 50, 60))
    return torch.tensor((x - 29.5 + 0 * y + 0 * z) / 10, dtype=torch.float32)[None]


@pytest.fixture
def fast_short_types(monkeypatch):
    """Take time out of the choice: short types always run in half the time."""
    timed = precisions._timed

    def steady(runner, block):
        _, logits = timed(runner, block)
        return {torch.float32: 1.0}.get(runner.precision.dtype, 0.5), logits

    monkeypatch.setattr(precisions, "_timed", steady)


@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "fp16-channels-last"])
@pytest.mark.parametrize("n_dim", [2, 3])
def test_every_form_computes_the_same_function(name, n_dim):
    network = local_network(n_dim=n_dim).eval()
    image = torch.randn(1, 9, 12, 11, generator=torch.Generator().manual_seed(0))
    batch = image[None] if n_dim == 3 else image.movedim(1, 0)
    expected = network(batch)
    expected = expected[0] if n_dim == 3 else expected.movedim(0, 1)
    logits = NetworkRunner(network, PRECISIONS[name], CPU, n_dim)(image)
    tolerance = 1e-5 if PRECISIONS[name].dtype == torch.float32 else 0.15
    torch.testing.assert_close(logits.float(), expected, rtol=tolerance, atol=tolerance)
    assert next(network.parameters()).dtype == torch.float32


def test_faster_short_type_is_taken_where_labels_stay(ramp, fast_short_types):
    choice = choose_precision(FakeModel(None), Signs(), SPACING, ramp, CPU)
    assert choice.precision == "bf16-channels-last"
    assert 0 < choice.flips_per_border < 0.01
    assert choice.shape == (20, 48, 48)


def test_short_type_that_moves_labels_is_not_taken(ramp, fast_short_types):
    choice = choose_precision(FakeModel(None), Signs(bias_in_short_types=0.1), SPACING, ramp, CPU)
    assert PRECISIONS[choice.precision].dtype == torch.float32
    assert choice.flips_per_border == 0


def test_without_a_border_nothing_is_learnt(ramp, fast_short_types):
    model = FakeModel(None)
    choice = choose_precision(model, Signs(), SPACING, ramp.abs() + 1, CPU)
    assert PRECISIONS[choice.precision].dtype == torch.float32
    assert known_choice(model, CPU, SPACING) is None


def test_choice_is_made_once_and_kept_on_disk(ramp, fast_short_types, monkeypatch):
    model = FakeModel(None)
    first = choose_precision(model, Signs(), SPACING, ramp, CPU)
    monkeypatch.setattr(precisions, "_probe", lambda *_: pytest.fail("probed again"))
    assert choose_precision(model, Signs(), (1.05, 1.45, 2.1), ramp, CPU) == first
    monkeypatch.setattr(store, "_MEMORY", {})  # as a new process would
    kept = known_choice(model, CPU, SPACING)
    assert kept.precision == first.precision
    assert known_choice(model, CPU, (4, 4, 4)) is None
    assert known_choice(FakeModel(None, identity="other"), CPU, SPACING) is None


def test_more_border_than_the_probe_promised_runs_again_in_fp32(monkeypatch):
    """A cached rate and a checkerboard: border everywhere, so the promise cannot be kept."""
    z, y, x = np.indices((6, 20, 21))
    checks = ((x + y + z) % 2 * 2.0 - 1).astype(np.float32)
    volume = Volume(checks, Grid.from_spacing(checks.shape, SPACING))
    model = FakeModel(lambda spacing: Signs())
    seconds = {"fp32": 3.0, "fp32-channels-last": 2.0, "bf16-channels-last": 1.0}
    choice = precisions.Choice("bf16-channels-last", 0.005, seconds, (48, 48, 48))
    store.keep("precisions", precisions.choice_key(model, CPU, SPACING), precisions.asdict(choice))

    blocks = np.where(x < 10, -1, 1).astype(np.float32)
    result = run_to_the_end(segment_steps(volume.with_array(blocks), model))
    assert result.precision == "bf16-channels-last"  # 0.005 of a border of 1 in 21 voxels is little

    assert run_to_the_end(segment_steps(volume, model)).precision == "fp32-channels-last"
    settled = known_choice(model, CPU, SPACING)  # no scan is run twice again
    assert (settled.precision, settled.flips_per_border) == ("fp32-channels-last", 0.0)


def test_probe_can_be_stopped(ramp):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        choose_precision(FakeModel(None), Signs(), SPACING, ramp, CPU, stop.is_set)


def test_border_is_counted_as_by_numpy():
    labels = np.random.default_rng(0).integers(0, 3, (4, 7, 9))
    border = np.zeros(labels.shape, bool)
    border[:, :-1] |= np.diff(labels, axis=1) != 0
    border[:, :, :-1] |= np.diff(labels, axis=2) != 0
    assert border_voxels(torch.from_numpy(labels)) == border.sum()


@pytest.mark.parametrize(("flips", "border"), [(0, 100), (10, 1000), (400, 9000)])
def test_upper_rate_bounds_the_poisson_interval(flips, border):
    exact = chi2.ppf(0.975, 2 * (flips + 1)) / 2 / border
    assert 0.8 * exact < upper_rate(flips, border) < 1.1 * exact


def test_damaged_store_is_made_anew(own_cache):
    store.keep("precisions", "a", {"b": 1})
    path = own_cache / "measured-precisions.json"
    assert json.loads(path.read_text()) == {"a": {"b": 1}}
    for damage in ("", "{", "[1]", "\x00"):
        path.write_text(damage)
        store._MEMORY.clear()
        assert store.recall("precisions", "a") is None
        store.keep("precisions", "c", 2)
        assert json.loads(path.read_text()) == {"c": 2}
    assert [entry.name for entry in own_cache.iterdir()] == [path.name]


def test_store_that_cannot_be_written_still_remembers(monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("HYPERSPACE_CACHE", str(blocked / "cache"))
    store.keep("precisions", "a", 1)
    assert store.recall("precisions", "a") == 1
