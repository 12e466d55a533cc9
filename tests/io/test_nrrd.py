"""What only NRRD files have: 3D Slicer's segments, missing directions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceWarning
from napari_hyperspace.io import read, write

from .text_files import VOXELS, nrrd, refused


def test_label_names_and_colors_survive(tmp_path: Path) -> None:
    source = read(nrrd(tmp_path, space_directions="(1,0,0) (0,2,0) (0,0,4)"))
    labels = source.with_array(
        (source.array % 3).astype(np.uint8),
        metadata={"label_names": {1: "anterior", 2: "köpfchen"}, "label_colors": {1: "#ff8000"}},
    )
    write(labels, tmp_path / "labels.seg.nrrd")
    again = read(tmp_path / "labels.seg.nrrd")
    assert again.metadata["label_names"] == {1: "anterior", 2: "köpfchen"}
    assert again.metadata["label_colors"] == {1: "#ff8000"}
    assert again.name == "labels"
    np.testing.assert_array_equal(again.array, labels.array)


def test_names_belong_to_the_layer_that_is_read(tmp_path: Path) -> None:
    layers = np.zeros((2, 3, 4, 5), np.uint8)
    layers[0, :2], layers[0, 2], layers[1, 1] = 1, 2, 1
    segments = (  # label value, layer (None: not stated), name, color
        (1, "0", "liver", "0 1 0"),
        (1, "1", "tumour", "1 0 0"),
        (2, None, "spleen", "0 0 1"),
    )
    tail = ""
    for n, (label, layer, name, color) in enumerate(segments):
        tail += f"Segment{n}_LabelValue:={label}\nSegment{n}_Name:={name}\n"
        tail += f"Segment{n}_Color:={color}\n"
        tail += "" if layer is None else f"Segment{n}_Layer:={layer}\n"
    path = nrrd(
        tmp_path,
        layers.tobytes("F"),
        "a.seg.nrrd",
        tail,
        type="uchar",
        dimension="4",
        sizes="2 3 4 5",
        kinds="list domain domain domain",
        space_directions="none (1,0,0) (0,2,0) (0,0,4)",
    )
    organs, tumour = (read(path, volume=n) for n in (0, 1))
    assert organs.metadata["label_names"] == {1: "liver", 2: "spleen"}
    assert organs.metadata["label_colors"] == {1: "#00ff00", 2: "#0000ff"}
    assert tumour.metadata["label_names"] == {1: "tumour"}
    assert tumour.metadata["label_colors"] == {1: "#ff0000"}
    np.testing.assert_array_equal(tumour.array, layers[1])


@pytest.mark.parametrize(("space", "turn"), [("RAS", (1, 1, 1)), ("LPS", (-1, -1, 1))])
def test_a_slice_keeps_its_two_directions(
    tmp_path: Path, space: str, turn: tuple[int, int, int]
) -> None:
    path = nrrd(
        tmp_path,
        VOXELS[..., 0].tobytes("F"),
        dimension="2",
        sizes="3 4",
        space=space,
        space_directions="(0,1.2,0) (0,0.9,-1.2)",  # a sagittal slice, sheared
        kinds="domain domain",
    )
    refused(path, "does not state the voxel spacing", volume=0)
    with pytest.warns(HyperspaceWarning, match="sheared") as caught:
        volume = read(path, volume=0, spacing_mm=(1, 2, 3))
    assert len(caught) == 1 and "orientation_unknown" not in volume.metadata
    expected = np.array([(0, 1, 0), (0, 1.2, -1.6), (-3, 0, 0)]).T * np.reshape(turn, (3, 1))
    np.testing.assert_allclose(volume.affine[:3, :3], expected, atol=1e-12)
    np.testing.assert_array_equal(volume.affine[:3, 3], np.multiply((1, -2, 3), turn))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_without_a_direction_is_normal_to_the_others(tmp_path: Path, axis: int) -> None:
    columns = np.array([(0, 0.8, 0.6), (0, 0.6, -0.8), (-1, 0, 0)]).T  # right-handed
    stated = columns * (np.arange(3) != axis)
    directions = " ".join(f"({a},{b},{c})" for a, b, c in stated.T)
    sizes = [3, 4, 5]
    several = nrrd(tmp_path, space="RAS", space_directions=directions)
    refused(several, "does not state the voxel spacing")
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):  # it has two normals
        volume = read(several, spacing_mm=(1, 2, 3))
    assert volume.metadata["orientation_unknown"]
    np.testing.assert_allclose(volume.affine[:3, :3], columns * (1, 2, 3), atol=1e-12)
    sizes[axis] = 1
    one = nrrd(
        tmp_path,
        VOXELS.ravel()[: np.prod(sizes)].tobytes(),
        space="RAS",
        sizes=" ".join(map(str, sizes)),
        space_directions=directions,
    )
    volume = read(one, spacing_mm=(1, 2, 3))
    assert "orientation_unknown" not in volume.metadata
    np.testing.assert_allclose(volume.affine[:3, :3], columns * (1, 2, 3), atol=1e-12)


@pytest.mark.parametrize(
    "directions", ["(0,1,0) (0,0,0) (0,0,0)", "(0.1,0.2,0.3) (0,0,0) (0.3,0.6,0.9)"]
)
def test_one_direction_is_not_enough(tmp_path: Path, directions: str) -> None:
    path = nrrd(tmp_path, space_directions=directions)
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        volume = read(path, spacing_mm=(1, 2, 3))
    assert volume.metadata["orientation_unknown"] and volume.spacing_mm == (1, 2, 3)
