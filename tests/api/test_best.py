"""Several networks averaged: where they are alike, the result is that of one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.estimate import estimate
from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.api.spacing_search import spacing_for
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Laterality, Volume
from napari_hyperspace.inference.best.members import members_at
from napari_hyperspace.inference.best.probabilities import mean_bytes
from napari_hyperspace.nets.base.localization import Localization
from tests.models import FakeModel, local_network
from tests.scans import rotated_affine


class Sides(nn.Module):
    """Class 1 where the left half of the image is bright, class 2 where the right half is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        place = torch.arange(x.shape[-1]) - (x.shape[-1] - 1) / 2
        bright = 40 * (x - 0.5)
        left = torch.where(place > 0, bright, -60.0)
        return torch.cat([torch.zeros_like(x), left, torch.where(place < 0, bright, -60.0)], dim=1)


def _scan() -> Volume:
    """A bright block that is not symmetric, on rotated axes."""
    array = np.zeros((17, 14, 20), np.float32)
    array[4:12, 3:9, 5:17] = 1.0
    return Volume(array, Grid(array.shape, rotated_affine((1.5, 1.9, 1.2), angle=0.1)))


def _model(**changes: object) -> FakeModel:
    plain = {"normalization": Normalization("none")}
    return FakeModel(lambda _: Sides(), **(plain | changes))  # type: ignore[arg-type]


SIDED = {1: Laterality("left", "half"), 2: Laterality("right", "half")}


def test_mirrored_members_agree_with_the_others() -> None:
    """Which fails if the image, the labels or the sides are mirrored in the wrong way."""
    volume, model = _scan(), _model(label_sides=SIDED)
    single = segment(volume, model, precision="fp32")
    result = run_to_end(segment_steps(volume, model, best=True, uncertainty=True, precision="fp32"))
    assert set(np.unique(single.array)) == {0, 1, 2}
    assert result.uncertainty is not None and result.labels.grid == volume.grid
    sure = result.uncertainty.array < 0.3
    np.testing.assert_array_equal(result.labels.array[sure], single.array[sure])
    assert sure.mean() > 0.8
    # The middle of the block, away from where the halves meet, is certain.
    assert result.uncertainty.array[0, 0, 0] < 0.01
    assert len(model.asked) >= 5
    record = result.labels.metadata["record"]
    assert record.best and not single.metadata["record"].best
    assert record.precision == "fp32" and record.spacing_mm == single.metadata["record"].spacing_mm


def test_a_network_that_is_the_same_at_all_spacings_of_a_single_one_gives_its_labels() -> None:
    """With one trained spacing and classes that cannot be mirrored, there is one member."""
    network = local_network()
    one_sided = {1: Laterality("left", "half")}
    steps = (2.0, 2.0, 2.0)
    model = FakeModel(
        lambda _: network, trained_range_mm=tuple((s, s) for s in steps), label_sides=one_sided
    )
    array = np.random.default_rng(0).normal(size=(12, 11, 10)).astype(np.float32)
    volume = Volume(array, Grid.from_spacing(array.shape, steps))
    found = segment(volume, model, precision="fp32", best=True)
    single = segment(volume, model, precision="fp32")
    assert np.mean(found.array != single.array) < 0.01  # probabilities are stored as integers


def test_only_the_box_that_was_found_is_averaged() -> None:
    array = np.zeros((41, 30, 53), np.float32)
    array[12:26, 9:17, 20:39] = 1.0
    volume = Volume(array, Grid.from_spacing(array.shape, (1.1, 1.9, 0.7)))
    model = _model(localization=Localization(3.0, 4.0, (30, 30, 30)))
    steps = segment_steps(volume, model, best=True, uncertainty=True, precision="fp32")
    progress = []
    while True:
        try:
            progress.append(next(steps))
        except StopIteration as stop:
            result = stop.value
            break
    fractions = [one.fraction for one in progress]
    assert fractions == sorted(fractions) and "member 8 of 8: finishing" in progress[-1].message
    doubt = result.uncertainty.array
    assert doubt.shape == array.shape and doubt.dtype == np.float32
    assert doubt.max() > 0.2 and doubt[:5].max() == 0 and doubt.min() >= 0
    assert result.labels.metadata["record"].localized == "found"


def test_the_uncertainty_is_that_of_an_average() -> None:
    with pytest.raises(hs.HyperspaceError, match="several networks"):
        segment(_scan(), _model(), uncertainty=True)
    assert run_to_end(segment_steps(_scan(), _model(), best=True)).uncertainty is None


def test_averaging_can_be_stopped() -> None:
    answers = iter([False] * 30 + [True] * 1000)
    with pytest.raises(hs.HyperspaceError):
        steps = segment_steps(_scan(), _model(), best=True, should_stop=lambda: next(answers))
        run_to_end(steps)


def test_the_price_is_that_of_all_members(rates) -> None:
    grid, working = Grid.from_spacing((60, 70, 80), (1.9, 1.9, 1.9)), (2.0, 2.0, 2.0)
    model = FakeModel(lambda _: local_network())
    single = estimate(grid, model, working, precision="fp32")
    best = estimate(grid, model, working, precision="fp32", best=True)
    members = members_at(model, (2.0, 2.0, 2.0), (1.9, 1.9, 1.9))
    alone = [
        estimate(grid, model, one.spacing_mm, precision="fp32", outside="extrapolate")
        for one in members
    ]
    least = sum(one.seconds for one in alone) / 2  # a network is made once for two members
    assert best.seconds > max(single.seconds, least)
    held = mean_bytes(3, grid.shape)
    assert best.peak_host_bytes == max(one.peak_host_bytes for one in alone) + held
    assert (best.working_shape, best.spacing_mm) == (single.working_shape, single.spacing_mm)
    assert best.n_tiles == sum(one.n_tiles for one in alone)


def test_a_budget_counts_all_members(rates) -> None:
    grid = Grid.from_spacing((60, 70, 80), (1.0, 1.0, 1.0))
    model = FakeModel(lambda _: local_network(), trained_range_mm=((0.5, 6.0),) * 3)
    budget = 2 * estimate(grid, model).seconds
    assert spacing_for(grid, model, seconds=budget) == (1, 1, 1)
    assert min(spacing_for(grid, model, seconds=budget, best=True)) > 1
