"""Three planes of the same layers: shared arrays, one position, and the way back."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Image, Labels, Points

from napari_hyperspace.gui.adapters.label_attributes import label_attributes
from napari_hyperspace.gui.adapters.planes import ThreePlanes

PLACED = {"scale": (4.0, 0.5, 1.5), "translate": (10.0, -3.0, 7.0), "units": "mm"}
SHAPE = (5, 12, 9)


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    rng = np.random.default_rng(0)
    viewer.add_layer(Image(rng.normal(size=SHAPE), name="scan", **PLACED))
    names = label_attributes({1: "front", 2: "back"}, {1: "#ff0000", 2: "#00ff00"})
    values = rng.integers(0, 3, SHAPE).astype(np.uint8)
    viewer.add_layer(Labels(values, name="labels", **PLACED, **names))
    return viewer


def at_once(action):
    action()


@pytest.fixture
def planes(viewer):
    return ThreePlanes(viewer, viewer.layers["scan"], at_once)


def models(viewer, planes):
    return (viewer, planes.coronal, planes.sagittal)


def test_each_view_shows_its_plane_of_the_same_arrays(viewer, planes):
    shown = [model.dims.displayed for model in models(viewer, planes)]
    assert shown == [(1, 2), (0, 2), (0, 1)]
    for model in (planes.coronal, planes.sagittal):
        assert [layer.name for layer in model.layers] == ["scan", "labels", "cross-hair"]
        for name in ("scan", "labels"):
            assert model.layers[name].data is viewer.layers[name].data
            np.testing.assert_array_equal(model.layers[name].scale, PLACED["scale"])
        assert {str(unit) for unit in model.layers.extent.units} == {"millimeter"}


def test_the_cross_hair_changes_neither_steps_nor_ends_of_the_sliders(viewer):
    before = viewer.dims.range
    planes = ThreePlanes(viewer, viewer.layers["scan"], at_once)
    assert [model.dims.range for model in models(viewer, planes)] == [before] * 3


def test_a_slider_moves_all_views(viewer, planes):
    for i, model in enumerate(models(viewer, planes)):
        position = tuple(viewer.layers["scan"].data_to_world((i + 1, 2 * i, i)))
        model.dims.set_point((0, 1, 2), position)
        for other in models(viewer, planes):
            assert other.dims.point == pytest.approx(position)


def test_the_other_views_follow_once_for_quick_moves(viewer):
    waiting = []
    planes = ThreePlanes(viewer, viewer.layers["scan"], waiting.append)
    before = planes.coronal.dims.point
    for index in (1, 3, 4):
        viewer.dims.set_current_step(0, index)
    assert planes.coronal.dims.point == before
    (follow,) = waiting
    follow()
    assert planes.coronal.dims.point == planes.sagittal.dims.point == viewer.dims.point
    viewer.dims.set_current_step(0, 2)
    planes.close()
    waiting[-1]()  # too late: nothing is shown any more


def click(planes, model, position, *, moved=0, **event):
    event = SimpleNamespace(
        **{"button": 1, "modifiers": (), "type": "mouse_press", "pos": (100, 100)} | event,
        position=position,
    )
    callbacks = model.mouse_drag_callbacks
    (callback,) = (one for one in callbacks if getattr(one, "__self__", None) is planes)
    steps = callback(model, event)
    try:
        next(steps)
        event.type, event.pos = "mouse_move", (100 + moved, 100)
        next(steps)
        event.type = "mouse_release"
        next(steps)
    except StopIteration:
        pass


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_click_moves_all_views_to_the_nearest_voxel(viewer, planes, which):
    scan = viewer.layers["scan"]
    voxel = np.array((3, 7, 2))
    clicked = scan.data_to_world(np.add(voxel, (0.3, -0.4, 0.2)))
    click(planes, models(viewer, planes)[which], clicked)
    for model in models(viewer, planes):
        np.testing.assert_allclose(scan.world_to_data(model.dims.point), voxel, atol=1e-9)


def test_dragging_pans_and_painting_paints(viewer, planes):
    before = viewer.dims.point
    position = viewer.layers["scan"].data_to_world((0, 0, 0))
    click(planes, viewer, position, moved=30)
    click(planes, viewer, position, button=2)
    click(planes, viewer, position, modifiers=("Shift",))
    viewer.layers.selection.active = viewer.layers["labels"]
    viewer.layers["labels"].mode = "paint"
    click(planes, viewer, position)
    assert viewer.dims.point == before
    viewer.layers["labels"].mode = "pan_zoom"
    click(planes, viewer, position, moved=2)
    assert viewer.dims.point == pytest.approx(tuple(position))


def test_the_lines_meet_in_the_position_and_leave_it_free(viewer, planes):
    scan = viewer.layers["scan"]
    position = np.asarray(scan.data_to_world((2, 4, 5)))
    planes.move_to(position)
    low, high = scan.extent.world
    for model in models(viewer, planes):
        layer = model.layers["cross-hair"]
        lines = np.asarray(layer.data, dtype=np.float64)
        starts = np.array([layer.data_to_world(start) for start in lines[:, 0]])
        ends = np.array([layer.data_to_world(start + step) for start, step in lines])
        for axis in range(3):
            others = [other for other in range(3) if other != axis]
            for line in (2 * axis, 2 * axis + 1):
                np.testing.assert_allclose(starts[line, others], position[others], rtol=1e-5)
                np.testing.assert_allclose(ends[line, others], position[others], rtol=1e-5)
            assert starts[2 * axis, axis] == pytest.approx(low[axis], rel=1e-5)
            assert ends[2 * axis + 1, axis] == pytest.approx(high[axis], rel=1e-5)
            assert ends[2 * axis, axis] <= position[axis] <= starts[2 * axis + 1, axis]


def test_copies_follow_their_originals(viewer, planes):
    scan, labels = viewer.layers["scan"], viewer.layers["labels"]
    copies = [model.layers for model in (planes.coronal, planes.sagittal)]
    scan.contrast_limits = (-1, 2)
    labels.visible, labels.opacity, labels.contour = False, 0.3, 2
    labels.colormap = label_attributes({}, {1: "#0000ff"})["colormap"]
    for layers in copies:
        assert layers["scan"].contrast_limits == [-1, 2]
        copy = layers["labels"]
        assert (copy.visible, copy.opacity, copy.contour) == (False, 0.3, 2)
        np.testing.assert_array_equal(copy.colormap.map(1), (0, 0, 1, 1))
    labels.data_setitem(tuple(np.argwhere(labels.data == 1)[0]), 2)
    scan.scale = (2, 1, 1)
    scan.data = scan.data[:, :5] + 0
    for layers in copies:
        assert layers["labels"].data is labels.data
        assert layers["scan"].data is scan.data
        np.testing.assert_array_equal(layers["scan"].scale, (2, 1, 1))


def test_layers_come_go_and_move_in_all_views(viewer, planes):
    viewer.add_layer(Points(np.zeros((1, 3))))
    viewer.add_layer(Image(np.zeros((2, *SHAPE)), name="series"))
    viewer.add_layer(Labels(np.zeros(SHAPE, np.uint8), name="new", **PLACED))
    viewer.layers.move(viewer.layers.index(viewer.layers["new"]), 0)
    viewer.layers.remove("labels")
    for model in (planes.coronal, planes.sagittal):
        assert [layer.name for layer in model.layers] == ["new", "scan", "cross-hair"]


def test_afterwards_everything_is_as_before(viewer):
    viewer.dims.order = (2, 0, 1)
    viewer.layers.selection.active = viewer.layers["labels"]

    def state():
        return (
            [layer.name for layer in viewer.layers],
            (viewer.dims.order, viewer.dims.ndisplay, viewer.dims.range),
            viewer.layers.selection.active,
            viewer.canvas.overlays.scale_bar.visible,
            (viewer.scene.camera.zoom, viewer.scene.camera.center),
            set(viewer.canvas.overlays),
            len(viewer.mouse_drag_callbacks),
        )

    before = state()
    planes = ThreePlanes(viewer, viewer.layers["scan"], at_once)
    assert viewer.dims.displayed == (1, 2)
    assert viewer.canvas.overlays.scale_bar.visible
    viewer.scene.camera.zoom = 7
    planes.close()
    assert state() == before
    viewer.layers["scan"].contrast_limits = (-3, 3)  # nothing follows any more


def test_deleting_everything_meanwhile(viewer, planes):
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    planes.close()
    assert len(viewer.layers) == 0
