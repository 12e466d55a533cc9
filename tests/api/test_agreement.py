from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.api.agreement import agreement
from napari_hyperspace.core.errors import Cancelled, HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Laterality, Volume

# Oblique, anisotropic, with its axes in the order of no slice view.
OBLIQUE = np.array(
    [
        [0.10, -0.68, 0.30, 41.5],
        [-0.67, -0.10, 0.40, -12.25],
        [-0.04, -0.05, -4.97, 63.125],
        [0, 0, 0, 1],
    ]
)
NAMES = {1: "left front", 2: "right front", 3: "back"}


def labels(array, names=None, *, affine=OBLIQUE, sides=None, name="labels"):
    array = np.asarray(array)
    metadata = {"label_names": NAMES if names is None else names}
    if sides:
        metadata["label_sides"] = sides
    return Volume(array, Grid(array.shape, affine), name, metadata)


def random_labels(seed, dtype=np.uint8, factor=1):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, 0, 1, 2, 3], dtype), (5, 7, 3)) * dtype(factor)


def voxels_of(array, values):
    """The indices of a structure's voxels, one by one: the oracle shares no code with the count."""
    return {index for index in np.ndindex(array.shape) if array[index] in values}


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(np.uint8, 1), (np.uint16, 300), (np.int32, 2**29), (np.int64, -1)]),
)
def test_volumes_and_dice_are_those_of_sets_of_voxels(seed, kind):
    dtype, factor = kind
    one, two = (random_labels(seed + i, dtype, factor) for i in range(2))
    names = {value * factor: name for value, name in NAMES.items()}
    found = agreement(labels(one, names), labels(two, names))
    voxel_ml = abs(np.linalg.det(OBLIQUE)) / 1000
    assert [row.name for row in found.structures] == [names[v] for v in sorted(names)]
    for row in found.structures:
        ours, theirs = voxels_of(one, row.values), voxels_of(two, row.other_values)
        assert row.volume_ml == pytest.approx(len(ours) * voxel_ml, rel=1e-12)
        assert row.other_volume_ml == pytest.approx(len(theirs) * voxel_ml, rel=1e-12)
        both = len(ours) + len(theirs)
        assert row.dice == 2 * len(ours & theirs) / both if both else math.isnan(row.dice)
    scores = [row.dice for row in found.structures if not math.isnan(row.dice)]
    assert found.mean_dice == pytest.approx(np.mean(scores), rel=1e-12)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_voxels_with_different_labels_name_both(seed):
    one, two = random_labels(seed), random_labels(seed + 1)
    found = agreement(labels(one), labels(two))
    named = {0: "background", **NAMES}
    pairs = {pair.value: pair for pair in found.pairs}
    for index in np.ndindex(one.shape):
        value = int(found.different[index])
        assert (value == 0) == (one[index] == two[index])
        if value:
            pair = pairs[value]
            assert (pair.name, pair.other_name) == (named[one[index]], named[two[index]])
            kinds = {(True, False): "second", (False, True): "first", (False, False): "both"}
            assert pair.kind == kinds[bool(one[index] == 0), bool(two[index] == 0)]
    counts = Counter(found.different[found.different > 0].tolist())
    assert {pair.value: pair.voxels for pair in found.pairs} == counts
    assert [pair.voxels for pair in found.pairs] == sorted(counts.values(), reverse=True)
    different = np.count_nonzero(one != two)
    assert found.different_ml == pytest.approx(different * found.voxel_volume_ml, rel=1e-12)
    labeled = np.count_nonzero((one > 0) | (two > 0))
    assert found.labeled_ml == pytest.approx(labeled * found.voxel_volume_ml, rel=1e-12)


def test_several_labels_count_as_one_structure():
    one, two = random_labels(3), random_labels(4)
    both = agreement(labels(one), labels(two)).of((1, 2))
    ours, theirs = np.isin(one, (1, 2)), np.isin(two, (1, 2))
    assert both.dice == 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
    assert (both.values, both.other_values) == ((1, 2), (1, 2))


def test_a_label_map_agrees_with_itself_in_any_array_order():
    array = random_labels(5)
    one = labels(array)
    found = agreement(one, one.canonical().with_array(one.canonical().array, metadata=one.metadata))
    assert not found.different.any()
    assert found.pairs == ()
    assert [row.dice for row in found.structures] == [1, 1, 1]
    assert found.different.shape == array.shape


def test_labels_are_matched_by_name_and_without_a_name_by_value():
    one = labels([[[1, 2, 3, 7]]], {1: "front", 2: "back", 3: "top"})
    two = labels([[[5, 3, 3, 7]]], {5: "Front", 2: "top"})
    found = agreement(one, two)
    rows = {row.name: row for row in found.structures}
    assert set(rows) == {"front", "top", "label 7"}
    assert (rows["front"].values, rows["front"].other_values) == ((1,), (5,))
    assert rows["front"].dice == 1
    assert (rows["top"].values, rows["top"].other_values) == ((3,), (2, 3))
    assert found.unmatched == ("back",)
    assert found.other_unmatched == ()


def test_a_structure_that_only_one_can_have_counts_as_background():
    one = labels([[[1, 2, 2, 0]]], {1: "front", 2: "back"})
    two = labels([[[1, 1, 0, 4]]], {1: "front", 4: "other"})
    found = agreement(one, two)
    assert found.different.tolist() == [[[0, 1, 0, 0]]]
    (pair,) = found.pairs
    assert (pair.name, pair.other_name, pair.kind) == ("background", "front", "second")
    assert found.unmatched == ("back",)
    assert found.other_unmatched == ("other",)
    assert found.of((2,)) is None
    assert found.of((1, 2)) == found.structures[0]


def test_sides_are_taken_together_if_only_one_has_them():
    one = labels([[[1, 2, 0, 3]]])
    two = labels([[[8, 8, 8, 3]]], {8: "front", 3: "back"})
    for a, b in ((one, two), (two, one)):
        dice = {row.name: row.dice for row in agreement(a, b).structures}
        assert dice == {"front": 0.8, "back": 1}


def test_opposite_sides_are_refused():
    one = labels(random_labels(1), {1: "Kern"}, sides={1: Laterality("left", "Kern")})
    two = labels(random_labels(1), {1: "Kern"}, sides={1: Laterality("right", "Kern")})
    with pytest.raises(HyperspaceError, match="opposite sides") as error:
        agreement(one, two)
    assert (error.value.field, error.value.found, error.value.expected) == ("Kern", "right", "left")


@pytest.mark.parametrize(
    "affine",
    [
        pytest.param(OBLIQUE @ np.diag([1, 1, 2, 1]), id="spacing"),
        pytest.param(OBLIQUE + np.pad([[0.01]], ((0, 3), (3, 0))), id="position"),
        pytest.param(np.diag([-1, 1, 1, 1]) @ OBLIQUE, id="mirrored"),
    ],
)
def test_other_grids_are_refused(affine):
    array = random_labels(2)
    with pytest.raises(HyperspaceError, match="different grids") as error:
        agreement(labels(array), labels(array, affine=affine, name="moved"))
    assert error.value.where == "moved"
    assert str(error.value.found) != str(error.value.expected)


def test_label_maps_without_a_common_structure_are_refused():
    with pytest.raises(HyperspaceError, match="no structure in common"):
        agreement(labels([[[1]]], {1: "front"}), labels([[[1]]], {1: "liver"}))


def test_an_image_is_refused():
    with pytest.raises(HyperspaceError, match="whole numbers"):
        agreement(labels([[[1]]]), labels([[[1.5]]]))


def test_it_stops_between_planes():
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) == 12

    volume = labels(random_labels(1))
    with pytest.raises(Cancelled):
        agreement(volume, volume, should_stop)
    assert len(asked) == 12
