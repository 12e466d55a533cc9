"""Segmentation with guidance, by networks whose logits are the channels of guidance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.guidance import guided_by
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume, digest_of_labels
from napari_hyperspace.nets.base.guidance import GuidanceChannels
from napari_hyperspace.nets.base.localization import Localization
from tests.inference.test_guidance import turned
from tests.models import FakeModel
from tests.scans import rotated_affine

CHANNELS = GuidanceChannels("one-hot", 10.0, (1.5, 6.0), True)
SPACING = (1.1, 2.3, 0.9)
SHAPE = (27, 15, 31)


def guided_model(image: float = 0.0, guidance: float = 1.0, **changes) -> FakeModel:
    """Logits are the channels of guidance; the image adds to the logit of class 1."""

    def make(spacing_mm):
        network = nn.Conv3d(4, 3, 1)
        network.weight.data.zero_()
        for k in range(3):
            network.weight.data[k, 1 + k] = guidance
        network.weight.data[1, 0] = image
        network.bias.data = torch.tensor([0.1, 0.0, 0.0])
        return network

    values = {"guidance": CHANNELS, "in_channels": 4, "channel_names": ("image", "a", "b", "c")}
    return FakeModel(make, **{**values, **changes})


def threshold_model(**changes) -> FakeModel:
    """Class 1 where the normalized image is above 0, class 2 where it is above 2."""

    def make(spacing_mm):
        network = nn.Conv3d(1, 3, 1)
        network.weight.data = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1, 1, 1)
        network.bias.data = torch.tensor([0.0, 0.0, -2.0])
        return network

    return FakeModel(make, name="coarse", **changes)


@pytest.fixture
def scan() -> Volume:
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    values = (100 + 60 * ndimage.gaussian_filter(noise, 2)).astype(np.float32)
    return Volume(values, Grid(SHAPE, rotated_affine(SPACING)), "scan")


def painted(grid: Grid, **metadata) -> Volume:
    labels = np.zeros(grid.shape, np.uint8)
    a, b, c = grid.shape
    labels[a // 4 : a // 2, b // 4 : -b // 4, c // 5 : -c // 5] = 1
    labels[a // 2 : -a // 4, b // 3 :, c // 4 : -c // 4] = 2
    return Volume(labels, grid, "rough", metadata)


def expected_labels(guidance: Volume, scan: Volume) -> tuple[np.ndarray, np.ndarray]:
    """Labels and the margin of the largest logit, by scipy through positions in mm."""
    index = np.moveaxis(np.indices(scan.shape), 0, -1).reshape(-1, 3)
    at = guidance.grid.mm_to_index(scan.grid.index_to_mm(index)).T
    logits = np.stack(
        [
            ndimage.map_coordinates(
                (guidance.array == value).astype(float), at, order=1, mode="grid-constant"
            )
            for value in (0, 1, 2)
        ]
    )
    logits[0] += 0.1
    ordered = np.sort(logits, axis=0)
    gap = (ordered[-1] - ordered[-2]).reshape(scan.shape)
    return logits.argmax(axis=0).reshape(scan.shape), gap


@pytest.mark.parametrize("kind", ["coarser", "part", "other axes", "turned"])
def test_labels_on_any_grid_guide_by_their_positions(scan: Volume, kind: str) -> None:
    grid = scan.grid.with_spacing((3.3, 4.2, 2.9))
    if kind == "part":
        grid = grid.crop((2, 1, 2), (6, 6, 7))
    elif kind == "other axes":
        grid = turned(grid, (1, 2, 0), (False, True, True))
    elif kind == "turned":
        center, shape = grid.center_mm, (8, 9, 10)
        affine = rotated_affine((3.0, 4.0, 3.5), order=(0, 1, 2), flips=(-1, 1, 1), angle=-0.4)
        affine[:3, 3] = 0
        affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        grid = Grid(shape, affine)
    guidance = painted(grid)
    labels = hs.segment(scan, guided_model(), guidance=guidance, precision="fp32")
    assert labels.grid == scan.grid
    expected, gap = expected_labels(guidance, scan)
    clear = gap > 1e-4
    assert clear.mean() > 0.9 and len(np.unique(expected)) == 3
    np.testing.assert_array_equal(labels.array[clear], expected[clear])
    record = labels.metadata["record"].guidance
    assert record.labels_digest == digest_of_labels(guidance.array)
    assert record.model == "" and record.spacing_mm is None
    assert labels.metadata["record"].channels == ("image",)


def test_labels_are_matched_by_name_if_they_have_names_and_by_value_otherwise(scan) -> None:
    plain = painted(scan.grid.with_spacing((3, 4, 3)))
    names = {7: "Two", 9: "one"}
    other = np.array([0, 9, 7], np.uint8)[plain.array]
    named = Volume(other, plain.grid, "", {"label_names": names})
    model = guided_model()
    by_value = hs.segment(scan, model, guidance=plain)
    by_name = hs.segment(scan, model, guidance=named)
    np.testing.assert_array_equal(by_name.array, by_value.array)
    assert len(np.unique(by_value.array)) == 3


def test_unknown_labels_are_refused_by_value_and_name(scan: Volume) -> None:
    guidance = painted(scan.grid)
    unknown = Volume(guidance.array * 3, scan.grid, "")
    with pytest.raises(HyperspaceError, match="none of the model's structures") as caught:
        hs.segment(scan, guided_model(), guidance=unknown)
    assert caught.value.found == "3, 6" and caught.value.expected == "1 one, 2 two"
    named = guidance.with_array(guidance.array, metadata={"label_names": {1: "one", 2: "three"}})
    with pytest.raises(HyperspaceError, match="none of the model's structures") as caught:
        hs.segment(scan, guided_model(), guidance=named)
    assert caught.value.found == "2 three"


def test_a_guided_model_wants_guidance_and_another_does_not(scan: Volume) -> None:
    for run in (hs.segment, hs.estimate):
        with pytest.raises(HyperspaceError, match="needs guidance") as caught:
            run(scan, guided_model())
        assert "--guidance" in caught.value.fix
        for guidance in (painted(scan.grid), hs.Guidance(threshold_model(), 3)):
            with pytest.raises(HyperspaceError, match="not guided"):
                run(scan, threshold_model(), guidance=guidance)


def test_a_coarse_pass_guides_by_its_labels_on_its_own_grid(scan: Volume) -> None:
    coarse, model = threshold_model(), guided_model()
    labels = hs.segment(scan, model, guidance=hs.Guidance(coarse, (4.0, 3.0, 5.0)))
    assert set(coarse.asked) == {(4.0, 3.0, 5.0)}
    record = labels.metadata["record"].guidance
    assert (record.model, record.spacing_mm) == ("coarse", (4.0, 3.0, 5.0))
    # The same coarse labels, made by hand, on the grid of that spacing.
    grid = scan.grid.canonical().with_spacing((4.0, 3.0, 5.0))
    shown = coarse.normalization.apply(scan.array)
    values = resample_to_grid(Volume(shown, scan.grid), grid).array
    hand = Volume(np.where(values > 2, 2, values > 0).astype(np.uint8), grid)
    assert record.labels_digest == digest_of_labels(hand.array)
    given = hs.segment(scan, model, guidance=hand)
    np.testing.assert_array_equal(labels.array, given.array)
    assert len(np.unique(labels.array)) > 1


def test_a_model_as_guidance_runs_at_the_middle_of_the_trained_range(scan: Volume) -> None:
    coarse = threshold_model(trained_range_mm=((1.0, 4.0),) * 3)
    hs.segment(scan, guided_model(), guidance=coarse)
    assert set(coarse.asked) == {(3.0, 3.0, 3.0)}  # √(1.5 · 6)
    with pytest.raises(HyperspaceError, match="outside the range"):
        hs.segment(scan, guided_model(), guidance=hs.Guidance(coarse, 5))
    fine = threshold_model(trained_range_mm=((1.0, 2.0),) * 3)
    hs.segment(scan, guided_model(), guidance=fine)
    assert set(fine.asked) == {(2.0, 2.0, 2.0)}


def test_a_guided_model_can_make_its_own_guidance_if_it_was_trained_without_too(scan) -> None:
    model = guided_model(image=1.0)
    labels = hs.segment(scan, model, guidance=hs.Guidance(model, 3))
    alone = model.normalization.apply(scan.array) > 0.1
    assert 1 in labels.array and labels.array[alone].mean() > labels.array[~alone].mean()
    never = guided_model(guidance=1.0)
    never.guidance = replace(CHANNELS, optional=False)
    with pytest.raises(HyperspaceError, match="needs guidance itself"):
        hs.segment(scan, never, guidance=hs.Guidance(never, 3))


def test_coarse_passes_of_other_structures_are_refused(scan: Volume) -> None:
    other = threshold_model(label_names={1: "one", 2: "three"})
    with pytest.raises(HyperspaceError, match="none of the model's structures"):
        hs.segment(scan, guided_model(), guidance=hs.Guidance(other, 3))
    refining = threshold_model(head="class-conditional")
    with pytest.raises(HyperspaceError, match="cannot make guidance"):
        hs.segment(scan, guided_model(), guidance=refining)
    two = threshold_model(in_channels=2)
    with pytest.raises(HyperspaceError, match="another number of images"):
        hs.segment(scan, guided_model(), guidance=two)


def test_outside_of_a_localized_coarse_pass_is_background(scan: Volume) -> None:
    localized = threshold_model(localization=Localization(4.0, 0.0, (10.0, 10.0, 10.0)))
    labels = hs.segment(scan, guided_model(), guidance=hs.Guidance(localized, 3))
    assert set(localized.asked) == {(4.0, 4.0, 4.0), (3.0, 3.0, 3.0)}
    assert labels.metadata["record"].guidance.localization_precision
    whole = hs.segment(scan, guided_model(), guidance=hs.Guidance(threshold_model(), 3))
    assert 0 < (labels.array > 0).sum() <= (whole.array > 0).sum()


def test_a_guided_model_may_localize(scan: Volume) -> None:
    model = guided_model(localization=Localization(4.0, 20.0, (40.0, 40.0, 40.0)))
    guidance = painted(scan.grid.with_spacing((3, 4, 3)))
    labels = hs.segment(scan, model, guidance=guidance)
    expected = hs.segment(scan, guided_model(), guidance=guidance)
    np.testing.assert_array_equal(labels.array, expected.array)


def test_guidance_of_an_untrained_spacing_is_used_with_a_warning(scan: Volume) -> None:
    guidance = painted(scan.grid.with_spacing((7, 7, 7)))
    with pytest.warns(HyperspaceWarning, match="trained with guidance of at most 6 mm"):
        hs.segment(scan, guided_model(), guidance=guidance)


@pytest.mark.parametrize("stage", ["coarse pass", "fine pass"])
def test_cancelling_stops_both_passes(scan: Volume, stage: str) -> None:
    coarse, model = threshold_model(), guided_model()
    stop = (lambda: bool(coarse.asked)) if stage == "coarse pass" else lambda: bool(model.asked)
    steps = hs.segment_steps(
        scan, model, guidance=hs.Guidance(coarse, 3), should_stop=stop, precision="fp32"
    )
    with pytest.raises(Cancelled):
        run_to_end(steps)
    assert bool(model.asked) == (stage == "fine pass")


def test_progress_grows_over_both_passes(scan: Volume) -> None:
    steps = hs.segment_steps(scan, guided_model(), guidance=hs.Guidance(threshold_model(), 3))
    seen = []
    run_to_end(steps, lambda fraction, message: seen.append((fraction, message)))
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    assert any(message.startswith("guidance: ") for _, message in seen)


def test_the_estimate_includes_the_coarse_pass(scan: Volume, rates) -> None:
    model = guided_model()
    fine = hs.estimate(scan, guided_by(model, painted(scan.grid)), precision="fp32")
    same = hs.estimate(scan, model, guidance=painted(scan.grid), precision="fp32")
    assert same == replace(
        fine, available_bytes=same.available_bytes, available_host_bytes=same.available_host_bytes
    )
    coarse = threshold_model()
    both = hs.estimate(scan, model, guidance=hs.Guidance(coarse, 3), precision="fp32")
    alone = hs.estimate(scan, coarse, (3, 3, 3), precision="fp32")
    assert both.guidance_seconds == pytest.approx(alone.seconds, rel=1e-6)
    assert both.seconds == pytest.approx(fine.seconds + both.guidance_seconds, rel=1e-6)
    assert both.peak_bytes == max(fine.peak_bytes, alone.peak_bytes)
    assert both.n_tiles == fine.n_tiles + alone.n_tiles
    assert both.spacing_mm == fine.spacing_mm
