"""The assessment of results: with networks whose answer is known, and cards with known figures."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.assessment import assess as module
from napari_hyperspace.api.assessment.assess import assess_steps, estimate_assessment
from napari_hyperspace.api.assessment.second_opinion import coarser_spacing, second_opinion_steps
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Laterality, Volume
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.nets.base.quality import (
    DiceCalibration,
    QualityConfig,
    ScanRanges,
    StructureRanges,
)
from tests.models import FakeModel, linear_model
from tests.scans import rotated_affine

OPTIONS = InferenceOptions(device="cpu", precision="fp32")
CALIBRATION = DiceCalibration(
    points=((0, 0), (0.5, 0.3), (1, 0.9)),
    offsets={"structure 1": 0.05},
    residuals=(-0.1, 0.08),
    mean_residuals=(-0.05, 0.04),
    usual_dice=0.1,
    cases=12,
)


def above(threshold: float, side: float = 0.0) -> Callable[[tuple[float, ...]], nn.Module]:
    """Make networks whose class is 1 above a threshold, and 2 above twice that."""

    def make(spacing_mm: tuple[float, ...]) -> nn.Module:
        network = nn.Conv3d(1, 3, 1)
        network.weight.data = torch.tensor([0.0, 1.0, 2.0]).reshape(3, 1, 1, 1, 1)
        network.bias.data = torch.tensor([0.0, -threshold, -3 * threshold])
        return network

    return make


@pytest.fixture
def scan() -> Volume:
    """A bright ball in a brighter shell, on an oblique grid."""
    shape = (28, 24, 26)
    z, y, x = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    values = (6 - np.hypot(np.hypot(z, y), x) / 2).clip(0).astype(np.float32)
    return Volume(values, Grid(shape, rotated_affine((1.1, 1.3, 0.9))), "scan")


def steady() -> FakeModel:
    """A model that finds the same at each spacing, left and right."""
    return FakeModel(above(0.6), trained_range_mm=((0.5, 3),) * 3)


def test_a_model_that_agrees_with_itself_is_ok_and_the_notes_say_what_is_not_known(scan):
    model = steady()
    labels = hs.segment(scan, model, options=OPTIONS)
    quality = hs.assess(scan, labels, model, OPTIONS)
    assert quality.level == "ok" and quality.warnings == ()
    assert quality.agreement is not None and quality.agreement > 0.9
    assert quality.estimated_dice is None and quality.interval is None
    assert [one.name for one in quality.structures] == ["one", "two"]
    assert any("calibration" in note for note in quality.notes)
    expected = sorted(1.5 * step for step in scan.spacing_mm)
    assert sorted(model.asked[-1]) == pytest.approx(expected, rel=1e-12)


def test_a_model_that_contradicts_itself_is_not(scan):
    def make(spacing_mm: tuple[float, ...]) -> nn.Module:
        return above(0.6 if max(spacing_mm) < 1.5 else 1.6)(spacing_mm)

    model = FakeModel(make, trained_range_mm=((0.5, 3),) * 3)
    labels = hs.segment(scan, model, options=OPTIONS)
    quality = hs.assess(scan, labels, model, OPTIONS, disagreement=True)
    assert quality.level != "ok"
    assert any("agree" in text for text in quality.warnings)
    assert quality.disagreement is not None
    assert quality.disagreement.affine.tobytes() == scan.affine.tobytes()
    # The second opinion labels less: it differs only where the first has labels.
    assert quality.disagreement.array.any()
    assert set(np.unique(quality.disagreement.array)) == {0, 1}


def test_the_second_opinion_sees_the_mirrored_scan_and_answers_for_the_scan_itself(scan):
    """Networks that label a part on the left of what they see as "left"."""

    class Sides(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            bright = (image > 0.6).float()
            half = torch.zeros_like(bright)
            half[..., image.shape[-1] // 2 :] = 1  # canonical x points to Left
            return torch.cat([1 - bright, 2 * bright * half, 2 * bright * (1 - half)], dim=1)

    names = {1: "left part", 2: "right part"}
    sides = {1: Laterality("left", "part"), 2: Laterality("right", "part")}
    model = FakeModel(lambda spacing: Sides(), label_names=names, label_sides=sides)
    labels = hs.segment(scan, model, options=OPTIONS)
    second = run_to_end(second_opinion_steps([scan], labels, model, OPTIONS))
    found = hs.agreement(labels, second)
    assert min(one.dice for one in found.structures) > 0.85
    one_sided = FakeModel(
        lambda spacing: Sides(),
        label_names={1: "left part", 2: "middle"},
        label_sides={1: Laterality("left", "part")},
    )
    labels = hs.segment(scan, one_sided, options=OPTIONS)
    second = run_to_end(second_opinion_steps([scan], labels, one_sided, OPTIONS))
    assert min(one.dice for one in hs.agreement(labels, second).structures) > 0.85


def test_the_second_spacing_is_clamped_and_slices_are_kept():
    assert coarser_spacing((1, 2, 2.5), steady()) == (1.5, 3, 3)
    flat = FakeModel(above(1), n_dim=2, trained_range_mm=((0.5, 3),) * 2)
    assert coarser_spacing((5, 1, 1), flat) == (5, 1.5, 1.5)
    assert coarser_spacing((5, 1, 1), FakeModel(above(1))) == (7.5, 1.5, 1.5)


def test_a_card_with_calibration_turns_agreement_into_dice(scan, make_model):
    model = make_model(quality=QualityConfig(calibration=CALIBRATION))
    labels = hs.segment(scan, model, options=OPTIONS)
    quality = hs.assess(scan, labels, model, OPTIONS)
    known = [one for one in quality.structures if one.agreement is not None]
    assert known
    for one in known:
        assert one.estimated_dice == CALIBRATION.dice(one.name, one.agreement)
        low, high = one.interval
        assert 0 <= low <= one.estimated_dice <= high <= 1
    mean = sum(one.estimated_dice for one in known) / len(known)
    assert quality.estimated_dice == pytest.approx(mean, rel=1e-12)
    assert not any("calibration" in note for note in quality.notes)


@pytest.mark.parametrize(("usual", "level"), [(0.1, "ok"), (0.8, "doubtful"), (0.95, "doubtful")])
def test_the_level_follows_the_estimated_dice(usual, level):
    config = QualityConfig(calibration=CALIBRATION.model_copy(update={"usual_dice": usual}))
    structure = module.StructureQuality("structure 2", 1.0, 0.75, 0.6, (0.5, 0.7))
    quality = module._judged([structure], [], config, has_opinion=True)
    assert quality.level == level
    assert bool(quality.warnings) == (level != "ok")
    low = module.StructureQuality("structure 2", 1.0, 0.1, 0.06, (0, 0.1))
    config = QualityConfig(calibration=CALIBRATION.model_copy(update={"usual_dice": 0.8}))
    assert module._judged([low], [], config, has_opinion=True).level == "implausible"


def test_violated_ranges_are_sentences(scan, make_model):
    ranges = {"structure 1": StructureRanges(volume_ml=(1000, 2000))}
    model = make_model(quality=QualityConfig(structures=ranges))
    labels = hs.segment(scan, model, options=OPTIONS)
    array = np.zeros(labels.shape, np.uint8)
    array[10:14, 10:14, 10:14] = 1
    painted = labels.with_array(array)
    quality = hs.assess(scan, painted, model, OPTIONS, second_opinion=False)
    assert quality.level == "implausible"
    assert "structure 1 0.082 ml: expected 1000–2000 ml" in quality.warnings
    assert quality.agreement is None
    assert any("second opinion" in note for note in quality.notes)


def test_divided_sides_are_judged_together(scan, make_model):
    model = make_model()
    array = np.zeros(scan.shape, np.uint16)
    array[8:12, 8:12, 4:8], array[8:12, 8:12, 12:16] = 1001, 2001
    names = {1001: "left structure 1", 2001: "right structure 1", 2: "structure 2"}
    labels = scan.with_array(array, metadata={"label_names": names})
    quality = hs.assess(scan, labels, model, OPTIONS, second_opinion=False)
    volumes = {one.name: one.volume_ml for one in quality.structures}
    assert volumes["structure 1"] == pytest.approx(128 * scan.grid.voxel_volume_ml, rel=1e-12)
    assert volumes["structure 2"] == 0


def test_scans_are_checked_before_anything_runs(scan, make_model):
    model = make_model(quality=QualityConfig(scan=ScanRanges(field_of_view_mm=((100, 200),) * 3)))
    check = hs.check_scan(scan, model)
    assert check.level == "implausible" and len(check.warnings) == 3
    assert hs.check_scan(scan, make_model()) == module.ScanCheck("ok", ())
    empty = scan.with_array(np.zeros(scan.shape, np.float32))
    assert hs.check_scan([empty], make_model()).level == "implausible"


def test_quality_is_plain_data(scan, make_model):
    model = make_model(quality=QualityConfig(calibration=CALIBRATION))
    labels = hs.segment(scan, model, options=OPTIONS)
    quality = hs.assess(scan, labels, model, OPTIONS)
    data = json.loads(json.dumps(quality.to_dict(), allow_nan=False))
    assert data["level"] == quality.level
    assert data["warnings"] == list(quality.warnings)
    assert data["interval"] == [round(end, 4) for end in quality.interval]
    assert str(quality).startswith(f"{quality.level}: estimated Dice")


def test_assessing_can_be_stopped_at_any_step(scan):
    model = steady()
    labels = hs.segment(scan, model, options=OPTIONS)
    asked = [0]

    def never() -> bool:
        asked[0] += 1
        return False

    steps = list(assess_steps(scan, labels, model, OPTIONS, should_stop=never))
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    for place in (1, asked[0] // 2, asked[0]):
        left = [place]

        def stop(left: list[int] = left) -> bool:
            left[0] -= 1
            return left[0] <= 0

        with pytest.raises(hs.Cancelled):
            run_to_end(assess_steps(scan, labels, model, OPTIONS, should_stop=stop))


def test_what_cannot_be_assessed_is_refused(scan):
    model = steady()
    labels = hs.segment(scan, model, options=OPTIONS)
    with pytest.raises(hs.HyperspaceError, match="structures of their own"):
        hs.assess(scan, labels, linear_model(), OPTIONS)
    other = Volume(
        labels.array, labels.grid.with_spacing((1.1, 1.3, 0.9)).crop((1, 0, 0), labels.shape)
    )
    with pytest.raises(hs.HyperspaceError, match="not on the grid"):
        hs.assess(scan, other, model, OPTIONS)


def test_the_second_opinion_has_an_estimate(scan, make_model):
    model = make_model()
    cost = estimate_assessment(scan, model, (1, 1, 1), OPTIONS)
    assert cost.spacing_mm == (1.5, 1.5, 1.5)
    assert cost.seconds > 0
    best = InferenceOptions(device="cpu", precision="fp32", best=True)
    assert estimate_assessment(scan, model, (1, 1, 1), best).n_tiles == cost.n_tiles


def test_a_card_keeps_its_figures_in_the_file(tmp_path, make_model):
    config = QualityConfig(
        structures={"structure 1": StructureRanges(volume_ml=(1, 2), brightness=(0.2, 0.8))},
        scan=ScanRanges(field_of_view_mm=((1, 2),) * 3, like_ct=False),
        calibration=CALIBRATION,
        cases=5,
    )
    model = make_model(quality=config)
    loaded = hs.load_model(hs.save_model(model, tmp_path / "model.safetensors"))
    assert loaded.card.quality == config
    assert loaded.digest == make_model().digest  # labels do not depend on it


@pytest.mark.parametrize(
    "points", [((0, 0),), ((0, 0.5), (1, 0.4)), ((0.5, 0), (0.4, 1)), ((0, 0), (1, 1.5))]
)
def test_a_calibration_increases(points):
    values = {**CALIBRATION.model_dump(), "points": points}
    with pytest.raises(ValueError, match="points"):
        DiceCalibration.model_validate(values)


def test_ranges_are_ordered():
    with pytest.raises(ValueError, match="smallest ≤ largest"):
        StructureRanges(volume_ml=(2, 1))
    with pytest.raises(ValueError, match="smallest ≤ largest"):
        ScanRanges(field_of_view_mm=((1, 2), (2, 1), (1, 2)))


def test_no_agreement_is_no_dice_whatever_the_offset():
    assert CALIBRATION.dice("structure 1", 0.0) == 0.0
    assert CALIBRATION.dice("structure 1", 1.0) == pytest.approx(0.95, abs=1e-12)
    assert CALIBRATION.dice("other", 0.75) == pytest.approx(0.6, abs=1e-12)
