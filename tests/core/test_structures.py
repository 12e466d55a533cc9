from __future__ import annotations

import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.structures import (
    LABEL_COLORS,
    Origin,
    Structure,
    brain_volume_ml,
    colors_for,
    has_sides,
    laterality_in_name,
    laterality_of,
    measure,
    sum_sides,
    to_csv,
    with_brain,
)
from napari_hyperspace.core.volume import Laterality


def structure(name, *values, voxels=10, volume=1.0, mean=1.0, place=(0, 0, 0), side=None):
    laterality = side or laterality_in_name(name)
    return Structure(values, name, voxels, volume, mean, place, laterality)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 1000, -1, 2**27]))
def test_counts_and_means_are_those_of_scipy(seed, factor):
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2, 9], np.int32), (3, 5, 4)) * np.int32(factor)
    image = rng.normal(100, 30, labels.shape)
    found = measure(labels, image, 0.25, {})
    values = sorted(set(np.unique(labels).tolist()) - {0})
    assert [one.values for one in found] == [(value,) for value in values]
    for one, value in zip(found, values, strict=True):
        assert one.name == f"label {value}"
        assert one.voxels == np.count_nonzero(labels == value)
        assert one.volume_ml == one.voxels * 0.25
        assert one.mean == pytest.approx(ndimage.mean(image, labels, value))


def test_the_place_is_in_the_structure_in_its_largest_plane():
    labels = np.zeros((4, 9, 9), np.uint8)
    labels[1, 4, 4] = 3
    labels[2] = 3  # a ring around a hole: its center is outside
    labels[2, 3:6, 3:6] = 0
    ((z, y, x),) = (one.place for one in measure(labels, None, 1.0, {}))
    assert z == 2
    assert labels[z, y, x] == 3
    assert max(abs(y - 4), abs(x - 4)) == 2


def test_named_structures_that_are_not_there_are_listed_too():
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[0, 0, 0] = 2
    one, two = measure(labels, np.ones(labels.shape), 0.5, {1: "left front", 2: "right front"})
    assert (one.name, one.voxels, one.volume_ml, one.place) == ("left front", 0, 0, None)
    assert math.isnan(one.mean)
    assert (two.name, two.voxels, two.volume_ml, two.mean) == ("right front", 1, 0.5, 1.0)


def test_without_an_image_there_is_no_mean():
    (one,) = measure(np.ones((2, 2, 2), np.uint16), None, 1.0, {})
    assert math.isnan(one.mean)
    assert one.voxels == 8


def test_it_stops_between_planes():
    asked = []

    def should_stop():
        asked.append(True)
        return len(asked) == 3

    with pytest.raises(Cancelled):
        measure(np.ones((9, 2, 2), np.uint8), None, 1.0, {}, should_stop)
    assert len(asked) == 3


def test_sides_are_added_up():
    rows = [
        structure("left cortex", 1, voxels=10, volume=1.0, mean=5.0, place=(1, 1, 1)),
        structure("right cortex", 2, voxels=30, volume=3.0, mean=9.0, place=(2, 2, 2)),
        structure("left amygdala", 3),
        structure("brain stem", 4),
        structure("leftover", 5),
        structure("cortex", 6),
    ]
    summed = sum_sides(rows)
    assert [one.name for one in summed] == [
        *("cortex", "left amygdala", "brain stem", "leftover", "cortex")
    ]
    both = summed[0]
    assert (both.values, both.voxels, both.volume_ml, both.mean) == ((1, 2), 40, 4.0, 8.0)
    assert both.place == (2, 2, 2)
    assert summed[1:] == rows[2:]
    assert has_sides(rows)
    assert not has_sides(rows[2:])


def test_counterparts_are_those_of_the_card_in_any_language():
    rows = [
        structure("Rinde links", 1, side=Laterality("left", "Rinde")),
        structure("left lobe", 2, side=Laterality(None, "left lobe")),
        structure("Rinde rechts", 3, side=Laterality("right", "Rinde")),
        structure("right lobe", 4, side=Laterality(None, "right lobe")),
        structure("Kern", 5, side=Laterality("left", "Kern")),
        structure("Kern", 6, side=Laterality("left", "Kern")),
    ]
    summed = sum_sides(rows)
    assert [one.name for one in summed] == ["Rinde", "left lobe", "right lobe", "Kern", "Kern"]
    assert summed[0].values == (1, 3)
    assert summed[0].laterality == Laterality(None, "Rinde")
    assert sum_sides(summed) == summed
    assert has_sides(rows)
    assert not has_sides(rows[1:2] + rows[3:])


def test_measured_structures_know_their_side():
    labels = np.arange(4, dtype=np.uint8).reshape(1, 2, 2)
    names = {1: "Rinde links", 2: "left lobe", 3: "right lobe"}
    sides = {1: Laterality("left", "Rinde"), 2: Laterality(None, "left lobe")}
    found = measure(labels, None, 1.0, names, sides=sides)
    assert [one.laterality for one in found] == [
        *(sides[1], sides[2], Laterality("right", "lobe")),
    ]


@pytest.mark.parametrize(
    ("name", "side", "rest"),
    [
        ("left cortex", "left", "cortex"),
        ("right cortex", "right", "cortex"),
        ("Right-Hippocampus", "right", "Right-Hippocampus"),
        ("LEFT cortex", "left", "LEFT cortex"),
        ("left", "left", "left"),
        ("leftover", None, "leftover"),
        ("cortex left", None, "cortex left"),
        ("", None, ""),
    ],
)
def test_the_side_in_an_english_name(name, side, rest):
    assert laterality_in_name(name) == Laterality(side, rest)
    assert laterality_of(1, {1: name}, {}) == Laterality(side, rest)
    stated = Laterality(None, "stated")
    assert laterality_of(1, {1: name}, {1: stated}) == stated


def test_sides_of_which_one_or_both_are_empty():
    empty = structure("left a", 1, voxels=0, volume=0.0, mean=math.nan, place=None)
    other = structure("right a", 2, voxels=4, volume=2.0, mean=3.0)
    (one,) = sum_sides([empty, other])
    assert (one.voxels, one.mean, one.place) == (4, 3.0, (0, 0, 0))
    (none,) = sum_sides([empty, structure("right a", 2, voxels=0, mean=math.nan, place=None)])
    assert none.voxels == 0
    assert math.isnan(none.mean)


def test_the_table_names_its_origin():
    rows = [
        structure("Gyrus, “left”", 1, 2, voxels=3, volume=0.123456789, mean=math.nan),
        structure("=1+1", 3, voxels=1, volume=2.0, mean=1 / 3),
    ]
    origin = Origin("-scan", "brain", (6.5, 0.69, 0.7), "largest component of each structure")
    text = to_csv(rows, origin)
    first, second = csv.DictReader(io.StringIO(text))
    assert first == {
        "image": "'-scan",  # not run as a formula by spreadsheets
        "model": "brain",
        "spacing_z_mm": "6.5",
        "spacing_y_mm": "0.69",
        "spacing_x_mm": "0.7",
        "postprocessing": "largest component of each structure",
        "labels": "1 2",
        "structure": "Gyrus, “left”",
        "voxels": "3",
        "volume_ml": "0.123457",
        "mean_intensity": "",
    }
    assert second["structure"] == "'=1+1"
    assert float(second["mean_intensity"]) == pytest.approx(1 / 3, rel=1e-5)
    (plain,) = csv.DictReader(io.StringIO(to_csv(rows[:1], Origin())))
    assert plain["model"] == plain["spacing_z_mm"] == ""


def test_a_comparison_adds_columns():
    rows = [structure("a", 1, voxels=3, volume=2.0), structure("b", 2, voxels=1, volume=0.5)]
    compared = [(2.5, 0.75), (math.nan, math.nan)]
    text = to_csv(rows, Origin(), compared=compared, compared_with="brain 3 mm")
    first, second = csv.DictReader(io.StringIO(text))
    assert first["compared_with"] == "brain 3 mm"
    assert float(first["compared_volume_ml"]) == 2.5
    assert float(first["volume_difference_ml"]) == 0.5
    assert float(first["dice"]) == 0.75
    assert second["compared_volume_ml"] == second["volume_difference_ml"] == second["dice"] == ""
    assert "dice" not in to_csv(rows, Origin())


def test_a_brain_is_followed_by_its_volume_without_fluid():
    rows = [
        structure("left cortex", 1001, voxels=3, volume=3.0, mean=10.0),
        structure("right Cortex", 2001, voxels=1, volume=1.0, mean=30.0),
        structure("white matter", 2, voxels=4, volume=4.0, mean=5.0),
        structure("ventricles", 9, voxels=8, volume=8.0, mean=100.0),
    ]
    *same, brain = with_brain(rows)
    assert same == rows
    assert (brain.name, brain.values) == ("brain without fluid", (1001, 2001, 2))
    assert (brain.voxels, brain.volume_ml, brain.mean) == (8, 8.0, 10.0)
    assert brain_volume_ml([(one.name, one.volume_ml) for one in rows]) == 8.0
    assert with_brain(rows[2:]) == rows[2:]


def _lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIELAB values of linear sRGB (D65)."""
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = rgb @ np.array(to_xyz).T / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=-1
    )


@pytest.mark.parametrize(
    "vision",
    [
        np.eye(3),
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    ],
    ids=["normal", "deuteranopia", "protanopia"],
)
def test_the_color_blind_can_tell_the_default_colors_apart(vision):
    """Simulated as by Machado et al., IEEE TVCG 2009. A distance of 2.3 is just noticeable."""
    srgb = np.array([list(bytes.fromhex(color[1:])) for color in LABEL_COLORS]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab = _lab(np.clip(linear @ np.array(vision).T, 0, 1))
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1)[~np.eye(len(lab), dtype=bool)]
    assert distances.min() > 6 * 2.3


def test_labels_without_a_color_get_different_ones():
    colors = colors_for([7, 2, 4], {4: "#000001"})
    assert colors == {2: LABEL_COLORS[0], 4: "#000001", 7: LABEL_COLORS[2]}
    assert len(colors_for(range(40), {})) == 40
