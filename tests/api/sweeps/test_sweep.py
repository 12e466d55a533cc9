"""A sweep over spacings: its labels, its comparison, its box, and stopping it."""

from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.estimate import estimate
from napari_hyperspace.api.segment import segment
from napari_hyperspace.api.sweeps import packed_labels
from napari_hyperspace.api.sweeps.packed_labels import PackedLabels, common_voxels, stability
from napari_hyperspace.api.sweeps.plan import plan_sweep
from napari_hyperspace.api.sweeps.result import knee_of
from napari_hyperspace.api.sweeps.sweep import sweep
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.volume import Laterality, PostprocessingOptions, Volume
from napari_hyperspace.nets.base.localization import Localization
from tests.models import FakeModel

pytestmark = pytest.mark.usefixtures("rates")


class Bright(nn.Module):
    """Class 1 where a voxel exceeds 0.5, class 2 where it exceeds 2.5."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), x - 0.5, 2 * x - 3], dim=1)


def bright_model(**changes) -> FakeModel:
    settings = {"normalization": Normalization("none"), "trained_range_mm": ((0.8, 4.0),) * 3}
    return FakeModel(lambda _: Bright(), **(settings | changes))


def scan(shape=(23, 17, 29), steps=(1.1, 2.0, 0.7)) -> Volume:
    """An ellipsoid with a bright core, on an anisotropic grid whose axes are permuted, flipped."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]]) * steps
    affine[:3, 3] = (5, -7, 11)
    places = np.indices(shape).T - np.array([10.2, 8.1, 15.3])
    distance = np.linalg.norm(places * steps, axis=-1).T
    array = np.where(distance < 9, 1, 0) + np.where(distance < 4.5, 3, 0)
    return Volume(array.astype(np.float32), Grid(shape, affine))


def dice_of(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


# -- knee --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finest_first", "loss", "expected"),
    [
        ([1.0, 0.995, 0.99, 0.985], 0.01, 2),  # exactly the loss, despite rounding
        ([1.0, 0.995, 0.99, 0.985], 0.0, 0),
        ([1.0, 0.97, 0.999], 0.01, 0),  # agrees again by chance
        ([0.80, 0.86, 0.90, 0.895, 0.88], 0.01, 3),  # reference: from the best one on
        ([0.9, 0.9, 0.5], 0.01, 1),
        ([1.0, math.nan, 1.0], 0.5, 0),
        ([math.nan, 0.4], 0.01, 1),
        ([math.nan], 0.01, None),
        ([], 0.01, None),
        ([1.0], 0.01, 0),
    ],
)
def test_the_knee_is_where_the_loss_first_exceeds_the_allowed_one(finest_first, loss, expected):
    assert knee_of(finest_first, loss) == expected


# -- packed labels -----------------------------------------------------------------------------


@pytest.fixture
def small_slabs(monkeypatch) -> None:
    monkeypatch.setattr(packed_labels, "_SLAB_VOXELS", 100)


@pytest.mark.usefixtures("small_slabs")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_packed_labels_are_the_labels_and_hardly_larger(dtype) -> None:
    labels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 11, 5)).astype(dtype)
    turned = labels[::-1].transpose(0, 2, 1)
    packed = PackedLabels.pack(turned)
    assert len(packed.slabs) == 7
    np.testing.assert_array_equal(packed.unpack(), turned)
    assert packed.unpack().dtype == dtype
    assert packed.n_bytes <= labels.nbytes + 20 * len(packed.slabs)
    values, counts = np.unique(labels[labels != 0], return_counts=True)
    assert packed.voxels == dict(zip(values.tolist(), counts.tolist(), strict=True))


@pytest.mark.usefixtures("small_slabs")
def test_stability_is_the_largest_share_of_equal_labels() -> None:
    rng = np.random.default_rng(1)
    base = rng.integers(0, 4, (9, 5, 7))
    maps = [np.where(rng.random(base.shape) < 0.3, rng.integers(0, 4, base.shape), base)]
    maps += [np.where(rng.random(base.shape) < 0.6, 300, base) for _ in range(4)]
    share = stability([PackedLabels.pack(each.astype(np.uint16)) for each in maps])
    assert share.dtype == np.float32
    for place in np.ndindex(base.shape):
        votes = [each[place] for each in maps]
        assert share[place] == np.float32(max(votes.count(v) for v in votes) / len(votes))
    assert (stability([PackedLabels.pack(base.astype(np.uint8))]) == 1).all()
    with pytest.raises(hs.Cancelled):
        stability([PackedLabels.pack(base.astype(np.uint8))], lambda: True)


@pytest.mark.usefixtures("small_slabs")
def test_common_voxels_have_the_same_label_in_both() -> None:
    rng = np.random.default_rng(2)
    one, other = (rng.integers(0, 3, (6, 9, 4)).astype(np.uint8) for _ in range(2))
    expected = {v: int(((one == v) & (other == v)).sum()) for v in (1, 2)}
    assert common_voxels(PackedLabels.pack(one), PackedLabels.pack(other)) == expected


# -- spacings ----------------------------------------------------------------------------------


def test_spacings_are_log_spaced_from_coarse_to_fine() -> None:
    plan = plan_sweep(scan(), bright_model(), range_mm=(1, 4), count=3)
    expected = [(4, 4, 4), (2, 2, 2), (1, 1, 1)]
    assert [pytest.approx(one) for one in expected] == list(plan.spacings_mm)
    assert plan.axis is None
    assert [plan.position_mm(one) for one in plan.spacings_mm] == pytest.approx([4, 2, 1])


def test_one_axis_is_swept_and_the_others_are_fixed() -> None:
    volume, model = scan(), bright_model()
    assert volume.grid.canonical().spacing_mm == pytest.approx((1.1, 0.7, 2.0))
    plan = plan_sweep(volume, model, range_mm=(1, 4), count=2, axis="z")
    # The scan's own, moved into the trained range.
    assert plan.spacings_mm == (pytest.approx((4, 0.8, 2)), pytest.approx((1, 0.8, 2)))
    assert [plan.position_mm(one) for one in plan.spacings_mm] == pytest.approx([4, 1])
    assert plan.axis == 0
    fixed = plan_sweep(volume, model, range_mm=(1, 4), count=2, axis="y", fixed_mm=(1.5, 9, 3))
    assert fixed.spacings_mm == (pytest.approx((1.5, 4, 3)), pytest.approx((1.5, 1, 3)))


def test_a_2d_model_keeps_the_spacing_between_slices() -> None:
    volume, model = scan(), bright_model(n_dim=2, trained_range_mm=((0.8, 4.0),) * 2)
    z = volume.grid.canonical().spacing_mm[0]
    plan = plan_sweep(volume, model, range_mm=(1, 2), count=2)
    assert plan.spacings_mm == (pytest.approx((z, 2, 2)), pytest.approx((z, 1, 1)))
    assert [plan.position_mm(one) for one in plan.spacings_mm] == pytest.approx([2, 1])
    with pytest.raises(hs.HyperspaceError, match="axis"):
        plan_sweep(volume, model, range_mm=(1, 2), axis="z")


def test_spacings_outside_the_trained_range_follow_the_options() -> None:
    volume, model = scan(), bright_model()
    with pytest.raises(hs.HyperspaceError, match="trained on"):
        sweep(volume, model, [8, 2])
    clamped = sweep(volume, model, [8, 6, 4, 2], outside="clamp")
    assert clamped.plan.spacings_mm == ((4, 4, 4), (2, 2, 2))
    beyond = sweep(volume, model, [8, 2, (2, 1, 3)], outside="extrapolate")
    assert beyond.plan.spacings_mm == ((8, 8, 8), (2, 2, 2), (2, 1, 3))
    assert [point.trained for point in beyond] == [False, True, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"range_mm": (0, 2)},
        {"range_mm": (1, math.inf)},
        {"range_mm": (1, 2), "count": 0},
        {"range_mm": (1, 2), "count": 1000},
        {"spacings": []},
        {"spacings": [(1, 2)]},
        {"range_mm": (1, 2), "box": (slice(0, 3),) * 2},
        {"range_mm": (1, 2), "box": (slice(3, 3), slice(0, 3), slice(0, 3))},
        {"range_mm": (1, 2), "box": (slice(0, 99), slice(0, 3), slice(0, 3))},
        {"range_mm": (1, 2), "reference": scan().with_array(np.zeros((23, 17, 29)))},
        {
            "range_mm": (1, 2),
            "reference": Volume(np.zeros((9, 9, 9), int), Grid((9, 9, 9), np.eye(4))),
        },
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_runs(wrong) -> None:
    model = bright_model()
    with pytest.raises(hs.HyperspaceError):
        sweep(scan(), model, **wrong)
    assert model.asked == []


# -- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize("localization", [None, Localization(3.0, 4.0, (30, 30, 30))])
def test_labels_are_those_of_runs_of_their_own(localization) -> None:
    volume = scan()
    swept = sweep(volume, bright_model(localization=localization), [3.5, 2, (1.2, 0.9, 1)])
    points = list(swept)
    assert [point.spacing_mm for point in points] == list(swept.plan.spacings_mm)
    for point in points:
        alone = segment(volume, bright_model(localization=localization), point.spacing_mm)
        labels = point.labels()
        assert labels.grid == volume.grid
        np.testing.assert_array_equal(labels.array, alone.array)
        assert labels.metadata["label_names"] == alone.metadata["label_names"]
        for value in (1, 2):
            ml = (alone.array == value).sum() * 1.1 * 2.0 * 0.7 / 1000
            assert point.volumes_ml[value] == pytest.approx(ml)


def test_the_first_pass_of_a_model_with_localization_runs_once_where_it_is_the_same() -> None:
    model = bright_model(localization=Localization(3.0, 4.0, (30, 30, 30)))
    swept = sweep(scan(), model, [3.5, 2.5, 2, 1])
    assert swept.seconds > 0
    model.asked.clear()  # estimates bake networks, too
    list(swept)
    coarse = [one for one in model.asked if one in ((3.5,) * 3, (3.0,) * 3)]
    assert coarse == [(3.5,) * 3, (3.5,) * 3, (3.0,) * 3]  # at 3.5 mm both passes are as coarse


def test_dice_is_with_the_finest_so_far() -> None:
    volume, seen = scan(), []
    swept = sweep(volume, bright_model(), [4, 2.5, 1])
    for step in swept.steps():
        if step.summary is not None:
            seen.append(step.summary)
    maps = [point.labels().array for point in seen[-1].points]
    for n, summary in enumerate(seen, start=1):
        for one, scores, mean in zip(maps, summary.dice, summary.mean_dice, strict=False):
            expected = {
                v: 2
                * ((one == v) & (maps[n - 1] == v)).sum()
                / ((one == v).sum() + (maps[n - 1] == v).sum())
                for v in (1, 2)
            }
            assert scores == pytest.approx(expected)
            assert mean == pytest.approx(np.mean(list(expected.values())))
        assert summary.mean_dice[n - 1] == 1 and len(summary.points) == n
    assert not seen[-1].has_reference and seen[-1].knee(1.0) == 0 and seen[-1].knee(0.0) == 2


def test_a_structure_in_one_of_both_has_dice_0_and_in_none_is_left_out() -> None:
    volume = scan()
    flat = volume.with_array(np.minimum(volume.array, 1))
    summary = sweep(flat, bright_model(), [2, 1])
    list(summary)
    scores = summary.summary.dice[0]
    assert math.isnan(scores[2]) and summary.summary.mean_dice[0] == scores[1]
    reference = volume.with_array(
        (volume.array > 0).astype(np.uint8) * 2, metadata={"label_names": {1: "one", 2: "two"}}
    )
    found = sweep(flat, bright_model(), [1], reference=reference)
    list(found)
    assert found.summary.dice[0] == {1: 0.0, 2: 0.0}


@pytest.mark.parametrize("box", [None, (slice(2, 15), slice(1, 17), slice(9, 25))])
def test_dice_with_reference_labels_in_another_array_order(box) -> None:
    volume = scan()
    truth = (volume.array > 0.5).astype(np.uint8) + (volume.array > 2.5)
    turned = Volume(volume.with_array(truth).canonical().array, volume.grid.canonical())
    swept = sweep(volume, bright_model(), [3, 1], box=box, reference=turned)
    points = list(swept)
    inside = box or (slice(None),) * 3
    for point, scores in zip(points, swept.summary.dice, strict=True):
        found = point.labels().array
        for value in (1, 2):
            one, other = found[inside] == value, truth[inside] == value
            assert scores[value] == pytest.approx(
                2 * (one & other).sum() / (one.sum() + other.sum())
            )
    assert swept.summary.has_reference


def test_a_box_is_segmented_with_the_intensities_of_the_whole_scan() -> None:
    """A voxel-wise model on the scan's own grid finds in the box what it finds in the scan."""
    volume, box = scan(steps=(1.0, 1.0, 1.0)), (slice(5, 12), slice(3, 16), slice(0, 20))
    model = bright_model(normalization=Normalization("percentile", 1, 99.9))
    (point,) = sweep(volume, model, [1], box=box)
    whole = segment(volume, model, (1, 1, 1)).array
    assert whole[box].any()
    np.testing.assert_array_equal(point.labels().array[box], whole[box])
    assert point.packed.voxels == {
        int(v): int((whole[box] == v).sum()) for v in np.unique(whole[box]) if v
    }  # nothing outside
    assert point.labels().grid == volume.grid
    assert "record" not in point.labels().metadata


def test_stability_is_a_volume_on_the_grid_of_the_scan() -> None:
    volume = scan()
    swept = sweep(volume, bright_model(), [4, 2, 1])
    maps = [point.labels().array for point in swept]
    share = swept.stability()
    assert share.grid == volume.grid
    same = (maps[0] == maps[1]) & (maps[1] == maps[2])
    np.testing.assert_array_equal(share.array == 1, same)
    assert 0 < same.mean() < 1


def test_what_is_finished_is_kept_when_a_sweep_is_stopped_and_it_can_continue() -> None:
    model = bright_model()
    swept = sweep(scan(), model, [4, 3, 2, 1])
    with pytest.raises(hs.Cancelled):
        for _ in swept.steps(lambda: len(swept.summary.points) == 2):
            pass
    assert len(swept.summary.points) == 2
    asked = len(model.asked)
    assert [point.spacing_mm[0] for point in swept] == [2, 1]
    assert [one for one in model.asked[asked:] if one[0] > 2] == []
    assert list(swept) == []
    other = sweep(scan(), model, [4, 3, 2, 1])
    for point in swept.summary.points:
        other.add_finished(point)
    assert other.summary.mean_dice == swept.summary.mean_dice


def test_progress_never_goes_back() -> None:
    model = bright_model(localization=Localization(3.0, 4.0, (30, 30, 30)))
    fractions = [step.fraction for step in sweep(scan(), model, [3, 2, 1]).steps()]
    assert fractions == sorted(fractions) and fractions[0] == 0
    assert fractions[-1] == pytest.approx(1)


def test_a_precision_whose_time_is_not_known_can_be_swept() -> None:
    swept = sweep(scan(), bright_model(), [2, 1], precision="fp16-channels-last")
    assert math.isnan(swept.seconds)
    fractions = [step.fraction for step in swept.steps()]
    assert fractions == sorted(fractions) and len(swept.summary.points) == 2
    assert swept.summary.to_dict()["points"][0]["predicted_seconds"] is None


def test_the_estimated_time_counts_what_is_shared_once() -> None:
    volume, spacings = scan(), [(3.0,) * 3, (2.0,) * 3, (1.95,) * 3]
    model = bright_model(localization=Localization(3.0, 4.0, (30, 30, 30)))
    found = [estimate(volume, model, one) for one in spacings]
    first = found[0].localization_seconds
    assert first > 0
    probes = found[0].probe_seconds + found[1].probe_seconds  # 1.95 mm is about 2 mm
    plain = sum(one.seconds - one.probe_seconds - one.localization_seconds for one in found)
    assert sweep(volume, model, spacings).seconds == pytest.approx(plain + first + probes)


def test_the_table_has_a_row_per_spacing() -> None:
    swept = sweep(scan(), bright_model(), [8, 2, 1], outside="extrapolate")
    list(swept)
    summary = swept.summary
    rows = list(csv.DictReader(io.StringIO(summary.to_csv(0.9))))
    assert [row["spacing_z_mm"] for row in rows] == ["8", "2", "1"]
    assert [row["trained"] for row in rows] == ["0", "1", "1"]
    assert [row["knee"] for row in rows].count("1") == 1
    for row, point, dice in zip(rows, summary.points, summary.dice, strict=True):
        assert float(row["volume_ml two"]) == pytest.approx(point.volumes_ml[2], abs=1e-6)
        assert float(row["dice one"]) == pytest.approx(dice[1], abs=1e-6)
        assert int(row["predicted_peak_bytes"]) == point.predicted.peak_bytes
    data = summary.to_dict(0.9)
    assert data["points"][-1]["spacing_mm"] == [1, 1, 1] and data["knee_mm"] is not None
    assert sweep(scan(), bright_model(), [1]).summary.to_csv() == ""


# -- post-processing ---------------------------------------------------------------------------


def test_every_spacing_is_post_processed_as_a_run_is():
    names = {1: "shell", 2: "core"}
    model = bright_model(
        label_names=names,
        label_sides={v: Laterality(None, n, paired=True) for v, n in names.items()},
    )
    volume, options = scan(), PostprocessingOptions(smallest_component_mm3=5.0, split_sides=True)
    swept = sweep(volume, model, [3, 1.5], postprocessing=options)
    for point in swept:
        run = segment(volume, model, point.spacing_mm)
        expected = hs.postprocess(run, smallest_component_mm3=5, split_sides=True)
        found = point.labels()
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found.array, expected.array)
        assert found.metadata["label_names"] == expected.metadata["label_names"]
        record = found.metadata["record"]
        assert record.labels_digest == expected.metadata["record"].labels_digest
        assert record.postprocessing == (options,)
        ml = volume.grid.voxel_volume_ml
        assert point.volumes_ml[1001] == pytest.approx((expected.array == 1001).sum() * ml)
    summary = swept.summary
    assert set(summary.label_names.values()) == {
        *("left shell", "right shell", "left core", "right core")
    }
    assert summary.label_colors.keys() <= summary.label_names.keys()
    one, other = (point.labels().array for point in summary.points)
    assert summary.dice[0][2001] == pytest.approx(dice_of(one == 2001, other == 2001))
    assert summary.dice[1][2001] == 1


def test_in_a_box_its_labels_are_post_processed():
    volume, model = scan(), bright_model()
    box = (slice(4, 20), slice(3, 14), slice(8, 26))
    options = PostprocessingOptions(smallest_component_mm3=400.0)
    (plain,) = sweep(volume, model, [1.5], box=box)
    (found,) = sweep(volume, model, [1.5], box=box, postprocessing=options)
    inside = Volume(plain.labels().array[box], Grid.from_spacing((16, 11, 18), (1.1, 2.0, 0.7)))
    expected = np.zeros(volume.shape, np.uint8)
    expected[box] = hs.postprocess(inside, smallest_component_mm3=400).array
    assert (expected != plain.labels().array).any()
    np.testing.assert_array_equal(found.labels().array, expected)
