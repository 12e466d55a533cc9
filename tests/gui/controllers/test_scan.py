"""Choosing the scan and correcting its spacing, whatever part of its placement holds it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from napari.layers import Image
from scipy.spatial.transform import Rotation

from napari_hyperspace.gui.adapters import layers as convert
from napari_hyperspace.gui.adapters.correction import CORRECTION_KEY
from napari_hyperspace.gui.adapters.viewer import camera_of, fit_to_view, show_opened_layer
from napari_hyperspace.gui.controllers.dock import DockController

TURNED = np.eye(4)
TURNED[:3, :3] = Rotation.from_euler("zyx", [20, -35, 50], degrees=True).as_matrix() * [2, 0.5, 3]
TURNED[:3, 3] = (7, -30, 11)


def steps(layer):
    """World steps from a voxel to the next along each array axis, one per row."""
    corner = np.array(layer.data_to_world((0, 0, 0)))
    return np.array([layer.data_to_world(one) - corner for one in np.eye(3)])


def correct(controller, view, layer, spacing):
    controller.scan.choose(str(id(layer)))
    view.answers["ask_spacing"] = [spacing]
    controller.scan.correct_spacing()
    return view.asked[-1][1][2]  # the initial value of the dialog


def test_a_scan_without_units_gets_a_message(qtbot, view, services):
    viewer = ViewerModel()
    viewer.add_layer(Image(np.zeros((3, 4, 5))))
    controller = DockController(viewer, view, view, services)
    assert any("pixel" in args[0] for args in view.messages)
    controller.close()


def chosen(controller):
    return [layer.name for layer in controller.layers.layers]


def test_the_box_follows_the_selected_image(controller, viewer, qtbot, results, run, make_scan):
    run(qtbot, controller)
    (labels,) = results(viewer)
    other = viewer.add_layer(make_scan(name="other"))
    assert chosen(controller) == ["other"]  # napari selects what is added
    viewer.layers.selection.active = viewer.layers["scan"]
    assert chosen(controller) == ["scan"]
    viewer.layers.selection.active = other
    viewer.layers.selection.active = labels  # they were made from the first scan
    assert chosen(controller) == ["scan"]
    viewer.layers.selection.active = None
    assert chosen(controller) == ["scan"]
    mine = viewer.add_labels(np.ones((12, 14, 16), int), name="mine")
    assert chosen(controller) == ["scan"] and viewer.layers.selection.active is mine


def test_the_hidden_ones_of_several_opened_scans_are_not_chosen(controller, viewer, make_scan):
    viewer.add_layer(make_scan(name="hidden", visible=False))
    assert chosen(controller) == ["scan"]
    viewer.layers.selection.active = viewer.layers["scan"]
    viewer.layers.selection.active = viewer.layers["hidden"]  # by the user
    assert chosen(controller) == ["hidden"]


def test_a_scan_that_is_opened_second_is_shown_instead_of_the_first(
    controller, viewer, view, qtbot, results, run, oblique_volume
):
    run(qtbot, controller)
    view.show_message("about the first scan")
    data, attributes, _ = convert.to_layer_data(oblique_volume)
    second = viewer.add_layer(Image(data, **attributes))
    qtbot.waitUntil(lambda: not viewer.layers["scan"].visible)
    assert view.last("message") == ("", "plain")
    assert [one.name for one in viewer.layers if one.visible] == ["oblique"]
    assert chosen(controller) == ["oblique"]
    assert viewer.layers.selection.active is second
    center = second.extent.world.mean(axis=0)
    assert np.abs(np.array(viewer.dims.point) - center).max() <= max(second.scale)
    np.testing.assert_allclose(viewer.scene.camera.center[1:], center[1:])
    assert view.last("structures") == ((), "", False)
    assert view.last("ready")["save"] is False


def test_a_small_scan_opened_beside_a_large_one_fills_the_view(viewer):
    """napari fits the view to all layers, also to hidden ones."""
    viewer.layers.clear()
    large = viewer.add_image(np.zeros((90, 200, 120)), scale=(2, 1, 1), units=("mm",) * 3)
    show_opened_layer(viewer, large)
    whole = camera_of(viewer).zoom
    offset = (-30.0, 10.0, 5.0)
    small = viewer.add_image(
        np.zeros((35, 25, 20)), scale=(1, 2, 1), translate=offset, units=("mm",) * 3
    )
    show_opened_layer(viewer, small)
    everything = np.ptp(viewer.layers.extent.world, axis=0)
    own = np.ptp(small.extent.world, axis=0)
    fit_to_view(viewer)
    fitted = camera_of(viewer).zoom
    show_opened_layer(viewer, small)
    assert camera_of(viewer).zoom == pytest.approx(fitted * min((everything / own)[1:]))
    assert camera_of(viewer).zoom > 3 * whole
    center = small.extent.world.mean(axis=0)
    assert camera_of(viewer).center[-2:] == pytest.approx(center[1:])
    assert viewer.dims.point[0] == pytest.approx(center[0], abs=1)
    assert not large.visible


def test_a_scan_that_is_chosen_in_the_box_is_shown(controller, viewer, qtbot, results, run):
    run(qtbot, controller)
    far = viewer.add_layer(Image(np.ones((5, 6, 7)), units="mm", name="far", translate=(0, 0, 500)))
    first = viewer.layers["scan"]
    for layer, other in ((far, first), (first, far)):
        controller.scan.choose(str(id(layer)))
        assert layer.visible and not other.visible
        low, high = layer.extent.world
        assert (low[2] <= viewer.scene.camera.center[2]) and (
            viewer.scene.camera.center[2] <= high[2]
        )
    assert not results(viewer)[0].visible  # it can be shown again by hand


@pytest.mark.parametrize(
    ("shape", "rgb", "hint"),
    [
        ((5, 6, 7, 3), True, "“odd” is a color image; "),
        ((4, 5, 6, 7), False, "“odd” has 4 axes; "),
        ((6, 7), False, "“odd” is 2-D; "),
    ],
)
def test_an_image_that_cannot_be_segmented_is_explained(controller, viewer, view, shape, rgb, hint):
    viewer.layers.clear()
    assert view.last("scan") == ("",)
    layer = viewer.add_layer(Image(np.zeros(shape, np.uint8), rgb=rgb, name="odd"))
    text, shown = view.last("scan")
    assert text == ""
    assert shown.startswith(f"{hint}a scan is a 3-D image of one channel. ")
    viewer.layers.remove(layer)
    assert view.last("scan") == ("",)


def test_correcting_the_spacing_of_a_scan(controller, viewer, view, qtbot):
    view.answers["ask_spacing"] = [(5.0, 0.7, 0.7)]
    controller.scan.correct_spacing()
    layer = viewer.layers["scan"]
    np.testing.assert_array_equal(layer.scale, (5.0, 0.7, 0.7))
    assert view.last("scan") == ("12 × 14 × 16 · 5 × 0.7 × 0.7 mm · spacing corrected",)
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)


@pytest.mark.parametrize(
    ("placed", "offered"),
    [
        ({"affine": np.diag([2.0, 2, 2, 1])}, (2, 2, 2)),
        ({"scale": (-1.0, 1, 0.5)}, (1, 1, 0.5)),
        ({"scale": (1.5, -1, 2), "affine": TURNED, "translate": (3, 4, 5)}, (3, 0.5, 6)),
        ({"scale": (2.0, 1, 1), "rotate": (10, 20, 30), "shear": (0.1, 0, 0)}, None),
    ],
)
@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing:UserWarning")  # napari's
def test_the_corrected_spacing_is_set_and_the_axes_keep_their_directions(
    controller, viewer, view, placed, offered
):
    layer = viewer.add_layer(Image(np.zeros((7, 5, 6)), units="mm", name="odd", **placed))
    before, corner = steps(layer), layer.data_to_world((0, 0, 0))
    proposed = correct(controller, view, layer, (3.0, 1.0, 0.7))
    lengths = np.linalg.norm(before, axis=1)
    np.testing.assert_allclose(proposed, lengths)
    if offered:
        np.testing.assert_allclose(proposed, offered)
    np.testing.assert_allclose(
        steps(layer), before / lengths[:, None] * [[3.0], [1.0], [0.7]], atol=1e-12
    )
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), corner)
    assert view.last("scan")[0].startswith("7 × 5 × 6 · 3 × 1 × 0.7 mm")


def test_units_of_length_are_kept_and_others_become_mm(controller, viewer, view):
    for units, there in (("um", 1e-3), ("pixel", 1.0)):
        scale = (2000.0, 500, 500) if units == "um" else (2.0, 0.5, 0.5)
        layer = viewer.add_layer(Image(np.zeros((7, 5, 6)), units=units, scale=scale, name=units))
        assert correct(controller, view, layer, (3.0, 1.0, 0.7)) == pytest.approx((2, 0.5, 0.5))
        np.testing.assert_allclose(np.multiply(layer.scale, there), (3, 1, 0.7))
        assert {str(one) for one in layer.units} == {
            "micrometer" if units == "um" else "millimeter"
        }


def test_each_channel_is_rescaled_by_its_own_factors(controller, viewer, view, services, qtbot):
    services.models["other"].in_channels = 2
    first, second = viewer.layers["scan"], Image(np.zeros((12, 14, 16)), units="mm")
    second.affine, second.scale = np.diag([4.0, 1, 1, 1]), (0.5, -1, 1)
    viewer.add_layer(second)
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.models.model is not None)
    assert correct(controller, view, first, (3.0, 1.0, 1.5)) == (1, 1, 1)
    np.testing.assert_allclose(first.scale, (3, 1, 1.5))
    np.testing.assert_allclose(second.scale, (0.75, -1, 1.5))


def test_an_oblique_file_is_rescaled_along_its_own_axes(controller, viewer, view, oblique_volume):
    data, attributes, _ = convert.to_layer_data(oblique_volume)
    layer = viewer.add_layer(Image(data, **attributes))
    correct(controller, view, layer, (6.0, 0.9, 0.8))
    after = convert.to_volume(*layer.as_layer_data_tuple()[:2])
    np.testing.assert_allclose(after.grid.canonical().spacing_mm, (6.0, 0.9, 0.8))
    np.testing.assert_allclose(after.grid.directions, oblique_volume.grid.directions, atol=1e-12)


@pytest.mark.parametrize("scale", [(5.000000001, 0.1018, 0.41015625001), (-1 / 3, 0.7, 2.2)])
def test_what_is_not_edited_stays_bit_identical(controller, viewer, view, scale):
    layer = viewer.add_layer(Image(np.zeros((7, 5, 6)), units="mm", scale=scale, name="odd"))
    controller.scan.choose(str(id(layer)))
    shown = tuple(layer.scale)
    for edited in (shown, (shown[0], 0.25, shown[2])):
        view.answers["ask_spacing"] = [tuple(abs(step) for step in edited)]
        controller.scan.correct_spacing()
        np.testing.assert_array_equal(layer.scale, edited)
        assert (CORRECTION_KEY in layer.metadata) == (edited != shown)


def test_a_corrected_scan_is_marked_and_can_be_reset(controller, viewer, view):
    layer = viewer.add_layer(Image(np.zeros((7, 5, 6)), scale=(-1 / 3, 0.7, 2.2), name="odd"))
    before, offered = np.array(layer.scale), correct(controller, view, layer, (1.0, 0.7, 2.5))
    assert "spacing corrected" in view.last("scan")[0]
    assert view.asked[-1][1][3] is None
    correct(controller, view, layer, (1.0, 0.8, 2.5))
    assert view.asked[-1][1][3] == offered
    correct(controller, view, layer, offered)
    np.testing.assert_array_equal(layer.scale, before)
    assert {str(unit) for unit in layer.units} == {"pixel"}
    assert "spacing corrected" not in view.last("scan")[0]


def test_the_preview_lies_on_the_corrected_scan(controller, viewer, view, qtbot, previews):
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    layer = viewer.layers["scan"]
    correct(controller, view, layer, (2.0, 1.0, 1.5))
    assert previews(viewer) == []
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    (preview,) = previews(viewer)
    np.testing.assert_allclose(steps(preview), np.diag([2.0, 1.0, 1.5]))
    layer.affine = np.diag([1.0, -1.0, 3.0, 1.0])
    assert previews(viewer) == []
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    np.testing.assert_allclose(steps(previews(viewer)[0]), steps(layer), atol=1e-12)
