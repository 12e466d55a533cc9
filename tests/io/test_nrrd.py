"""What NRRD files alone have: segments in 3D Slicer's manner, directions in part."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_hyperspace.io import read, write

from .text_files import nrrd


def test_label_names_and_colours_survive(tmp_path: Path) -> None:
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
    segments = (  # label value, layer (None: not stated), name, colour
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
