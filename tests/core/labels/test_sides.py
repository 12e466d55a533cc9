"""Dividing left and right; the oracle is the half of a symmetric head that a voxel was made in."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from napari_hyperspace.core.errors import HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.labels.midplane import mid_sagittal_plane
from napari_hyperspace.core.labels.postprocess import postprocess
from napari_hyperspace.core.labels.sides import colors_of_sides
from napari_hyperspace.core.volume import Laterality, Volume
from tests.heads import COLORS, ISOTROPIC, LIA, NAMES, PAIRED, SIDES, around, head_on


@pytest.mark.parametrize(
    ("grid", "tilt_deg", "center_mm"),
    [
        (ISOTROPIC, (0, 0, 0), (0, 0, 0)),
        (ISOTROPIC, (5, 20, -15), (9, -4, 6)),
        (around((3, 5, 4), axes=LIA), (0, -20, 20), (-7, 0, 0)),
        (around((6.5, 2.5, 3), rotation_deg=(20, -9, 12)), (-10, 0, 0), (0, 5, 0)),
        (around((3, 3, 7), rotation_deg=(0, 15, 0), axes=LIA), (0, 0, 12), (0, 0, 0)),
    ],
    ids=["upright", "tilted", "other-axes", "oblique-sagittal", "oblique-thick"],
)
def test_voxels_get_the_side_that_they_were_made_in(grid, tilt_deg, center_mm):
    labels, right = head_on(grid, tilt_deg=tilt_deg, center_mm=center_mm)
    divided = postprocess(labels, split_sides=True)
    plane = mid_sagittal_plane(labels)
    assert plane is not None
    normal = Rotation.from_euler("xyz", tilt_deg, degrees=True).apply([1, 0, 0])
    assert np.degrees(np.arccos(np.clip(normal @ plane.normal, -1, 1))) < 2
    assert abs(plane.distance(np.array(center_mm, float))) < 1
    # Voxels that are cut by the plane may be on either side.
    index = np.stack(np.indices(grid.shape), axis=-1)
    far = np.abs((grid.index_to_mm(index) - center_mm) @ normal) > max(grid.spacing_mm) / 2 + 1
    expected = np.where(right, 2000, 1000) * np.isin(labels.array, PAIRED) + labels.array
    wrong = (divided.array != expected) & far
    assert wrong.sum() <= 0.001 * (labels.array > 0).sum()


def test_values_names_colors_and_the_record_of_both_sides():
    labels, _ = head_on(ISOTROPIC)
    divided = postprocess(labels, fill_holes_mm3=1, split_sides=True)
    values = {0, 9, 10, 1001, 2001, 1002, 2002, 1011, 2011}
    assert divided.dtype == np.uint16
    assert set(np.unique(divided.array).tolist()) == values
    assert divided.metadata["label_names"] == {
        **{9: "ventricles", 10: "brain stem"},
        **{1001: "left cortex", 2001: "right cortex"},
        **{1002: "left white matter", 2002: "right white matter"},
        **{1011: "left hippocampus", 2011: "right hippocampus"},
    }
    assert divided.metadata["label_sides"][2011] == Laterality("right", "hippocampus")
    assert divided.metadata["label_sides"][9] == Laterality(None, "ventricles")
    colors = divided.metadata["label_colors"]
    assert set(colors) == values - {0}
    assert len(set(colors.values())) == len(colors)
    assert colors[1011] == COLORS[11]
    step = divided.metadata["postprocessing"][-1]
    assert step["step"] == "left and right divided"
    paired = np.isin(labels.array, PAIRED).sum()
    assert step["changed_mm3"] == pytest.approx(paired * 64)
    [options] = divided.metadata["record"].postprocessing
    assert options.split_sides
    assert options.fill_holes_mm3 == 1
    assert divided.metadata["label_names"].keys() == divided.metadata["label_sides"].keys()
    again = postprocess(labels, fill_holes_mm3=1, split_sides=True)
    assert (again.array == divided.array).all()
    assert again.metadata["record"] == divided.metadata["record"]


@pytest.mark.parametrize(
    "part",
    [np.s_[:, :, :21], np.s_[:, :, 28:], np.s_[:, 28:], np.s_[:, 20:27], np.s_[20:]],
    ids=["bottom", "top", "front", "slab", "right"],
)
def test_parts_of_a_head_are_divided(part):
    labels, right = head_on(ISOTROPIC, tilt_deg=(0, 8, -10))
    start = (
        [each.start or 0 for each in (*part, slice(None), slice(None))][:3]
        if isinstance(part, tuple)
        else [part.start, 0, 0]
    )
    array = labels.array[part]
    seen = Volume(array, ISOTROPIC.crop(start, array.shape), "part", labels.metadata)
    divided = postprocess(seen, split_sides=True)
    side = np.where(divided.array > 2000, 1, np.where(divided.array > 1000, -1, 0))
    truth = np.where(right[part], 1, -1) * np.isin(array, PAIRED)
    assert (side != truth).sum() <= 0.02 * np.count_nonzero(truth)


def test_one_side_alone_is_not_divided():
    labels, _ = head_on(ISOTROPIC)
    array = labels.array[:22]  # ends 8 mm left of the middle
    half = Volume(array, ISOTROPIC.crop((0, 0, 0), array.shape), "half", labels.metadata)
    with pytest.warns(HyperspaceWarning, match="half has left and right under one label"):
        found = postprocess(half, split_sides=True)
    assert (found.array == array).all()
    assert found.metadata["label_names"] == NAMES
    [step] = found.metadata["postprocessing"]
    assert step["step"].startswith("left and right not divided")
    assert found.metadata["record"].postprocessing[0].split_sides


def test_labels_without_paired_structures_stay_as_they_are():
    labels, _ = head_on(ISOTROPIC)
    sides = {value: one._replace(paired=False) for value, one in SIDES.items()}
    plain = labels.with_array(labels.array, metadata={**labels.metadata, "label_sides": sides})
    with pytest.warns(HyperspaceWarning, match="no label contains"):
        assert (postprocess(plain, split_sides=True).array == labels.array).all()
    divided = postprocess(labels, split_sides=True)
    with pytest.warns(HyperspaceWarning, match="no label contains"):  # twice is not needed
        assert (postprocess(divided, split_sides=True).array == divided.array).all()
    stem = labels.with_array(np.where(labels.array == 10, labels.array, 0))
    with pytest.warns(HyperspaceWarning, match="no structure of both sides"):
        assert (postprocess(stem, split_sides=True).array == stem.array).all()


def test_a_guessed_orientation_is_said():
    labels, _ = head_on(ISOTROPIC)
    guess = {**labels.metadata, "orientation_unknown": True}
    divided = postprocess(labels.with_array(labels.array, metadata=guess), split_sides=True)
    assert "may be swapped" in divided.metadata["postprocessing"][0]["step"]


def test_no_plane_of_nothing():
    empty = Volume(np.zeros((5, 6, 7), np.uint8), Grid.from_spacing((5, 6, 7), (1, 1, 1)))
    assert mid_sagittal_plane(empty) is None
    labels, _ = head_on(ISOTROPIC)
    assert mid_sagittal_plane(labels, ignored=set(NAMES)) is None


@pytest.mark.parametrize("color", [*COLORS.values(), "#000000", "#ffffff"])
def test_the_color_of_the_right_is_a_shade_of_that_of_the_left(color):
    left, right = colors_of_sides(color)
    assert left == color
    assert right != left
    one, other = (np.array(list(bytes.fromhex(each[1:])), float) for each in (left, right))
    assert np.abs(one.mean() - other.mean()) > 20
    order = np.argsort(one, kind="stable")  # the same channels are strong
    assert (np.diff(other[order]) >= -1).all()
