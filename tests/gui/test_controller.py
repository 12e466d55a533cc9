from __future__ import annotations

import threading
import time
import weakref

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui import convert
from napari_hyperspace.gui.controller import Controller
from napari_hyperspace.gui.state import Choices


class MockView:
    """Remembers what it was last told; answers what it is told to answer."""

    def __init__(self):
        self.said = []
        self.answers = {}
        self.asked = []

    def __getattr__(self, name):
        if name.startswith("show_"):
            return lambda *args, **kwargs: self.said.append((name[5:], args or kwargs))
        if name.startswith("ask_"):
            return lambda *args: self.asked.append((name, args)) or self.answers[name].pop(0)
        raise AttributeError(name)

    def last(self, what):
        return next((args for name, args in reversed(self.said) if name == what), None)

    @property
    def messages(self):
        return [args for name, args in self.said if name == "message"]


def scan(shape=(12, 14, 16), **options):
    options = {"scale": (1.0, 1.0, 1.0), "units": "mm", "name": "scan"} | options
    return Image(np.random.default_rng(0).normal(size=shape), **options)


@pytest.fixture
def viewer():
    viewer = ViewerModel()
    viewer.add_layer(scan())
    return viewer


@pytest.fixture
def view():
    return MockView()


@pytest.fixture
def controller(qtbot, viewer, view, services):
    controller = Controller(viewer, view, services, Choices(rest_ms=0))
    qtbot.waitUntil(lambda: view.last("cost") is not None and bool(view.last("cost")[0]))
    yield controller
    controller.jobs.cancel()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    controller.close()


def results(viewer):
    return [one for one in viewer.layers if isinstance(one, Labels) and "preview" not in one.name]


def previews(viewer):
    return [one for one in viewer.layers if "preview" in one.name]


def settle(qtbot, controller):
    qtbot.waitUntil(lambda: controller._lane.is_idle)
    qtbot.wait(20)


def run(qtbot, controller):
    controller.jobs.run()
    qtbot.waitUntil(lambda: not controller.jobs.running)


def test_it_begins_with_the_first_model_and_the_native_spacing(controller, view):
    assert view.last("models") == ([("fake", "fake"), ("other", "other")], "fake")
    assert view.last("scan") == ("12 × 14 × 16 · 1 mm",)
    assert controller.choices.spacing_mm == (1.0, 1.0, 1.0)
    assert view.last("model")[0] == "front, back · trained at 0.8–4 mm"
    assert view.last("ready") == {"run": True, "cancel": False, "save": False}


def test_every_move_bakes_and_estimates(controller, view, services, qtbot):
    view.said.clear()
    controller.set_spacing((2.0, 2.0, 2.0))
    qtbot.waitUntil(lambda: view.last("point") is not None)
    assert services.models["fake"].baked[-1] == (2.0, 2.0, 2.0)
    assert view.last("bake")[0].startswith("weights in ")
    assert view.last("cost") == ("0.34 ms · 134 kB · fits", True, ())
    assert view.last("point") == (pytest.approx(2.0), pytest.approx(336e-6))
    (curve, trained) = view.last("curve")
    assert trained == (0.8, 4.0)
    assert len(curve.estimates) == 40
    cost = dict(zip(curve.spacings_mm, curve.estimates, strict=True))
    assert all(np.diff([cost[spacing].seconds for spacing in sorted(cost)]) < 0)


def test_an_anisotropic_scan_opens_the_lock(controller, viewer, view, qtbot):
    viewer.layers.clear()
    viewer.add_layer(scan(scale=(6.0, 0.7, 0.7)))
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)
    assert controller.choices.locked is False
    controller.set_spacing((1.0, 1.0, 1.0))
    controller.use_native_spacing()
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)


def test_the_users_spacing_outlives_another_model_but_not_another_scan(
    controller, viewer, view, qtbot
):
    controller.set_spacing((2.0, 2.0, 2.0))
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.model is not None)
    assert controller.choices.spacing_mm == (2.0, 2.0, 2.0)
    other = viewer.add_layer(scan(scale=(3.0, 3.0, 3.0), name="other"))
    controller.choose_layer(str(id(other)))
    assert controller.choices.spacing_mm == (3.0, 3.0, 3.0)


def test_a_run_gives_a_labels_layer_on_the_scan(controller, viewer, view, services, qtbot):
    controller.set_spacing((2.0, 2.0, 2.0))
    run(qtbot, controller)
    (result,) = results(viewer)
    source = viewer.layers["scan"]
    assert result.name == "scan · fake 2 mm"
    assert viewer.layers.index(result) == viewer.layers.index(source) + 1
    np.testing.assert_array_equal(result.scale, source.scale)
    expected = np.digitize(source.data, np.quantile(source.data, (0.9, 0.97)))
    np.testing.assert_array_equal(result.data, expected)
    assert list(result.features["name"]) == ["background", "front", "back"]
    message, tone = view.last("message")
    assert message.startswith("Predicted 0.34 ms · 134 kB, took ")
    assert tone == "good"
    assert services.runs[0][1:] == ((2.0, 2.0, 2.0), "extrapolate", "z-score")
    assert view.last("ready") == {"run": True, "cancel": False, "save": True}


def test_fault_64_run_twice_is_one_job(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    controller.jobs.run()
    assert view.last("ready") == {"run": False, "cancel": True, "save": False}
    controller.jobs.run()
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert len(services.runs) == len(results(viewer)) == 1


def test_cancel_stops_within_half_a_second(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    controller.jobs.run()
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    began = time.perf_counter()
    controller.jobs.cancel()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert time.perf_counter() - began < 0.5
    assert results(viewer) == []
    assert view.last("message")[0] == "Cancelled."
    assert view.last("ready") == {"run": True, "cancel": False, "save": False}


def test_fault_61_layer_removed_during_a_run(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    viewer.add_layer(scan(name="other"))
    controller.jobs.run()
    viewer.layers.remove("scan")
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert results(viewer) == []
    assert any("removed during the run" in args[0] for args in view.messages)


def test_fault_61_layer_renamed_during_a_run(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    controller.jobs.run()
    viewer.layers["scan"].name = "renamed"
    assert view.last("layers")[0][0][1] == "renamed"
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert [one.name for one in results(viewer)] == ["renamed · fake 1 mm"]


@pytest.mark.parametrize("what", ["data", "scale", "translate", "affine"])
def test_fault_63_layer_edited_during_a_run(controller, viewer, view, services, qtbot, what):
    services.gate = threading.Event()
    controller.jobs.run()
    layer = viewer.layers["scan"]
    if what == "data":
        layer.data = layer.data + 1
    elif what == "affine":
        layer.affine = np.diag([2, 1, 1, 1])
    else:
        setattr(layer, what, (3.0, 2.0, 1.0))
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert results(viewer) == []
    assert any("changed during the run" in args[0] for args in view.messages)


def test_fault_62_closing_stops_the_run(viewer, view, services, qtbot):
    controller = Controller(viewer, view, services)
    qtbot.waitUntil(lambda: controller.model is not None)
    services.gate = threading.Event()
    controller.jobs.run()
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    controller.close()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert results(viewer) == []
    controller.close()


def test_fault_66_errors_are_shown(controller, viewer, view, services, qtbot):
    services.error = RuntimeError("the machine is on <b>fire</b>")
    run(qtbot, controller)
    assert view.last("message") == ("the machine is on <b>fire</b>", "error")
    services.error = None
    run(qtbot, controller)
    assert len(results(viewer)) == 1


def test_fault_66_warnings_are_shown(controller, services, qtbot):
    from napari.utils.notifications import notification_manager

    notification_manager.records.clear()
    services.warning = "the image is constant"
    run(qtbot, controller)
    assert [record.message for record in notification_manager.records] == ["the image is constant"]


def test_live_preview_is_of_the_whole_scans_intensities(controller, viewer, view, services, qtbot):
    viewer.layers["scan"].data = viewer.layers["scan"].data * 40 + 1000
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    (volumes, spacing, _, normalisation) = services.runs[-1]
    assert normalisation == "none"
    assert volumes[0].array.mean() == pytest.approx(0, abs=1e-5)
    assert volumes[0].array.std() == pytest.approx(1, abs=1e-5)
    assert spacing == (1.0, 1.0, 1.0)
    assert previews(viewer)[0].metadata["sharp"]
    assert viewer.layers.selection.active is viewer.layers["scan"]


def test_the_preview_is_coarse_at_first_and_within_its_time(
    controller, viewer, view, services, qtbot
):
    viewer.layers.clear()
    big = scan((60, 70, 80), translate=(-20, 5, 0), name="big")
    viewer.add_layer(big)
    controller.choices.preview_ms = 100  # 10⁵ voxels at 1 mm, as the fake predicts
    viewer.dims.set_point(0, -10.0)
    settle(qtbot, controller)
    services.runs.clear()
    controller.choices.live = True
    qtbot.waitUntil(lambda: len(services.runs) == 2)
    settle(qtbot, controller)
    (coarse, sharp) = services.runs
    assert coarse[1] == (2.0, 2.0, 2.0)
    assert sharp[1] == (1.0, 1.0, 1.0)
    assert coarse[0][0].grid == sharp[0][0].grid
    voxels = np.prod(sharp[0][0].shape)
    assert 0.7e5 < voxels <= 1e5
    (layer,) = previews(viewer)
    world = layer.extent.world
    assert (world[0] <= (-10, 39.5, 39.5)).all() and (world[1] >= (-10, 39.5, 39.5)).all()
    values = big.data[
        tuple(np.round(big.world_to_data(layer.data_to_world((1, 2, 3)))).astype(int))
    ]
    shown = sharp[0][0].array[1, 2, 3] * big.data.std() + big.data.mean()
    assert shown == pytest.approx(values, rel=1e-4)


def test_the_next_move_cancels_the_preview(controller, viewer, services, qtbot):
    services.gate = threading.Event()
    services.runs.clear()
    controller.choices.live = True
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    for step in np.linspace(1.1, 3, 30):
        controller.set_spacing((step, step, step))
    services.gate.set()
    settle(qtbot, controller)
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    assert services.runs[-1][1] == (3.0, 3.0, 3.0)
    assert len(services.runs) <= 4


def test_moving_the_view_moves_the_preview(controller, viewer, services, qtbot):
    viewer.layers.clear()
    viewer.add_layer(scan((60, 70, 80)))
    controller.choices.preview_ms = 20
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    settle(qtbot, controller)
    before = previews(viewer)[0].translate.copy()
    viewer.dims.set_point(0, 50.0)
    qtbot.waitUntil(lambda: previews(viewer)[0].translate[0] > before[0])


def test_a_run_takes_the_previews_place(controller, viewer, services, qtbot):
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    services.gate = threading.Event()
    controller.jobs.run()
    assert previews(viewer) == []
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    controller.choices.live = False
    settle(qtbot, controller)
    assert previews(viewer) == []
    assert len(results(viewer)) == 1


def test_fit_to_budget(controller, view, qtbot):
    controller.jobs.fit_budget(10.0, None)
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)
    assert controller.choices.locked is False
    assert "finest spacing within 10 s" in view.last("message")[0]
    controller.jobs.fit_budget(1e-4, None)
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert view.last("message") == ("no trained spacing is that fast", "error")
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)


def test_an_own_model_file(controller, view, services, qtbot, tmp_path):
    path = str((tmp_path / "mine.safetensors").resolve())
    services.models[path] = services.models["other"]
    controller.add_model_file(path)
    assert view.last("models") == (
        [("fake", "fake"), ("other", "other"), (path, "mine")],
        path,
    )
    qtbot.waitUntil(lambda: controller.model is not None)
    assert view.last("model")[0] == "front, back · trained range unknown"


def test_a_broken_model_file_is_told(controller, view, qtbot):
    controller.add_model_file("/nowhere/broken.safetensors")
    qtbot.waitUntil(lambda: view.last("message") is not None)
    assert "this is no model" in view.last("message")[0]
    assert view.last("model")[0] == "could not be loaded"


def test_a_model_of_two_channels_wants_two_layers(controller, viewer, view, services, qtbot):
    services.models["other"].in_channels = 2
    second = viewer.add_layer(scan(name="second"))
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.model is not None)
    assert view.last("layers")[2] == ("T1", "T2")
    assert [one.name for one in controller.chosen.layers] == ["scan", "second"]
    third = viewer.add_layer(scan(name="third"))
    controller.choose_layer(str(id(third)), channel=1)
    run(qtbot, controller)
    assert [volume.name for volume in services.runs[-1][0]] == ["scan", "third"]
    assert second in viewer.layers


def test_a_2d_model_keeps_the_slices_of_the_scan(controller, viewer, view, services, qtbot):
    services.models["other"].n_dim = 2
    viewer.layers["scan"].scale = (5.0, 1.0, 1.0)
    controller.choices.model = "other"
    qtbot.waitUntil(lambda: controller.model is not None)
    controller.set_spacing((2.0, 2.0, 2.0))
    assert controller.choices.spacing_mm == (5.0, 2.0, 2.0)
    settle(qtbot, controller)
    assert services.models["other"].baked[-1] == (2.0, 2.0)


def volume(name="opened"):
    return Volume(np.zeros((3, 4, 5)), Grid.from_spacing((3, 4, 5), (2.0, 1.0, 1.0)), name)


def open_path(qtbot, controller, path):
    controller.jobs.open(path)
    qtbot.waitUntil(lambda: not controller.jobs.running)


def test_open_chooses_what_was_opened(controller, viewer, view, services, qtbot):
    services.files["/a.nii"] = volume()
    open_path(qtbot, controller, "/a.nii")
    assert [one.name for one in controller.chosen.layers] == ["opened"]
    assert view.last("scan") == ("3 × 4 × 5 · 2 × 1 × 1 mm",)


@pytest.mark.parametrize(
    ("fix", "ask", "answer", "option"),
    [
        (
            "Give spacing_mm, one number an array axis",
            "ask_spacing",
            (3.0, 2.0, 1.0),
            {"spacing_mm": (3.0, 2.0, 1.0)},
        ),
        ("Choose one with volume=0 … 7", "ask_choice", 5, {"volume": 5}),
        ("Choose one with series=UID", "ask_choice", 1, {"series": "1.3"}),
        ("Give a value for them with fill", "ask_choice", 0, {"fill": 0.0}),
    ],
)
def test_what_a_file_leaves_open_is_asked(
    controller, viewer, view, services, qtbot, fix, ask, answer, option
):
    given = []

    def read(**options):
        given.append(options)
        if not options:
            raise HyperspaceError("something is open", fix=fix)
        return volume()

    services.files["/odd"] = read
    view.answers[ask] = [answer]
    open_path(qtbot, controller, "/odd")
    qtbot.waitUntil(lambda: len(given) == 2 and not controller.jobs.running)
    assert given[1] == option
    assert "opened" in viewer.layers
    if "volume" in fix:
        assert view.asked[0][1][2][-1] == "volume 7"


def test_who_declines_is_told_what_is_wrong(controller, viewer, view, services, qtbot):
    def read(**options):
        raise HyperspaceError("two series", fix="Choose one with series=UID")

    services.files["/odd"] = read
    view.answers["ask_choice"] = [None]
    open_path(qtbot, controller, "/odd")
    assert view.last("message") == ("two series. Choose one with series=UID", "error")
    assert len(viewer.layers) == 1


def test_spacing_override(controller, viewer, view, qtbot):
    view.answers["ask_spacing"] = [(5.0, 0.7, 0.7)]
    controller.override_spacing()
    layer = viewer.layers["scan"]
    np.testing.assert_array_equal(layer.scale, (5.0, 0.7, 0.7))
    assert view.last("scan") == ("12 × 14 × 16 · 5 × 0.7 × 0.7 mm",)
    assert controller.choices.spacing_mm == (4.0, 0.8, 0.8)


def test_a_scan_without_units_is_told(qtbot, view, services):
    viewer = ViewerModel()
    viewer.add_layer(Image(np.zeros((3, 4, 5))))
    controller = Controller(viewer, view, services)
    assert any("pixel" in args[0] for args in view.messages)
    controller.close()


def test_save_writes_the_volume_of_the_selected_labels(
    controller, viewer, view, services, qtbot, oblique_volume
):
    data, attributes, _ = convert.to_layer_data(oblique_volume)
    viewer.add_layer(Labels(data.astype(int), **attributes | {"name": "mine"}))
    viewer.add_layer(Labels(np.zeros((12, 14, 16), int), name="another"))
    viewer.layers.selection.active = viewer.layers["mine"]
    view.answers["ask_save_path"] = ["/out.nii.gz"]
    controller.jobs.save()
    qtbot.waitUntil(lambda: not controller.jobs.running)
    assert view.asked == [("ask_save_path", ("/scans/oblique-labels.nii.gz",))]
    ((written, path),) = services.written
    assert path == "/out.nii.gz"
    assert written.grid == oblique_volume.grid
    np.testing.assert_array_equal(written.array, oblique_volume.array)
    assert view.last("message") == ("Saved /out.nii.gz: affine bit-identical.", "good")


def test_nothing_to_do_without_a_scan(qtbot, view, services):
    viewer = ViewerModel()
    controller = Controller(viewer, view, services)
    qtbot.waitUntil(lambda: controller.model is not None)
    controller.jobs.run()
    controller.jobs.fit_budget(1.0, None)
    controller.override_spacing()
    assert view.last("ready") == {"run": False, "cancel": False, "save": False}
    assert "no image" in view.last("message")[0]
    viewer.add_layer(scan())
    assert view.last("ready")["run"]
    controller.close()


def test_closing_lets_go_of_the_viewer(qtbot, viewer, services):
    controller = Controller(viewer, MockView(), services)
    qtbot.waitUntil(lambda: controller.model is not None)
    controller.close()
    gone = weakref.ref(controller)
    view = controller.view
    view.said.clear()
    viewer.add_layer(scan(name="later"))
    viewer.dims.set_point(0, 3)
    viewer.layers[0].scale = (2, 2, 2)
    assert view.said == []
    assert gone() is controller
