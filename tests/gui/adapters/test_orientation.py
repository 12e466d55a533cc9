"""Letters at the edges of the canvas and names of the sliders: right for the true axes."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Image

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import to_layer_data
from napari_hyperspace.gui.adapters.orientation import AxisNames, EdgeLetters, axis_ends

SHAPE = (5, 7, 3)


def scan(matrix, **metadata):
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = (41.5, -12, 63)
    array = np.zeros(SHAPE, np.int16)
    data, attributes, _ = to_layer_data(Volume(array, Grid(SHAPE, affine), "scan", metadata))
    return Image(data, **attributes)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("degrees", [0, 15])
def test_the_letters_are_those_of_the_file_in_any_order(axes, signs, degrees):
    """The oracle: a voxel is looked up in the file by its place on the screen, with nibabel."""
    turned = Rotation.from_euler("xyz", (degrees, -degrees / 2, degrees), degrees=True).as_matrix()
    matrix = turned @ (np.eye(3)[:, axes] * signs) @ np.diag([0.7, 0.8, 5.0])
    layer = scan(matrix)
    numbers = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    affine = np.eye(4)
    affine[:3, :3] = matrix
    shown, _, _ = to_layer_data(Volume(numbers, Grid(SHAPE, affine)))
    for axis, (low, high) in enumerate(axis_ends(layer)):
        ends = []
        for place in (0, -1):
            number = np.take(shown, place, axis).ravel()[0]
            ends.append(nibabel.affines.apply_affine(affine, np.argwhere(numbers == number)[0]))
        step = ends[1] - ends[0]
        nearest = int(np.abs(step).argmax())
        assert high[0] == ("LR", "PA", "IS")[nearest][int(step[nearest] > 0)]
        assert low[0] == ("RL", "AP", "SI")[nearest][int(step[nearest] > 0)]
        assert len(low) == len(high)


def test_canonical_order_is_superior_anterior_right_first():
    assert axis_ends(scan(np.diag([1.0, 2.0, 3.0]))) == (("S", "I"), ("A", "P"), ("R", "L"))


def test_a_tilt_of_more_than_twenty_degrees_has_a_second_letter():
    turned = Rotation.from_euler("x", 25, degrees=True).as_matrix()
    z, y, x = axis_ends(scan(turned))
    assert x == ("R", "L")
    assert {len(letter) for letter in (*z, *y)} == {2}
    # Tipped to the back: up is between Superior and Anterior, or the other way.
    assert z[0][0] == "S" and y[0][0] == "A"
    direction = Grid(SHAPE, np.block([[turned, np.zeros((3, 1))], [np.zeros((1, 3)), 1]]))
    up = -direction.canonical().affine[:3, 0]
    assert z[0][1] == ("A" if up[1] > 0 else "P")


def test_a_flip_or_turn_in_napari_moves_the_letters():
    layer = scan(np.eye(3))
    layer.scale = layer.scale * (1, 1, -1)
    assert axis_ends(layer)[2] == ("L", "R")


def test_an_unknown_orientation_is_marked():
    assert axis_ends(scan(np.eye(3), orientation_unknown=True))[0] == ("S?", "I?")
    assert axis_ends(Image(np.zeros(SHAPE)))[2] == ("R?", "L?")


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_layer(scan(np.diag([1.0, 2.0, 3.0])))
    return viewer


def test_sliders_are_named_and_layers_keep_names_and_units(viewer):
    names = AxisNames(viewer)
    layer = viewer.layers[0]
    names.show(layer)
    shown = ("z (S–I)", "y (A–P)", "x (R–L)")
    assert viewer.dims.axis_labels == shown
    added = viewer.add_layer(scan(np.diag([1.0, 2.0, 3.0])))
    viewer.layers.remove(added)
    assert viewer.dims.axis_labels == shown
    assert layer.axis_labels == ("z", "y", "x")
    assert {str(unit) for unit in viewer.layers.extent.units} == {"millimeter"}
    names.close()
    assert viewer.dims.axis_labels == ("z", "y", "x")


def test_names_that_others_gave_are_left_alone(viewer):
    names = AxisNames(viewer)
    viewer.dims.axis_labels = ("a", "b", "c")
    names.show(viewer.layers[0])
    assert viewer.dims.axis_labels == ("a", "b", "c")
    names.close()
    assert viewer.dims.axis_labels == ("a", "b", "c")


def test_four_dimensions_keep_the_name_of_time(viewer):
    names = AxisNames(viewer)
    viewer.add_layer(Image(np.zeros((2, *SHAPE)), axis_labels=("t", "z", "y", "x")))
    names.show(viewer.layers[0])
    assert viewer.dims.axis_labels == ("t", "z (S–I)", "y (A–P)", "x (R–L)")


@pytest.mark.parametrize(
    ("order", "letters"),
    [((0, 1, 2), "APRL"), ((1, 0, 2), "SIRL"), ((2, 0, 1), "SIAP"), ((0, 2, 1), "RLAP")],
)
def test_edges_have_the_letters_of_the_plane(viewer, order, letters):
    shown = EdgeLetters(viewer, axis_ends(viewer.layers[0]))
    viewer.dims.order = order
    places = ("top_center", "bottom_center", "middle_left", "middle_right")
    assert shown.texts() == dict(zip(places, letters, strict=True))


def test_letters_follow_the_camera_and_vanish_in_3d(viewer):
    before = set(viewer.canvas.overlays)
    shown = EdgeLetters(viewer, axis_ends(viewer.layers[0]))
    viewer.scene.camera.orientation2d = ("up", "left")
    assert "".join(shown.texts().values()) == "PALR"
    viewer.dims.ndisplay = 3
    assert shown.texts() == {}
    shown.close()
    assert set(viewer.canvas.overlays) == before
