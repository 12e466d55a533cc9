"""Post-processing; the oracle is a flood fill in Python."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.labels.postprocess import postprocess
from napari_hyperspace.core.volume import Laterality, Volume

SPACING = (2.0, 0.5, 1.5)  # 1.5 mm³ per voxel
VOXEL_MM3 = 1.5

FACES = [step for step in product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]
ALL = [step for step in product((-1, 0, 1), repeat=3) if any(step)]


def labeled(array, **metadata) -> Volume:
    array = np.asarray(array)
    return Volume(array, Grid.from_spacing(array.shape, SPACING), "labels", metadata)


def flood(mask, steps):
    """Return the connected parts of a mask as sets of indices."""
    left, parts = set(map(tuple, np.argwhere(mask).tolist())), []
    while left:
        part, front = set(), [left.pop()]
        while front:
            at = front.pop()
            part.add(at)
            for step in steps:
                beside = tuple(a + b for a, b in zip(at, step, strict=True))
                if beside in left:
                    left.remove(beside)
                    front.append(beside)
        parts.append(part)
    return parts


seeds = st.integers(0, 2**32 - 1)


def scattered(seed, shape, values):
    """Return random label values; drawn by hypothesis, voxel by voxel, they would be slow."""
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), shape)


@settings(deadline=None)
@given(seeds)
def test_the_largest_part_of_each_structure_is_kept(seed):
    array = scattered(seed, (4, 5, 6), [0, 0, 0, 1, 1, 7])
    names = {1: "left thing", 7: "Right thing"}
    found = postprocess(labeled(array), largest_component=True, names=names).array
    for value in (1, 7):
        parts = flood(array == value, ALL)
        kept = flood(found == value, ALL)
        assert len(kept) == min(len(parts), 1)
        if parts:
            assert kept[0] in parts
            assert len(kept[0]) == max(map(len, parts))
    changed = found != array
    assert not found[changed].any()


@settings(deadline=None)
@given(seeds, st.integers(0, 12))
def test_parts_below_a_volume_are_removed(seed, voxels):
    array = scattered(seed, (4, 5, 6), [0, 0, 0, 0, 0, 1, 1, 7])
    limit = voxels * VOXEL_MM3
    found = postprocess(labeled(array), smallest_component_mm3=limit).array
    expected = array.copy()
    for value in (1, 7):
        for part in flood(array == value, ALL):
            if len(part) < voxels:
                for at in part:
                    expected[at] = 0
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None)
@given(seeds, st.integers(1, 4))
def test_enclosed_background_is_given_to_what_it_touches_most(seed, voxels):
    array = scattered(seed, (5, 6, 5), [0, 1, 1, 2])
    found = postprocess(labeled(array), fill_holes_mm3=voxels * VOXEL_MM3).array
    ends = [n - 1 for n in array.shape]
    for hole in flood(array == 0, FACES):
        inner = all(0 < i < end for at in hole for i, end in zip(at, ends, strict=True))
        values = {int(found[at]) for at in hole}
        if not inner or len(hole) > voxels:
            assert values == {0}
            continue
        touched = Counter(
            int(array[beside])
            for at in hole
            for step in FACES
            if (beside := tuple(a + b for a, b in zip(at, step, strict=True))) not in hole
        )
        (value,) = values
        assert touched[value] == max(touched.values())
    np.testing.assert_array_equal(found[array > 0], array[array > 0])


def pair(first: int, second: int):
    """Two bars of one structure far apart."""
    array = np.zeros((3, 4, 12), np.uint8)
    array[0, 0, :first] = 3
    array[2, 3, :second] = 3
    return array


@pytest.mark.parametrize(
    ("name", "second", "kept"),
    [
        ("hippocampus", 8, True),  # the other side
        ("hippocampus", 5, True),
        ("hippocampus", 4, False),  # less than half: an error
        ("left hippocampus", 8, False),
        ("Right-Hippocampus", 8, False),
        ("leftover", 8, True),
    ],
)
def test_a_structure_without_a_side_keeps_both(name, second, kept):
    array = pair(10, second)
    labels = labeled(array, label_names={3: name})
    found = postprocess(labels, largest_component=True).array
    assert (found[2] == 3).any() == kept
    assert (found[0] == 3).sum() == 10


SIDED = {3: Laterality("left", "Mandelkern")}
UNSIDED = {3: Laterality(None, "left")}


@pytest.mark.parametrize(
    ("metadata", "options", "kept"),
    [
        ({"label_names": {3: "Mandelkern"}, "label_sides": SIDED}, {}, False),
        ({"label_names": {3: "left"}, "label_sides": UNSIDED}, {}, True),
        ({"label_names": {3: "left"}, "label_sides": {4: Laterality("right", "x")}}, {}, False),
        ({"label_names": {3: "left"}}, {"sides": UNSIDED}, True),
        ({"label_sides": UNSIDED}, {"names": {3: "left"}}, False),
        ({"label_sides": UNSIDED}, {"names": {3: "left"}, "sides": UNSIDED}, True),
        ({"label_sides": UNSIDED}, {"sides": SIDED}, False),
    ],
)
def test_a_stated_side_counts_more_than_the_name(metadata, options, kept):
    labels = labeled(pair(10, 8), **metadata)
    found = postprocess(labels, largest_component=True, **options).array
    assert (found[2] == 3).any() == kept


def test_corners_connect_structures_but_not_holes():
    array = np.zeros((5, 5, 5), np.uint8)
    array[1:4, 1:4, 1:4] = 1
    array[2, 2, 2] = 0
    array[1, 1, 1] = 0  # touches the hole with a corner only
    found = postprocess(labeled(array), fill_holes_mm3=VOXEL_MM3).array
    assert found[2, 2, 2] == 1
    assert found[1, 1, 1] == 0
    diagonal = np.zeros((3, 3, 3), np.uint8)
    diagonal[0, 0, 0] = diagonal[1, 1, 1] = diagonal[2, 2, 2] = 4
    kept = postprocess(labeled(diagonal), largest_component=True, names={4: "left"}).array
    np.testing.assert_array_equal(kept, diagonal)


def test_a_removed_part_leaves_a_hole_that_is_filled():
    array = np.full((5, 6, 7), 2, np.uint8)
    array[0, 0, 0] = 1
    array[0, 0, 1] = 1
    array[2, 3, 3] = 1
    names = {1: "left a", 2: "b"}
    both = postprocess(
        labeled(array), largest_component=True, fill_holes_mm3=VOXEL_MM3, names=names
    )
    assert both.array[2, 3, 3] == 2
    assert [step["changed_mm3"] for step in both.metadata["postprocessing"]] == [1.5, 1.5]


def test_volumes_are_in_mm3():
    array = np.ones((5, 5, 6), np.uint8)
    array[2, 2, 2:4] = 0  # 3 mm³
    for limit, filled in ((2.9, False), (3.0, True), (3.1, True)):
        found = postprocess(labeled(array), fill_holes_mm3=limit).array
        assert bool(found[2, 2, 2]) == filled


def test_the_steps_are_recorded_in_the_metadata():
    array = pair(10, 2)
    labels = labeled(array, label_names={3: "left part"}, path="/scan.nii")
    once = postprocess(labels, largest_component=True, smallest_component_mm3=5)
    assert once.metadata["postprocessing"] == (
        {
            "step": "largest component of each structure, none below 5 mm³",
            "connectivity": 26,
            "changed_mm3": 3.0,
        },
    )
    twice = postprocess(once, fill_holes_mm3=10)
    assert [step["step"] for step in twice.metadata["postprocessing"]] == [
        "largest component of each structure, none below 5 mm³",
        "holes up to 10 mm³ filled",
    ]
    assert twice.metadata["path"] == "/scan.nii"
    assert twice.grid == labels.grid
    assert (labels.array == array).all()  # the input is unchanged


def test_without_options_labels_are_unchanged():
    labels = labeled(pair(10, 2))
    assert postprocess(labels) is labels


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint64])
def test_values_far_apart_and_types_are_kept(dtype):
    high = 60000 if dtype is np.uint16 else 2_000_000_000
    array = pair(10, 2).astype(dtype)
    array[array == 3] = high
    found = postprocess(labeled(array), largest_component=True, names={high: "left"}).array
    assert found.dtype == dtype
    assert set(np.unique(found).tolist()) == {0, high}
    assert (found == high).sum() == 10


def test_fractional_values_are_refused():
    """Fault 28 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="whole numbers"):
        postprocess(labeled(np.ones((2, 3, 4)) / 2), largest_component=True)


def test_negative_values_are_listed():
    """Fault 29 of the list of bad inputs."""
    array = pair(3, 2).astype(np.int16)
    array[1, 1, :4] = -2
    with pytest.raises(HyperspaceError, match=r"-2 \(4 voxels\)"):
        postprocess(labeled(array), largest_component=True)


def test_background_alone_warns():
    """Fault 31 of the list of bad inputs."""
    labels = labeled(np.zeros((2, 3, 4), np.uint8))
    with pytest.warns(HyperspaceWarning, match="all background"):
        assert postprocess(labels, largest_component=True) is labels


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["fill_holes_mm3", "smallest_component_mm3"])
def test_invalid_volumes_are_refused(field, wrong):
    with pytest.raises(HyperspaceError, match=field):
        postprocess(labeled(pair(3, 2)), **{field: wrong})
