"""Counts are exact; estimates are monotone, quick and of the right size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.api.estimate import estimate, estimate_curve, spacing_for
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core import store
from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost import calibrate as calibration
from napari_hyperspace.cost import memory_model as footprint
from napari_hyperspace.cost.calibrate import Calibration, HostRates, calibrate, is_calibrated
from napari_hyperspace.cost.cost_model import Rates
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.inference.inputs import straight_grid, straightening_bytes, working_image
from napari_hyperspace.inference.plan import make_plan
from tests.models import FakeModel, local_network

CPU = torch.device("cpu")


class Pyramid(nn.Module):
    """One stride, one skip: small enough to count by hand."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv3d(1, 8, 3, padding=1)
        self.down = nn.Conv3d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose3d(16, 8, 2, stride=2)
        self.norm = nn.GroupNorm(8, 8)
        self.last = nn.Conv3d(16, 3, 1)

    def forward(self, image):
        fine = torch.relu_(self.first(image))
        up = self.norm(self.up(self.down(fine)))
        return self.last(torch.cat([up[..., : fine.shape[-1]], fine], dim=1))


@pytest.fixture
def rates(monkeypatch):
    """Round rates, in place of a measurement."""
    precision = Rates(
        itemsize=4,
        reordered=False,
        depthwise={8: 2e-11, 32: 4e-11},
        convolution_byte=2e-11,
        convolution_overhead=5e-5,
        convolutions={(1, 16): 2e-11, (16, 16): 1e-11, (64, 64): 5e-12},
        transposed=1e-11,
        norm=1e-10,
        pointwise=1e-10,
        upsample=1e-10,
        page_fault=2e-10,
        overhead=1e-6,
    )
    kinds = dict.fromkeys(("z-score", "percentile", "window", "none"), (1e-9, 4e-9))
    host = HostRates(kinds, 1e-10, 1e-11, 1e-10, 1e-9, 1e-9, 2e-10)
    known = Calibration(
        {"fp32": precision, "fp32-channels-last": precision, "bf16-channels-last": precision}, host
    )
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: known)
    return known


@pytest.fixture
def model(rates):
    return FakeModel(lambda spacing: local_network(), trained_range_mm=((0.5, 5),) * 3)


def grid(shape=(60, 70, 80), spacing_mm=(1, 1, 1)):
    return Grid.from_spacing(shape, spacing_mm)


class TestCounts:
    def test_operations_are_those_of_the_formula(self):
        counted = trace(Pyramid(), 1, 3)
        shape = (20, 24, 32)
        fine, coarse = 20 * 24 * 32, 10 * 12 * 16
        expected = fine * 27 * 8 + coarse * 27 * 8 * 16 + coarse * 8 * 16 * 8 + fine * 16 * 3
        assert counted.macs(shape) == expected
        assert counted.parameters == sum(p.numel() for p in Pyramid().parameters())
        kinds = [operation.kind for operation in counted.operations]
        assert kinds == ["conv", "pointwise", "conv", "transposed", "norm", "pointwise", "conv"]

    def test_peak_is_the_fullest_moment(self):
        """In the last convolution: image 1, fine 8, up 8, both once more, and 3 come out."""
        counted = trace(Pyramid(), 1, 3)
        plain = {"reordered": False, "heap": False}
        assert counted.peak_bytes((16, 16, 16), 4, **plain) == 36 * 16**3 * 4
        assert counted.peak_bytes((16, 16, 16), 2, batch=3, **plain) == 36 * 16**3 * 6
        # Which copies its 16 + 3 channels once more in plain memory format.
        reordered = counted.peak_bytes((16, 16, 16), 4, reordered=True, heap=False)
        assert reordered == 55 * 16**3 * 4

    def test_small_tensors_leave_holes_in_the_heap(self):
        counted = trace(Pyramid(), 1, 3)
        small, large = (16, 16, 16), (160, 320, 320)
        for shape, least, most in ((small, 1.45, 1.55), (large, 1, 1.05)):
            plain = counted.peak_bytes(shape, 4, reordered=False, heap=False)
            heap = counted.peak_bytes(shape, 4, reordered=False, heap=True)
            assert least * plain <= heap <= most * plain

    def test_odd_sizes_are_rounded_up(self):
        counted = trace(Pyramid(), 1, 3)
        assert counted.voxels((5, 6, 7)).tolist() == [5 * 6 * 7, 3 * 3 * 4]

    def test_two_dimensions(self):
        counted = trace(local_network(n_dim=2), 1, 2)
        assert counted.macs((10, 12)) == 120 * 9 * (4 + 12)

    def test_network_is_not_touched(self):
        network = Pyramid()
        trace(network, 1, 3)
        assert not any(parameter.is_meta for parameter in network.parameters())

    def test_a_convolution_takes_its_work_its_bytes_and_its_call(self, rates):
        """Of 1³ voxels and in groups, work is the least of it."""
        precision = rates.precisions["fp32"]
        voxels = 20 * 24 * 32

        def seconds(conv, **more):
            return trace(conv, 16, 3).seconds((20, 24, 32), replace(precision, **more))

        moved, call = 4 * (16 + 16) * voxels * 2e-11, 5e-5 + 1e-6
        point = nn.Conv3d(16, 16, 1)
        assert seconds(point) == pytest.approx(16 * 16 * voxels * 1e-11 + moved + call)
        grouped = nn.Conv3d(16, 16, 5, padding=2, groups=16)
        work = 16 * 125 * voxels
        assert seconds(grouped, depthwise={16: 3e-11}) == pytest.approx(work * 3e-11 + moved + call)
        assert seconds(grouped) in (
            pytest.approx(work * 2e-11 + moved + call),
            pytest.approx(work * 4e-11 + moved + call),
        )

    def test_layouts_of_their_own_are_fresh_memory(self, rates):
        precision = rates.precisions["fp32"]
        counted, shape = trace(nn.Conv3d(16, 16, 1), 16, 3), (80, 80, 80)
        plain, own = (
            counted.seconds(shape, replace(precision, reordered=r)) for r in (False, True)
        )
        assert own - plain == pytest.approx(2 * 16 * 80**3 * 4 * precision.fault)

    def test_scan_of_rates_between_channels(self, rates):
        precision = rates.precisions["fp32"]
        assert precision.convolution_rate(16, 16) == 1e-11
        assert 5e-12 < precision.convolution_rate(32, 32) < 1e-11


class TestEstimate:
    def test_says_what_will_run(self, model):
        found = estimate(grid(), model, (2, 2, 2))
        assert found.working_shape == (30, 35, 40)
        assert found.spacing_mm == pytest.approx((2, 2, 2))
        assert found.n_tiles == 1
        assert found.fits
        assert found.peak_bytes == found.peak_host_bytes > 0
        assert estimate(grid(), model, (1, 1, 1), tile_shape=(32, 40, 40)).n_tiles > 1

    def test_coarser_is_cheaper(self, model):
        curve = estimate_curve(grid(), model, [(s, s, s) for s in (0.6, 1.2, 2.4, 4.8)])
        seconds = [each.seconds for each in curve]
        assert seconds == sorted(seconds, reverse=True)
        assert curve[0].peak_bytes > curve[-1].peak_bytes

    def test_a_sheared_scan_is_reckoned_with_as_it_is_run(self, model, monkeypatch):
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        affine[1, 2] = 1.4  # each slice lies farther along y: a tilted gantry
        volume = Volume(np.indices((30, 50, 20)).sum(axis=0), Grid((30, 50, 20), affine))
        found = estimate(volume, model, (2, 2, 2), tile_shape=(16, 16, 16))
        straight = straight_grid(volume.grid)
        plain = estimate(straight, model, (2, 2, 2), tile_shape=(16, 16, 16))
        assert found.n_tiles == plain.n_tiles
        assert found.seconds > plain.seconds
        assert found.peak_bytes >= straightening_bytes(volume.grid, straight)
        images = []

        def kept(*given):
            images.append(working_image(*given))
            return images[0]

        monkeypatch.setattr("napari_hyperspace.api.segment.working_image", kept)
        steps = segment_steps(volume, model, (2, 2, 2), tile_shape=(16, 16, 16), precision="fp32")
        with pytest.warns(HyperspaceWarning, match="sheared"):
            messages = [step.message for step in steps]
        assert found.working_shape == images[0].shape[1:]
        assert f"tile 1 of {found.n_tiles}" in messages

    def test_refuses_what_segment_refuses(self, model):
        with pytest.raises(HyperspaceError, match="outside of the range"):
            estimate(grid(), model, (9, 9, 9))
        assert estimate(grid(), model, (9, 9, 9), outside="clamp").spacing_mm == (5, 5, 5)

    def test_tells_the_probe_apart(self, model):
        first = estimate(grid(), model, (2, 2, 2))
        assert 0 < first.probe_seconds < first.seconds
        asked = estimate(grid(), model, (2, 2, 2), precision=first.precision)
        assert asked.probe_seconds == 0
        assert first.seconds - first.probe_seconds == pytest.approx(asked.seconds)

    def test_bakes_once_a_model(self, model):
        estimate_curve(grid(), model, [(s, s, s) for s in (1, 2, 3)])
        assert len(model.asked) == 1

    def test_memory_is_of_the_size_measured(self, rates):
        """16 channels a voxel, one tile: the network's maps are nearly all of it."""
        wide = nn.Sequential(
            nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 3, 3, padding=1)
        )
        model = FakeModel(lambda spacing: wide)
        shape = (96, 100, 104)
        ramp = np.indices(shape).sum(axis=0).astype(np.float32)
        volume = Volume(ramp, Grid.from_spacing(shape, (1, 1, 1)))
        expected = estimate(volume, model, precision="fp32-channels-last").peak_bytes
        steps = segment_steps(volume, model, precision="fp32-channels-last")
        try:
            while True:
                next(steps)
        except StopIteration as end:
            measured = end.value.peak_bytes
        if measured is None:
            pytest.skip("the system does not tell resident memory")
        assert 0.6 < expected / measured < 1.6


class TestSpacingFor:
    def test_finest_within_the_time(self, model):
        budget = estimate(grid(), model, (1.7, 1.7, 1.7)).seconds
        found = spacing_for(grid(), model, seconds=budget)
        assert estimate(grid(), model, found).seconds <= budget
        assert 1.5 < found[0] <= 1.72
        assert found[0] == found[1] == found[2]

    def test_finest_within_the_memory(self, model):
        budget = estimate(grid(), model, (2, 2, 2)).peak_bytes
        found = spacing_for(grid(), model, bytes=budget)
        assert estimate(grid(), model, found).peak_bytes <= budget

    def test_own_spacing_where_the_budget_allows(self, model):
        own = (3.0, 0.7, 0.9)
        assert spacing_for(grid((9, 40, 50), own), model, seconds=1e6) == pytest.approx(own)

    def test_coarse_axes_are_left_alone(self, model):
        volume = grid((20, 200, 200), (3.0, 0.7, 0.7))
        budget = estimate(volume, model, (3, 2, 2)).seconds
        z, y, x = spacing_for(volume, model, seconds=budget)
        assert z == pytest.approx(3)
        assert y == x < 3

    def test_impossible_budget_is_refused(self, model):
        with pytest.raises(HyperspaceError, match="within the budget") as caught:
            spacing_for(grid(), model, seconds=1e-9, bytes=10)
        assert "at the coarsest" in str(caught.value)


def test_fault_56_too_little_memory_is_said_before_starting(model, monkeypatch):
    monkeypatch.setattr(footprint, "available_bytes", lambda device: 1_000_000)
    volume = Volume(np.zeros((30, 40, 50), np.float32) + np.arange(50), grid((30, 40, 50)))
    steps = segment_steps(volume, model)
    next(steps)
    with pytest.raises(HyperspaceError, match="main memory") as caught:
        next(steps)
    assert "coarser" in str(caught.value)


def test_network_that_cannot_be_counted_runs_all_the_same(rates):
    class Undecided(nn.Module):
        def forward(self, image):
            if image.mean() > 9:
                return image
            return torch.cat([image, -image, image * 0], dim=1)

    model = FakeModel(lambda spacing: Undecided())
    volume = Volume(np.arange(60.0).reshape(3, 4, 5), grid((3, 4, 5)))
    with pytest.raises(HyperspaceError, match="cannot be counted"):
        estimate(volume, model)
    for step in segment_steps(volume, model, precision="fp32"):
        assert step.message


def test_resampling_stages_shrink_first():
    plan = make_plan(grid((40, 300, 50), (1, 1, 1)), FakeModel(None), (1, 4, 2))
    stages = footprint.resampling_stages(plan)
    assert [(s.incoming, s.outgoing) for s in stages] == [(600_000, 150_000), (150_000, 75_000)]
    assert stages[0].gathered == 150_000 * 8
    assert stages[1].products == 75_000 * 50


class TestCalibration:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(calibration, "_SECONDS_EACH", 0.0)
        monkeypatch.setattr(calibration, "_RUNS_EACH", 1)
        monkeypatch.setattr(calibration, "_CONVOLUTIONS", ((1, 16, 8), (16, 16, 8)))
        monkeypatch.setattr(calibration, "candidates", lambda device: ("fp32-channels-last",))

    def test_is_measured_once_and_kept(self, monkeypatch, own_cache):
        assert not is_calibrated(CPU)
        first = calibrate(CPU)
        assert is_calibrated(CPU)
        assert all(
            rate > 0 for rate in first.precisions["fp32-channels-last"].convolutions.values()
        )
        monkeypatch.setattr(
            calibration, "_precision_rates", lambda *_: pytest.fail("measured again")
        )
        assert calibrate(CPU) == first
        monkeypatch.setattr("napari_hyperspace.core.store._MEMORY", {})  # a new process
        assert calibrate(CPU) == first
        assert min(min(pair) for pair in first.host.normalize.values()) > 0

    @pytest.mark.parametrize("damage", ["{", '{"precisions": {}}', "[]"])
    def test_damaged_file_is_made_anew(self, monkeypatch, own_cache, damage, rates):
        monkeypatch.setattr(calibration, "_host_rates", lambda: rates.host)
        calibrate(CPU)
        path = own_cache / "measured-rates.json"
        path.write_text(damage)
        monkeypatch.setattr("napari_hyperspace.core.store._MEMORY", {})
        assert not is_calibrated(CPU)
        calibrate(CPU)
        assert is_calibrated(CPU)

    def test_entry_of_another_version_is_measured_again(self, monkeypatch, own_cache, rates):
        monkeypatch.setattr(calibration, "_host_rates", lambda: rates.host)
        calibrate(CPU)
        path = own_cache / "measured-rates.json"
        path.write_text(path.read_text().replace('"itemsize"', '"size"'))
        store._MEMORY.clear()
        assert not is_calibrated(CPU)

    def test_the_faster_of_two_rounds_counts(self, monkeypatch, rates):
        slow = replace(rates.host, copy=3e-10, gather=2e-10, normalize={"none": (1e-9, 5e-9)})
        fast = replace(rates.host, copy=2e-10, gather=4e-10, normalize={"none": (2e-9, 4e-9)})
        rounds = iter([slow, fast])
        monkeypatch.setattr(calibration, "_host_rates", lambda: next(rounds))
        host = calibrate(CPU).host
        assert (host.copy, host.gather) == (2e-10, 2e-10)
        assert host.normalize == {"none": (1e-9, 4e-9)}
