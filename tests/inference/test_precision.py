"""The precision of a network is chosen by measurement, and keeps the labels."""

from __future__ import annotations

import copy
import json
import threading
from contextlib import nullcontext
from dataclasses import asdict

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import nn

from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core import store
from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference import precision as precision_module
from napari_hyperspace.inference.argmax import border_voxels
from napari_hyperspace.inference.execution import PRECISIONS, network_runner
from napari_hyperspace.inference.precision import choose_precision, known_choice, upper_rate
from tests.models import FakeModel, local_network

CPU = torch.device("cpu")
SPACING = (1.0, 1.5, 2.0)


class Signs(nn.Module):
    """Class 1 where the image is positive; in short types, shifted by a bias."""

    def __init__(self, bias_in_short_types=0.0):
        super().__init__()
        self.bias = bias_in_short_types

    def forward(self, image):
        level = image.float() + (self.bias if image.dtype != torch.float32 else 0)
        return torch.cat([-level, level, level * 0 - 9], dim=1).to(image.dtype)


@pytest.fixture
def ramp():
    """A signed ramp along x of 60 values: one border plane."""
    z, y, x = np.indices((20, 50, 60))
    return torch.tensor((x - 29.5 + 0 * y + 0 * z) / 10, dtype=torch.float32)[None]


@pytest.fixture
def fast_short_types(monkeypatch):
    """Make the choice independent of this machine: short types take half the time."""
    timed = precision_module._timed

    def steady(runner, block, device, repeats):
        _, logits = timed(runner, block, device, repeats)
        return {torch.float32: 1.0}.get(logits.dtype, 0.5), logits

    monkeypatch.setattr(precision_module, "_timed", steady)


def double_precision(network, image, n_dim, absolute=False):
    """The network in float64; if absolute, with the absolute values of weights and image."""
    network, image = copy.deepcopy(network).double(), image.double()
    if absolute:
        image = image.abs()
        for parameter in network.parameters():
            parameter.abs_()
    logits = network(image[None] if n_dim == 3 else image.movedim(1, 0))
    return logits[0] if n_dim == 3 else logits.movedim(0, 1)


@pytest.mark.parametrize("name", [name for name in PRECISIONS if name != "fp16-channels-last"])
@pytest.mark.parametrize("n_dim", [2, 3])
@torch.no_grad()
def test_every_precision_computes_the_same_function(name, n_dim):
    """Against float64. Each of two convolutions rounds image, weights and result to the data type.

    The sums of at most 4 · 27 + 1 products are accumulated in float32.
    """
    network = local_network(n_dim=n_dim).eval()
    image = torch.randn(1, 9, 12, 11, generator=torch.Generator().manual_seed(0))
    expected = double_precision(network, image, n_dim)
    magnitude = double_precision(network, image, n_dim, absolute=True)
    if PRECISIONS[name].library != "torch":
        pytest.importorskip(PRECISIONS[name].library)
    with network_runner(network, PRECISIONS[name], CPU, n_dim) as runner:
        logits = runner(image)
    short, single = (torch.finfo(t).eps for t in (PRECISIONS[name].dtype, torch.float32))
    bound = 2 * (3 * short + (4 * 27 + 1) * single) * magnitude
    assert ((logits.double() - expected).abs() <= bound).all()
    assert next(network.parameters()).dtype == torch.float32


def test_faster_short_type_is_chosen_if_labels_stay(ramp, fast_short_types):
    choice = choose_precision(FakeModel(None), Signs(), SPACING, ramp, CPU)
    assert choice.precision == "bf16-channels-last"
    assert 0 < choice.flips_per_border < 0.01
    assert choice.shape == (20, 48, 48)


def test_short_type_that_changes_labels_is_not_chosen(ramp, fast_short_types):
    choice = choose_precision(FakeModel(None), Signs(bias_in_short_types=0.1), SPACING, ramp, CPU)
    assert PRECISIONS[choice.precision].dtype == torch.float32
    assert choice.flips_per_border == 0


def test_without_a_border_nothing_is_stored(ramp, fast_short_types):
    model = FakeModel(None)
    choice = choose_precision(model, Signs(), SPACING, ramp.abs() + 1, CPU)
    assert PRECISIONS[choice.precision].dtype == torch.float32
    assert known_choice(model, CPU, SPACING) is None


def test_choice_is_made_once_and_stored(ramp, fast_short_types, monkeypatch):
    model = FakeModel(None)
    first = choose_precision(model, Signs(), SPACING, ramp, CPU)
    monkeypatch.setattr(precision_module, "_probe", lambda *_: pytest.fail("probed again"))
    assert choose_precision(model, Signs(), (1.05, 1.45, 2.1), ramp, CPU) == first
    monkeypatch.setattr(store, "_MEMORY", {})  # as a new process would
    kept = known_choice(model, CPU, SPACING)
    assert kept.precision == first.precision
    assert known_choice(model, CPU, (4, 4, 4)) is None
    assert known_choice(FakeModel(None, identity="other"), CPU, SPACING) is None


def test_more_border_than_in_the_probe_runs_again_in_fp32(monkeypatch):
    """A stored rate and a checkerboard: every voxel is on a border, so too many may differ."""
    z, y, x = np.indices((6, 20, 21))
    checks = ((x + y + z) % 2 * 2.0 - 1).astype(np.float32)
    volume = Volume(checks, Grid.from_spacing(checks.shape, SPACING))
    model = FakeModel(lambda spacing: Signs())
    seconds = {"fp32": 3.0, "fp32-channels-last": 2.0, "bf16-channels-last": 1.0}
    choice = precision_module.PrecisionChoice("bf16-channels-last", 0.005, seconds, (48, 48, 48))
    store.keep("precisions", precision_module.choice_key(model, CPU, SPACING), asdict(choice))

    blocks = np.where(x < 10, -1, 1).astype(np.float32)
    result = run_to_end(segment_steps(volume.with_array(blocks), model))
    assert result.precision == "bf16-channels-last"  # 0.005 per border voxel, 1 in 21

    assert run_to_end(segment_steps(volume, model)).precision == "fp32-channels-last"
    settled = known_choice(model, CPU, SPACING)  # later scans run once
    assert (settled.precision, settled.flips_per_border) == ("fp32-channels-last", 0.0)


@pytest.mark.parametrize("shape", [[20, 48, 48], 48])
def test_choice_stored_by_an_earlier_version_is_read(own_cache, shape):
    """It was stored in ``measured-forms.json``, under the key ``form``."""
    model = FakeModel(None)
    stored = {
        "form": "bf16-channels-last",
        "flips_per_border": 0.005,
        "seconds": {"fp32": 2.0, "bf16-channels-last": 1.0},
        "shape": shape,
    }
    own_cache.mkdir()
    text = json.dumps({precision_module.choice_key(model, CPU, SPACING): stored})
    (own_cache / "measured-forms.json").write_text(text)
    found = known_choice(model, CPU, SPACING)
    if shape == 48:  # damaged
        assert found is None
        return
    del stored["form"]
    assert found == precision_module.PrecisionChoice(
        "bf16-channels-last", **{**stored, "shape": (20, 48, 48)}
    )


@pytest.mark.parametrize(
    "damage",
    [
        {"flips_per_border": float("nan")},
        {"flips_per_border": -1.0},
        {"flips_per_border": "0"},
        {"seconds": {"fp32": 0.0}},
        {"seconds": {"fp32": "fast"}},
        {"seconds": {"fp8": 1.0}},
        {"seconds": [1.0]},
        {"seconds": None},
        {"precision": ["fp32"]},
    ],
)
def test_impossible_stored_choices_are_not_used(own_cache, damage):
    model = FakeModel(None)
    key = precision_module.choice_key(model, CPU, SPACING)
    stored = {"precision": "fp32", "flips_per_border": 0.0, "seconds": {}, "shape": [4, 4, 4]}
    store.keep("precisions", key, {**stored, **damage})
    assert known_choice(model, CPU, SPACING) is None


def test_a_new_choice_replaces_that_of_an_earlier_version(own_cache):
    model = FakeModel(None)
    key = precision_module.choice_key(model, CPU, SPACING)
    stored = {"flips_per_border": 0.0, "seconds": {}, "shape": [4, 4, 4]}
    store.keep("forms", key, {"form": "bf16-channels-last", **stored})
    assert known_choice(model, CPU, SPACING).precision == "bf16-channels-last"
    store.keep("precisions", key, {"precision": "fp32", **stored})
    assert known_choice(model, CPU, SPACING).precision == "fp32"


class _Clock:
    """Time that only the runs of a stand-in network move forward."""

    def __init__(self, seconds):
        self.now, self.seconds, self.runs = 0.0, seconds, []

    def __call__(self, device):
        return self.now

    def runner(self, network, precision, device, n_dim, should_stop=None):
        def run(block):
            self.runs.append(precision.name)
            self.now += self.seconds[precision.name]
            return network(block[None])[0]

        return nullcontext(run)


@pytest.fixture
def timed_by(monkeypatch):
    """Return a function that gives the runs of each precision a duration."""

    def install(**seconds):
        seconds = {name.replace("_", "-"): each for name, each in seconds.items()}
        known = _Clock(seconds)
        monkeypatch.setattr(precision_module, "clock", known)
        monkeypatch.setattr(precision_module, "network_runner", known.runner)
        monkeypatch.setattr(precision_module, "candidates", lambda device: tuple(seconds))
        return known

    return install


def test_short_runs_are_repeated_and_long_ones_only_if_promising(ramp, timed_by):
    times = {"fp32_channels_last": 0.1, "bf16_channels_last": 0.3, "openvino_fp32": 0.5}
    known = timed_by(**times, fp32=0.05)
    choice = choose_precision(FakeModel(None), Signs(), SPACING, ramp, CPU)
    counts = {name: known.runs.count(name) for name in choice.seconds}
    assert counts == {
        "fp32-channels-last": 3,
        "bf16-channels-last": 1,  # three times the fastest: one run says so
        "openvino-fp32": 2,  # the first run compiles
        "fp32": 3,
    }
    each = {name: known.seconds[name] for name in choice.seconds}
    assert precision_module.probe_seconds(each, {}) == pytest.approx(known.now)


def test_a_probe_that_takes_long_tries_no_more_precisions(ramp, timed_by):
    times = {"fp32_channels_last": 7.0, "bf16_channels_last": 1.5, "openvino_fp32": 0.1}
    known = timed_by(**times, fp32=0.1)
    model = FakeModel(None)
    choice = choose_precision(model, Signs(), SPACING, ramp, CPU)
    assert known.runs == ["fp32-channels-last", "bf16-channels-last", "bf16-channels-last"]
    assert choice.precision == "bf16-channels-last"
    assert known_choice(model, CPU, SPACING) == choice
    each = {name: known.seconds[name] for name in ("fp32-channels-last", "bf16-channels-last")}
    assert precision_module.probe_seconds({**each, "fp32": 0.1}, {}) == known.now


def test_probe_can_be_stopped(ramp):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        choose_precision(FakeModel(None), Signs(), SPACING, ramp, CPU, stop.is_set)


def test_border_equals_that_counted_with_numpy():
    labels = np.random.default_rng(0).integers(0, 3, (4, 7, 9))
    border = np.zeros(labels.shape, bool)
    border[:, :-1] |= np.diff(labels, axis=1) != 0
    border[:, :, :-1] |= np.diff(labels, axis=2) != 0
    assert border_voxels(torch.from_numpy(labels)) == border.sum()


@pytest.mark.parametrize(("flips", "border"), [(0, 100), (10, 1000), (400, 9000)])
def test_upper_rate_bounds_the_poisson_interval(flips, border):
    exact = chi2.ppf(0.975, 2 * (flips + 1)) / 2 / border
    assert 0.8 * exact < upper_rate(flips, border) < 1.1 * exact
