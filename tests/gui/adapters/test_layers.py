from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("napari")
from napari.layers import Image, Labels, Layer

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.structures import LABEL_COLORS
from napari_hyperspace.core.volume import Laterality, Volume
from napari_hyperspace.gui.adapters import readers
from napari_hyperspace.gui.adapters.layers import (
    METADATA_KEY,
    OPACITY,
    RESULT_KEY,
    label_sides,
    take,
    to_layer_data,
    to_volume,
)
from napari_hyperspace.io import read, write
from tests.io.test_record import RECORD


def layer_of(volume, kind="image"):
    return Layer.create(*to_layer_data(volume, kind))


def same_volume(a: Volume, b: Volume) -> bool:
    return a.grid == b.grid and np.array_equal(a.array, b.array)


def ras_of_layer_voxel(layer, index):
    """Return where napari draws a voxel: world (z, y, x) is (-S, -A, -R)."""
    z, y, x = layer.data_to_world(index)
    return np.array([-x, -y, -z])


def test_an_axis_aligned_volume_is_drawn_at_its_position():
    affine = np.array([[-0.7, 0, 0, 80.5], [0, 0, 3.0, -20], [0, 1.25, 0, 7], [0, 0, 0, 1]])
    array = np.arange(4 * 6 * 5).reshape(4, 6, 5)
    layer = layer_of(Volume(array, Grid((4, 6, 5), affine), "scan"))
    assert layer.data.shape == (6, 5, 4)  # (z, y, x) = array axes (1, 2, 0)
    np.testing.assert_allclose(layer.scale, (1.25, 3.0, 0.7))
    for index in np.ndindex(4, 6, 5):
        position = affine[:3, :3] @ index + affine[:3, 3]
        world = (-position[2], -position[1], -position[0])
        shown = tuple(np.round(layer.world_to_data(world)).astype(int))
        assert layer.data[shown] == array[index]


def test_layers_are_upright_in_mm(oblique_volume):
    data, attributes, kind = to_layer_data(oblique_volume)
    layer = Layer.create(data, attributes, kind)
    assert tuple(str(unit) for unit in layer.units) == ("millimeter",) * 3
    assert layer.axis_labels == ("z", "y", "x")
    np.testing.assert_array_equal(layer.rotate, np.eye(3))
    canonical = oblique_volume.grid.canonical()
    np.testing.assert_allclose(layer.scale, canonical.spacing_mm)
    # Rotated about the center, which stays where it is.
    middle = (np.array(layer.data.shape) - 1) / 2
    np.testing.assert_allclose(ras_of_layer_voxel(layer, middle), oblique_volume.grid.center_mm)


def test_the_true_affine_comes_back_bit_for_bit(oblique_volume):
    layer = layer_of(oblique_volume)
    back = to_volume(*layer.as_layer_data_tuple()[:2])
    assert same_volume(back, oblique_volume)
    assert back.metadata["path"] == "/scans/oblique.nii"
    assert same_volume(take(layer).volume(), oblique_volume)


@st.composite
def volumes(draw):
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    spacing = draw(st.tuples(*[st.floats(0.2, 8)] * 3))
    angles = draw(st.tuples(*[st.floats(-0.5, 0.5)] * 3))
    affine = np.eye(4)
    affine[:3, :3] = rotation(angles)[:, order] * np.multiply(signs, spacing)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    return Volume(np.arange(np.prod(shape)).reshape(shape), Grid(shape, affine), "any")


def rotation(angles):
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [k for k in range(3) if k != axis]
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    return matrix


@settings(max_examples=60, deadline=None)
@given(volumes())
def test_round_trip_of_any_volume(volume):
    data, attributes, _ = to_layer_data(volume)
    assert same_volume(to_volume(data, attributes), volume)
    labels, attributes, _ = to_layer_data(volume, "labels")
    assert labels.flags.writeable
    assert same_volume(to_volume(labels, attributes), volume)


def test_a_foreign_layer_is_what_napari_shows():
    affine = np.eye(4)
    affine[:3, :3] = [[2.0, 0, 0], [0, 0, 1.0], [0, 0.5, 0]]
    affine[:3, 3] = (3, 4, 5)
    data = np.arange(24.0).reshape(2, 3, 4)
    layer = Image(data, scale=(-3, 1.5, 0.8), translate=(10, 20, 30), affine=affine, units="mm")
    volume = take(layer).volume()
    np.testing.assert_allclose(volume.spacing_mm, (3 * 2.0, 1.5 * 0.5, 0.8 * 1.0))
    np.testing.assert_array_equal(volume.array, data)
    for index in np.ndindex(2, 3, 4):
        np.testing.assert_allclose(
            volume.grid.index_to_mm(index), ras_of_layer_voxel(layer, index), atol=1e-9
        )


def test_units_are_converted_or_noted():
    micrometers = Image(np.zeros((2, 3, 4)), scale=(500, 250, 125), units=("um",) * 3)
    source = take(micrometers)
    np.testing.assert_allclose(source.placement.grid.spacing_mm, (0.5, 0.25, 0.125))
    assert source.placement.note == ""
    pixels = take(Image(np.zeros((2, 3, 4)), scale=(5, 2, 1)))
    np.testing.assert_allclose(pixels.placement.grid.spacing_mm, (5, 2, 1))
    assert "pixel" in pixels.placement.note


def test_a_spacing_changed_in_napari_is_used(oblique_volume):
    layer = layer_of(oblique_volume)
    drawn_first = np.zeros(3, int)
    orientation = oblique_volume.grid.orientation
    for axis, flip in zip(orientation.axes, orientation.flips, strict=True):
        drawn_first[axis] = oblique_volume.shape[axis] - 1 if flip else 0
    layer.scale = (9.0, 0.5, 0.25)
    volume = take(layer).volume()
    np.testing.assert_allclose(volume.grid.canonical().spacing_mm, (9.0, 0.5, 0.25))
    np.testing.assert_allclose(volume.grid.directions, oblique_volume.grid.directions)
    np.testing.assert_allclose(
        volume.grid.index_to_mm(drawn_first), oblique_volume.grid.index_to_mm(drawn_first)
    )
    np.testing.assert_array_equal(volume.array, oblique_volume.array)


def test_metadata_of_another_grid_is_ignored(oblique_volume):
    """Other plug-ins copy the metadata to layers that they crop."""
    layer = layer_of(oblique_volume)
    cropped = Image(layer.data[:2], scale=layer.scale, metadata=layer.metadata, units="mm")
    volume = take(cropped).volume()
    assert volume.shape == (2, *layer.data.shape[1:])
    np.testing.assert_allclose(volume.spacing_mm, layer.scale)


@pytest.mark.parametrize("ours", [True, False])
def test_a_result_has_the_geometry_of_its_image(oblique_volume, ours):
    if ours:
        layer = layer_of(oblique_volume)
    else:
        layer = Image(
            np.zeros((3, 4, 5)),
            scale=(3, 1, 0.5),
            translate=(1, 2, 3),
            rotate=30,
            shear=(0.1, 0, 0),
            affine=np.diag([2, 1, 1, 1]),
            units=("mm", "um", "mm"),
            axis_labels=("p", "q", "r"),
            metadata={"note": "kept"},
        )
    source = take(layer)
    values = np.zeros(source.placement.grid.shape, np.uint8)
    values[-1, 0, 0] = 2
    labels = Volume(values, source.placement.grid)
    result = Layer.create(
        *source.result_layer_data(
            labels, "out", {1: "front", 2: "back"}, {1: "#ff0000", 2: "#00ff80"}, {"model": "m"}
        )
    )
    assert isinstance(result, Labels)
    assert result.data.shape == layer.data.shape
    facts = {"image": layer.name, "model": "m"}
    assert result.metadata == {**layer.metadata, "hyperspace_result": facts}
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_array_equal(getattr(result, name), getattr(layer, name))
    np.testing.assert_array_equal(result.affine.affine_matrix, layer.affine.affine_matrix)
    assert result.units == layer.units
    assert result.axis_labels == layer.axis_labels
    np.testing.assert_allclose(result.get_color(2), (0, 1, 128 / 255, 1), atol=1e-3)
    assert result.features.to_dict("list") == {
        "index": [0, 1, 2],
        "name": ["background", "front", "back"],
    }
    back = to_volume(*result.as_layer_data_tuple()[:2])
    assert back.grid == source.placement.grid
    np.testing.assert_array_equal(back.array, values)
    assert back.metadata["label_names"] == {1: "front", 2: "back"}
    assert back.metadata["label_colors"] == {1: "#ff0000", 2: "#00ff80"}


def test_sides_are_kept_with_the_labels():
    sides = {1: Laterality("left", "Rinde"), 2: Laterality("right", "Rinde")}
    source = take(Image(np.zeros((3, 4, 5))))
    grid = source.placement.grid
    labels = Volume(np.ones(grid.shape, np.uint8), grid, "", {"label_sides": sides})
    result = Layer.create(*source.result_layer_data(labels, "out", {}, {}, {"model": "m"}))
    opened = Layer.create(*to_layer_data(labels, "labels"))
    for layer in (result, opened):
        assert label_sides(layer) == sides
        back = to_volume(*layer.as_layer_data_tuple()[:2])
        assert back.metadata["label_sides"] == sides
    assert label_sides(Layer.create(*to_layer_data(Volume(labels.array, grid)))) == {}


def test_a_block_is_drawn_on_its_voxels():
    layer = Image(
        np.zeros((6, 7, 8)), scale=(3, 1, 0.5), translate=(1, 2, 3), rotate=20, units="mm",
        affine=np.diag([1, 2, 1, 1]),
    )  # fmt: skip
    source = take(layer)
    block = Layer.create(
        *source.block_layer_data(np.ones((2, 3, 4), int), (2, 1, 3), "preview", {}, {})
    )
    for index in np.ndindex(2, 3, 4):
        np.testing.assert_allclose(
            block.data_to_world(index), layer.data_to_world(np.add(index, (2, 1, 3)))
        )
        np.testing.assert_allclose(
            source.world_to_index(block.data_to_world(index)), np.add(index, (2, 1, 3))
        )
    assert METADATA_KEY not in block.metadata


@pytest.mark.parametrize(
    ("shape", "rgb"), [((4, 5), False), ((2, 3, 4, 5), False), ((4, 5, 6, 3), True)]
)
def test_only_3d_images_of_one_channel_are_taken(shape, rgb):
    """Fault 21 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match=r"3-D") as error:
        take(Image(np.zeros(shape), rgb=rgb, name="odd"))
    assert error.value.where == "odd"
    assert error.value.fix


def test_fractional_labels_are_refused():
    """Fault 28 of the list of bad inputs."""
    volume = Volume(np.full((2, 2, 2), 0.5), Grid((2, 2, 2), np.eye(4)), "mask")
    with pytest.raises(HyperspaceError, match="8 fractional"):
        to_layer_data(volume, "labels")


def test_the_finest_level_of_a_multiscale_layer_is_used():
    fine = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    layer = Image([fine, fine[::2, ::2, ::2]], multiscale=True, scale=(2, 1, 1), units="mm")
    np.testing.assert_array_equal(take(layer).volume().array, fine)
    data, attributes, _ = layer.as_layer_data_tuple()
    np.testing.assert_array_equal(to_volume(data, attributes).array, fine)


def test_a_result_of_a_file_is_a_result_again(tmp_path):
    array = np.zeros((3, 4, 5), np.uint8)
    array[1, 2, 3], array[2, 2, 2] = 1, 7
    affine = [[0, 1.25, 0, -7.5], [-0.75, 0, 0, 3], [0, 0, 2.5, 63], [0, 0, 0, 1]]
    grid = Grid((3, 4, 5), np.array(affine))
    metadata = {"label_names": {1: "a", 7: "b"}, "label_colors": {7: "#010203"}, "record": RECORD}
    write(Volume(array, grid, "a", metadata), tmp_path / "a.nii.gz")
    (layer,) = readers.read_layers(str(tmp_path / "a.nii.gz"))
    _, attributes, kind = layer
    assert kind == "labels"
    result = attributes["metadata"][RESULT_KEY]
    assert result["record"] == RECORD
    assert attributes["opacity"] == OPACITY
    assert result["model"] == RECORD.model
    assert result["working_spacing_mm"] == RECORD.spacing_mm
    again = to_volume(layer[0], attributes)
    assert again.metadata["record"] == RECORD
    assert again.metadata["label_names"] == metadata["label_names"]
    assert again.metadata["label_colors"] == {1: LABEL_COLORS[0], 7: "#010203"}
    write(again, tmp_path / "b.nii.gz")
    assert read(tmp_path / "b.nii.gz").metadata["record"] == RECORD
