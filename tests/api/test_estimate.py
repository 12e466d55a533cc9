"""Estimates rise with the work, agree with what runs, and fit a budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.api.estimate import estimate, estimate_curve
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.api.spacing_search import spacing_for
from napari_hyperspace.core import store
from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.inputs import straight_grid, straightening_bytes, working_image
from napari_hyperspace.inference.options import InferenceOptions
from tests.models import FakeModel, local_network
from tests.rates import CALIBRATION
from tests.scans import peak_growth

FREE = {"available_bytes": 0, "available_host_bytes": 0}  # changes from moment to moment


@pytest.fixture
def model(rates):
    return FakeModel(lambda spacing: local_network(), trained_range_mm=((0.5, 5),) * 3)


def grid(shape=(60, 70, 80), spacing_mm=(1, 1, 1)):
    return Grid.from_spacing(shape, spacing_mm)


class TestEstimate:
    def test_describes_the_run(self, model):
        found = estimate(grid(), model, (2, 2, 2))
        assert found.working_shape == (30, 35, 40)
        assert found.spacing_mm == pytest.approx((2, 2, 2))
        assert found.n_tiles == 1
        assert found.fits
        assert found.peak_bytes == found.peak_host_bytes > 0
        assert estimate(grid(), model, (1, 1, 1), tile_shape=(32, 40, 40)).n_tiles > 1

    def test_a_finished_run_is_recorded_beside_its_prediction(self, model, monkeypatch):
        """Without rates of this machine, nothing is: a run does not measure it."""
        volume = Volume(np.random.default_rng(0).normal(size=(20, 24, 28)), grid((20, 24, 28)))
        options = InferenceOptions(precision="fp32", device="cpu")
        monkeypatch.setattr("napari_hyperspace.cost.learned._LEAST_S", 0.0)
        run_to_end(segment_steps(volume, model, (2, 2, 2), options))
        assert not store.recall_all("runs")
        monkeypatch.setattr("napari_hyperspace.api.one_pass.known_rates", lambda _: CALIBRATION)
        result = run_to_end(segment_steps(volume, model, (2, 2, 2), options))
        (((rates, predicted, seconds, size, *_),),) = store.recall_all("runs").values()
        assert rates == CALIBRATION.digest
        assert seconds == pytest.approx(result.seconds, rel=0.5)
        assert predicted > 0 and size > 0

    def test_coarser_is_cheaper(self, model):
        curve = estimate_curve(grid(), model, [(s, s, s) for s in (0.6, 1.2, 2.4, 4.8)])
        seconds = [each.seconds for each in curve]
        assert seconds == sorted(seconds, reverse=True)
        assert curve[0].peak_bytes > curve[-1].peak_bytes

    def test_a_sheared_scan_is_estimated_on_its_straight_grid(self, model, monkeypatch):
        affine = np.diag([1.0, 1.0, 3.0, 1.0])
        affine[1, 2] = 1.4  # each slice is shifted along y, as by a tilted gantry
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

        monkeypatch.setattr("napari_hyperspace.api.one_pass.working_image", kept)
        steps = segment_steps(volume, model, (2, 2, 2), tile_shape=(16, 16, 16), precision="fp32")
        with pytest.warns(HyperspaceWarning, match="sheared"):
            messages = [step.message for step in steps]
        assert found.working_shape == images[0].shape[1:]
        assert f"tile 1 of {found.n_tiles}" in messages

    def test_takes_options_as_an_object_or_as_keywords(self, model):
        options = InferenceOptions(tile_shape=(32, 40, 40), precision="fp32")
        found = estimate(grid(), model, (1, 1, 1), options)
        same = estimate(grid(), model, (1, 1, 1), tile_shape=[32, 40, 40], precision="fp32")
        former = estimate(grid(), model, (1, 1, 1), tile_shape=[32, 40, 40], form="fp32")
        assert found.n_tiles > 1
        assert replace(found, **FREE) == replace(same, **FREE) == replace(former, **FREE)

    def test_refuses_what_segment_refuses(self, model):
        with pytest.raises(HyperspaceError, match="outside the range"):
            estimate(grid(), model, (9, 9, 9))
        assert estimate(grid(), model, (9, 9, 9), outside="clamp").spacing_mm == (5, 5, 5)

    def test_probe_is_part_of_the_first_run_only(self, model):
        first = estimate(grid(), model, (2, 2, 2))
        assert 0 < first.probe_seconds < first.seconds
        asked = estimate(grid(), model, (2, 2, 2), precision=first.precision)
        assert asked.probe_seconds == 0
        assert first.seconds - first.probe_seconds == pytest.approx(asked.seconds)

    def test_bakes_once_per_model(self, model):
        estimate_curve(grid(), model, [(s, s, s) for s in (1, 2, 3)])
        assert len(model.asked) == 1

    def test_memory_agrees_with_the_measured_one(self, rates):
        """16 channels per voxel, one tile: the network's maps take nearly all of it."""
        wide = nn.Sequential(
            nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 3, 3, padding=1)
        )
        model = FakeModel(lambda spacing: wide)
        shape = (96, 100, 104)
        ramp = np.indices(shape).sum(axis=0).astype(np.float32)
        volume = Volume(ramp, Grid.from_spacing(shape, (1, 1, 1)))
        expected = estimate(volume, model, precision="fp32-channels-last").peak_bytes
        steps = segment_steps(volume, model, precision="fp32-channels-last")
        measured = peak_growth(lambda: run_to_end(steps))
        assert 0.6 < expected / measured < 1.6


class TestImplausibleScans:
    """They are refused before anything is computed."""

    @pytest.mark.parametrize("step", [1e20, 1e10, 2.3e-10])
    @pytest.mark.parametrize("outside", ["clamp", "extrapolate"])
    def test_by_estimate_segment_and_the_budget(self, model, step, outside):
        scan = grid((3, 4, 5), (step,) * 3)
        volume = Volume(np.arange(60.0).reshape(3, 4, 5), scan)
        with pytest.raises(HyperspaceError, match="implausible"):
            estimate(scan, model, (1, 1, 1), outside=outside)
        with pytest.raises(HyperspaceError, match="implausible"):
            run_to_end(segment_steps(volume, model, (1, 1, 1), outside=outside))
        with pytest.raises(HyperspaceError, match="implausible"):
            estimate_curve(scan, model, [(1, 1, 1)], outside=outside)
        with pytest.raises(HyperspaceError, match="implausible"):
            spacing_for(scan, model, seconds=9)
        assert not model.asked  # no network was made

    def test_an_implausible_working_spacing_is_refused(self, model):
        with pytest.raises(HyperspaceError, match="working spacing is implausible"):
            estimate(grid(), model, (1e-9,) * 3, outside="extrapolate")
        with pytest.raises(HyperspaceError, match="more voxels than can be counted"):
            estimate(grid(), model, (1e-9,) * 3, outside="extrapolate", allow_implausible=True)
        assert not model.asked

    def test_a_caller_may_insist(self, model):
        options = InferenceOptions(outside="extrapolate", allow_implausible=True)
        assert estimate(grid((3, 4, 5), (1e4,) * 3), model, None, options).working_shape == (
            3,
            4,
            5,
        )

    @pytest.mark.parametrize("step", [1e-6, 1e-3, 0.05, 100.0, 1000.0])
    def test_a_curve_extends_beyond_what_can_be_run(self, model, step):
        """As in the plug-in: from the finest to the coarsest of trained and own spacings."""
        low, high = min(0.25, step / 1.1), max(10.0, step * 1.1)
        spacings = [(s, s, s) for s in np.geomspace(low, high, 7)]
        curve = estimate_curve(grid((9, 8, 7), (step,) * 3), model, spacings, outside="extrapolate")
        assert len(curve) == 7
        assert all(np.isfinite(each.seconds) and each.seconds > 0 for each in curve)
        assert all(each.peak_bytes > 0 for each in curve)


class TestSpacingFor:
    def test_finest_within_the_time(self, model):
        budget = estimate(grid(), model, (1.7, 1.7, 1.7)).seconds
        found = spacing_for(grid(), model, seconds=budget)
        assert estimate(grid(), model, found).seconds <= budget
        assert 1.5 < found[0] <= 1.72
        assert found[0] == found[1] == found[2]

    def test_finest_within_the_memory(self, model):
        budget = estimate(grid(), model, (2, 2, 2)).peak_bytes
        found = spacing_for(grid(), model, memory_bytes=budget)
        assert estimate(grid(), model, found).peak_bytes <= budget
        assert 1.5 < found[0] <= 2.02
        assert spacing_for(grid(), model, bytes=budget) == found  # its former name

    def test_unknown_keyword_is_refused(self, model):
        with pytest.raises(TypeError, match="unexpected keyword arguments: bits"):
            spacing_for(grid(), model, bits=8)

    def test_own_spacing_if_within_the_budget(self, model):
        own = (3.0, 0.7, 0.9)
        assert spacing_for(grid((9, 40, 50), own), model, seconds=1e6) == pytest.approx(own)

    def test_coarse_axes_keep_their_spacing(self, model):
        volume = grid((20, 200, 200), (3.0, 0.7, 0.7))
        budget = estimate(volume, model, (3, 2, 2)).seconds
        z, y, x = spacing_for(volume, model, seconds=budget)
        assert z == pytest.approx(3)
        assert y == x < 3

    def test_impossible_budget_is_refused(self, model):
        with pytest.raises(HyperspaceError, match="within the budget") as caught:
            spacing_for(grid(), model, seconds=1e-9, memory_bytes=10)
        assert "at the coarsest" in str(caught.value)
        assert caught.value.fix == "Allow more time and memory"

    def test_the_refusal_of_a_budget_names_the_limit_in_the_way(self, model):
        """Memory that suffices is no reason to ask for more of it."""
        with pytest.raises(HyperspaceError) as caught:
            spacing_for(grid(), model, seconds=1e-9, memory_bytes=10**15)
        assert caught.value.fix == "Allow more time"
        assert "B" not in f"{caught.value.expected}{caught.value.found}"

    def test_a_budget_of_later_runs_excludes_the_set_up(self, model, monkeypatch):
        late = estimate(grid(), model, (1.7, 1.7, 1.7))
        budget = late.seconds - late.probe_seconds

        def with_probe(*args, **options):
            found = estimate(*args, **options)
            more = {"seconds": found.seconds + 100, "probe_seconds": found.probe_seconds + 100}
            return replace(found, **more)

        monkeypatch.setattr("napari_hyperspace.api.spacing_search.estimate", with_probe)
        found = spacing_for(grid(), model, seconds=budget + 1e-9, first_run=False)
        assert 1.5 < found[0] <= 1.72
        with pytest.raises(HyperspaceError):
            spacing_for(grid(), model, seconds=budget)


def test_too_little_memory_is_refused_before_starting(model, monkeypatch):
    """Fault 56 of the list of bad inputs."""
    monkeypatch.setattr(
        "napari_hyperspace.api.memory_check.available_bytes", lambda device: 1_000_000
    )
    volume = Volume(np.zeros((30, 40, 50), np.float32) + np.arange(50), grid((30, 40, 50)))
    steps = segment_steps(volume, model)
    next(steps)
    with pytest.raises(HyperspaceError, match="main memory") as caught:
        next(steps)
    assert "coarser" in str(caught.value)


def test_network_that_cannot_be_traced_still_runs(rates):
    class Undecided(nn.Module):
        def forward(self, image):
            if image.mean() > 9:
                return image
            return torch.cat([image, -image, image * 0], dim=1)

    model = FakeModel(lambda spacing: Undecided())
    volume = Volume(np.arange(60.0).reshape(3, 4, 5), grid((3, 4, 5)))
    with pytest.raises(HyperspaceError, match="cannot be estimated"):
        estimate(volume, model)
    for step in segment_steps(volume, model, precision="fp32"):
        assert step.message
