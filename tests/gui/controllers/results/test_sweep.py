"""A sweep in the viewer: its layer, its choices, stopping it, the stability map."""

from __future__ import annotations

import csv
import threading

import numpy as np
import pytest

pytest.importorskip("pytestqt")

from napari.layers import Image, Labels

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import PostprocessingOptions, Volume
from napari_hyperspace.gui.adapters.layers import RESULT_KEY, take, to_layer_data
from napari_hyperspace.gui.adapters.regions import box_of_volume, rectangle_box, visible_box
from napari_hyperspace.gui.adapters.viewer import image_layers
from napari_hyperspace.gui.models.sweep import SweepChoices, default_choices, trained_along
from tests.gui.sweep_services import SweepServices


@pytest.fixture
def services() -> SweepServices:
    return SweepServices()


@pytest.fixture
def states(controller):
    seen = []
    controller.sweep.changed.connect(seen.append)
    return seen


def labels_of(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def sweep(controller, qtbot, low=1.0, high=4.0, count=3, **choices):
    controller.sweep.set_choices(SweepChoices(low, high, count, **choices))
    controller.sweep.start()
    qtbot.waitUntil(lambda: not controller.running)
    name = f"fake {low:g} mm, sweep · scan"
    qtbot.waitUntil(lambda: name in controller.viewer.layers)


def test_each_spacing_is_shown_in_one_labels_layer(controller, viewer, qtbot, states, services):
    sweep(controller, qtbot)
    assert [run[1][0] for run in services.runs] == pytest.approx([4, 2, 1])
    (layer,) = labels_of(viewer)
    scan = viewer.layers["scan"]
    assert layer.name == "fake 1 mm, sweep · scan"
    np.testing.assert_array_equal(layer.scale, scan.scale)
    assert layer.units == scan.units
    labels = np.digitize(scan.data, np.quantile(scan.data, (0.9, 0.97)))
    np.testing.assert_array_equal(layer.data[2:], labels[2:])
    assert not layer.data[:2].any()
    curves = states[-1].curves
    assert curves.positions_mm == pytest.approx((1, 2, 4)) and curves.shown == 0
    assert curves.trained == (0.8, 4.0) and curves.mean_dice[0] == 1
    assert curves.structures[0].volumes_ml[0] == (layer.data == 1).sum() / 1000
    controller.sweep.choose(2)
    qtbot.waitUntil(lambda: layer.name == "fake 4 mm, sweep · scan")
    assert labels_of(viewer) == [layer] and not layer.data[:8].any()
    assert controller.choices.spacing_mm == pytest.approx((4, 4, 4))
    assert states[-1].curves.shown == 2 and states[-1].shown.startswith("Shown: 4 mm · Dice")
    assert layer.metadata["hyperspace_result"]["working_spacing_mm"] == pytest.approx((4, 4, 4))


def test_labels_that_were_painted_on_are_left_to_the_user(controller, viewer, qtbot):
    sweep(controller, qtbot)
    (layer,) = labels_of(viewer)
    layer.paint((5, 5, 5), 7)
    controller.sweep.choose(1)
    qtbot.waitUntil(lambda: len(labels_of(viewer)) == 2)
    assert layer.data[5, 5, 5] == 7


def test_a_chosen_spacing_is_shown_instead_of_a_later_run(controller, viewer, qtbot):
    sweep(controller, qtbot)
    (layer,) = labels_of(viewer)
    controller.segmentation.run()
    qtbot.waitUntil(lambda: not controller.running and len(labels_of(viewer)) == 2)
    assert not layer.visible
    controller.sweep.choose(1)
    qtbot.waitUntil(lambda: layer.visible)
    assert [one.visible for one in labels_of(viewer)] == [True, False]


def test_what_is_finished_is_kept_when_a_sweep_is_cancelled(
    controller, viewer, qtbot, services, states, view
):
    services.gate = threading.Event()
    services.gate.set()
    controller.sweep.set_choices(SweepChoices(1, 4, 3))

    def hold(state):
        if state.curves is not None and len(state.curves.positions_mm) == 2:
            services.gate.clear()

    services.step_seconds = 0.03
    controller.sweep.changed.connect(hold)
    controller.sweep.start()
    qtbot.waitUntil(lambda: not services.gate.is_set())
    ready = view.last("ready")
    assert ready["cancel"] and not ready["run"]
    controller.segmentation.cancel()
    qtbot.waitUntil(lambda: not controller.running and bool(labels_of(viewer)))
    assert states[-1].curves.positions_mm == pytest.approx((2, 4))
    assert states[-1].can_start
    controller.sweep.choose(1)
    qtbot.waitUntil(lambda: labels_of(viewer)[0].name.startswith("fake 4 mm"))


def test_a_sweep_stops_when_its_scan_is_removed(controller, viewer, qtbot, services, view):
    services.gate = threading.Event()
    controller.sweep.set_choices(SweepChoices(1, 4, 3))
    controller.sweep.start()
    viewer.layers.remove("scan")
    qtbot.waitUntil(lambda: not controller.running)
    assert "removed during the sweep" in view.messages[-1][0]


def test_no_labels_are_added_once_the_scan_is_closed(controller, viewer, qtbot, view):
    sweep(controller, qtbot)
    viewer.layers.clear()
    controller.sweep.choose(1)
    qtbot.waitUntil(lambda: view.messages[-1][0] == "The scan of this sweep is no longer open.")
    assert len(viewer.layers) == 0


def test_the_knee_follows_the_allowed_loss(controller, qtbot, states):
    sweep(controller, qtbot)
    assert states[-1].curves.knee == 0
    controller.sweep.set_choices(SweepChoices(1, 4, 3, loss=0.5))
    assert states[-1].curves.knee > 0 and states[-1].knee.startswith("Knee: ")
    controller.sweep.choose_knee()
    knee = states[-1].curves
    assert knee.shown == knee.knee
    assert controller.choices.spacing_mm[0] == pytest.approx(knee.positions_mm[knee.knee])


def test_the_stability_map_is_an_image_in_the_place_of_the_scan(controller, viewer, qtbot):
    sweep(controller, qtbot)
    controller.sweep.show_stability()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3)
    image = viewer.layers["stability · scan"]
    scan = viewer.layers["scan"]
    assert isinstance(image, Image) and viewer.layers[-1] is image
    for name in ("scale", "translate", "units", "axis_labels"):
        np.testing.assert_array_equal(getattr(image, name), getattr(scan, name))
    labels = np.digitize(scan.data, np.quantile(scan.data, (0.9, 0.97)))
    votes = np.stack([np.where(np.arange(12)[:, None, None] < n, 0, labels) for n in (2, 4, 8)])
    share = np.max([(votes == v).mean(axis=0) for v in (0, 1, 2)], axis=0)
    np.testing.assert_allclose(image.data, share, rtol=1e-6)
    assert image_layers(viewer) == [scan]  # it is no scan
    controller.sweep.show_stability()
    qtbot.waitUntil(lambda: controller.sweep.is_idle)
    assert len(viewer.layers) == 3


def test_the_time_is_estimated_before_it_starts(controller, qtbot, states, services):
    controller.sweep.set_choices(SweepChoices(1, 4, 5))
    assert services.swept == []  # collapsed
    controller.sweep.set_active(True)
    qtbot.waitUntil(lambda: states[-1].estimate.startswith("5 spacings · about"))
    controller.sweep.set_choices(SweepChoices(1, 4, 5, where="rectangle"))
    qtbot.waitUntil(lambda: "no rectangle" in states[-1].estimate)
    assert states[-1].tone == "warning"


def test_dice_can_be_with_a_labels_layer(controller, viewer, qtbot, states):
    scan = viewer.layers["scan"]
    reference = viewer.add_labels((scan.data > 1).astype(int), units="mm", name="mine")
    (key,) = [key for key, name in states[-1].references if name == "mine"]
    sweep(controller, qtbot, reference=key)
    assert states[-1].curves.dice_with == "reference"
    assert 0 < states[-1].curves.mean_dice[0] < 1
    viewer.layers.remove(reference)
    assert states[-1].choices.reference == ""


def test_the_table_is_exported(controller, qtbot, tmp_path, view):
    sweep(controller, qtbot)
    controller.sweep.export_table(str(tmp_path / "sweep.csv"))
    rows = list(csv.DictReader((tmp_path / "sweep.csv").read_text().splitlines()))
    assert [float(row["spacing_z_mm"]) for row in rows] == pytest.approx([4, 2, 1])
    assert view.messages[-1] == ("Saved sweep.csv.", "good")


# -- what to sweep -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trained", "native", "expected"),
    [
        (((0.8, 4.0),) * 3, (1.0, 1.0, 1.0), (1.0, 4.0)),
        (((0.8, 4.0),) * 3, (5.0, 0.7, 0.7), (0.8, 4.0)),
        (((0.8, 4.0),) * 3, (6.0, 6.0, 6.0), (0.8, 4.0)),
        (None, (0.5, 0.5, 0.5), (0.5, 2.0)),
        (None, None, (1.0, 4.0)),
    ],
)
def test_the_range_starts_at_the_scan_inside_the_trained_range(trained, native, expected):
    choices = default_choices(SweepChoices(count=4), trained, native)
    assert (choices.low_mm, choices.high_mm, choices.count) == (*expected, 4)


def test_the_trained_range_of_the_axes():
    ranges = ((0.8, 4.0), (0.5, 3.0), (1.0, 5.0))
    assert trained_along(ranges, "") == (1.0, 3.0)
    assert trained_along(ranges, "z") == (0.8, 4.0)
    assert trained_along(ranges[:2], "z") is None and trained_along(ranges[:2], "y") == (0.8, 4.0)
    assert trained_along(((1.0, 2.0), (3.0, 4.0)), "") is None
    assert trained_along(None, "") is None


def test_a_box_of_a_layer_in_the_order_of_its_file(viewer):
    """Walk every voxel: those in the layer's box are those in the file's box."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0.0, -1, 0], [0, 0, 1], [1, 0, 0]]) * (1.1, 2.0, 0.7)
    array = np.arange(5 * 7 * 3, dtype=np.int16).reshape(5, 7, 3)
    volume = Volume(array, Grid((5, 7, 3), affine), "turned")
    source = take(Image(*[to_layer_data(volume)[0]], **to_layer_data(volume)[1]))
    box = (slice(1, 3), slice(0, 2), slice(2, 6))
    box = tuple(slice(b.start, min(b.stop, n)) for b, n in zip(box, source.data.shape, strict=True))
    found = volume.array[box_of_volume(box, source)]
    assert sorted(found.ravel()) == sorted(np.asarray(source.data)[box].ravel())


def test_a_rectangle_in_a_slice_gets_a_thickness(viewer):
    scan = viewer.layers["scan"]
    scan.scale = (2.0, 1.0, 1.0)
    source = take(scan)
    viewer.dims.set_point(0, 12.0)  # slice 6
    corners = [[12.0, 3.2, 4.0], [12.0, 3.2, 9.5], [12.0, 8.9, 9.5], [12.0, 8.9, 4.0]]
    viewer.add_shapes([np.array(corners)], units="mm")
    assert rectangle_box(viewer, source) == (slice(5, 8), slice(3, 9), slice(4, 10))


def test_the_visible_part_is_what_the_layer_draws(viewer):
    scan = viewer.layers["scan"]
    scan.corner_pixels = np.array([[0, 2, 5], [11, 8, 9]])
    viewer.dims.set_point(0, 6)
    assert visible_box(viewer, scan, take(scan)) == (slice(4, 9), slice(2, 9), slice(5, 10))
    viewer.dims.ndisplay = 3
    assert visible_box(viewer, scan, take(scan)) is None


def test_a_sweep_takes_the_post_processing_of_the_dock(controller, viewer, qtbot, services):
    options = PostprocessingOptions(smallest_component_mm3=0.0, fill_holes_mm3=20.0)
    controller.segmentation.set_postprocessing(options)
    sweep(controller, qtbot)
    assert services.swept[-1]["postprocessing"] == options
    (layer,) = labels_of(viewer)
    steps = layer.metadata[RESULT_KEY]["postprocessing"]
    assert [step["step"] for step in steps] == ["holes up to 20 mm³ filled"]
