from __future__ import annotations

import threading

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_hyperspace.core.errors import OptionNeededError, SeriesChoice
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.postprocess import postprocess
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters import layers as convert
from napari_hyperspace.gui.controllers.dock import DockController


def scan(shape=(12, 14, 16), **options):
    options = {"scale": (1.0, 1.0, 1.0), "units": "mm", "name": "scan"} | options
    return Image(np.random.default_rng(0).normal(size=shape), **options)


def results(viewer):
    return [one for one in viewer.layers if isinstance(one, Labels) and "preview" not in one.name]


def run(qtbot, controller):
    controller.segmentation.run()
    qtbot.waitUntil(lambda: not controller.running)


def test_a_run_gives_a_labels_layer_on_the_scan(controller, viewer, view, services, qtbot):
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
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


def test_labels_are_cleaned_where_asked_and_say_so(controller, viewer, view, services, qtbot):
    run(qtbot, controller)
    controller.segmentation.set_postprocessing(True, 20.0)
    run(qtbot, controller)
    cleaned, plain = results(viewer)
    if cleaned.name == "scan · fake 1 mm":
        cleaned, plain = plain, cleaned
    assert (plain.name, cleaned.name) == ("scan · fake 1 mm", "scan · fake 1 mm, post-processed")
    before, after = (convert.to_volume(*one.as_layer_data_tuple()[:2]) for one in (plain, cleaned))
    expected = postprocess(before, largest_component=True, fill_holes_mm3=20)
    np.testing.assert_array_equal(after.array, expected.array)
    assert before.metadata["postprocessing"] == ()
    assert after.metadata["postprocessing"] == expected.metadata["postprocessing"]
    assert after.metadata["model"] == "fake"
    assert after.metadata["working_spacing_mm"] == (1.0, 1.0, 1.0)
    assert after.metadata["image"] == "scan"
    message = view.last("message")[0]
    assert "Post-processing: largest component of each structure (0." in message
    assert "ml changed); holes up to 20 mm³ filled (" in message
    controller.segmentation.set_postprocessing(False, 0.0)
    run(qtbot, controller)
    assert "ost-process" not in view.last("message")[0]


def test_fault_64_run_twice_is_one_job(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    controller.segmentation.run()
    assert view.last("ready") == {"run": False, "cancel": True, "save": False}
    controller.segmentation.run()
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    assert len(services.runs) == len(results(viewer)) == 1


def test_cancel_stops_a_run_that_would_never_end(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    controller.segmentation.run()
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    controller.segmentation.cancel()
    qtbot.waitUntil(lambda: not controller.running)
    assert results(viewer) == []
    assert view.last("message")[0] == "Cancelled."
    assert view.last("ready") == {"run": True, "cancel": False, "save": False}


def test_fault_61_layer_removed_during_a_run(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    viewer.add_layer(scan(name="other"))
    controller.segmentation.run()
    viewer.layers.remove("scan")
    qtbot.waitUntil(lambda: not controller.running)
    assert results(viewer) == []
    assert any("removed during the run" in args[0] for args in view.messages)


def test_fault_61_layer_renamed_during_a_run(controller, viewer, view, services, qtbot):
    services.gate = threading.Event()
    controller.segmentation.run()
    viewer.layers["scan"].name = "renamed"
    assert view.last("layers")[0][0][1] == "renamed"
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    assert [one.name for one in results(viewer)] == ["renamed · fake 1 mm"]


@pytest.mark.parametrize("what", ["data", "scale", "translate", "affine"])
def test_fault_63_layer_edited_during_a_run(controller, viewer, view, services, qtbot, what):
    services.gate = threading.Event()
    controller.segmentation.run()
    layer = viewer.layers["scan"]
    if what == "data":
        layer.data = layer.data + 1
    elif what == "affine":
        layer.affine = np.diag([2, 1, 1, 1])
    else:
        setattr(layer, what, (3.0, 2.0, 1.0))
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    assert results(viewer) == []
    assert any("changed during the run" in args[0] for args in view.messages)


def test_fault_62_closing_stops_the_run(viewer, view, services, qtbot):
    controller = DockController(viewer, view, view, services)
    qtbot.waitUntil(lambda: controller.models.model is not None)
    services.gate = threading.Event()
    controller.segmentation.run()
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    controller.close()
    qtbot.waitUntil(lambda: not controller.running)
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


def test_progress_is_shown_in_the_activity_dock(controller, view, services, qtbot):
    from napari.utils import progress

    services.gate = threading.Event()
    controller.segmentation.run()
    qtbot.waitUntil(lambda: [str(bar.desc) for bar in progress._all_instances] != [])
    qtbot.waitUntil(lambda: "tile 1 of 3" in next(iter(progress._all_instances)).desc)
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    assert len(progress._all_instances) == 0
    fractions = [args[0] for name, args in view.said if name == "progress"]
    assert fractions == [0.0, 0.0, 1 / 3, 2 / 3, None]


def test_a_budget_is_limited_by_the_free_memory(controller, services, qtbot):
    free = 8 * 10**9  # of the fake
    for asked in (None, 2e9, 9e9):
        controller.budget.fit(10.0, asked)
        qtbot.waitUntil(lambda: not controller.running)
    assert services.budgets == [(10.0, free), (10.0, 2 * 10**9), (10.0, free)]


def test_fit_to_budget(controller, view, services, qtbot):
    controller.budget.fit(10.0, None)
    qtbot.waitUntil(lambda: not controller.running)
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)
    assert controller.choices.locked is False
    assert services.budgets == [(10.0, 8 * 10**9)]  # what is free, as the fake says
    assert "finest spacing within 10 s" in view.last("message")[0]
    controller.budget.fit(1e-4, None)
    qtbot.waitUntil(lambda: not controller.running)
    assert view.last("message") == ("no trained spacing is that fast", "error")
    assert controller.choices.spacing_mm == (2.0, 1.5, 1.5)


def volume(name="opened"):
    return Volume(np.zeros((3, 4, 5)), Grid.from_spacing((3, 4, 5), (2.0, 1.0, 1.0)), name)


def open_path(qtbot, controller, path):
    controller.files.open(path)
    qtbot.waitUntil(lambda: not controller.running)


def test_open_chooses_what_was_opened(controller, viewer, view, services, qtbot):
    services.files["/a.nii"] = volume()
    open_path(qtbot, controller, "/a.nii")
    assert [one.name for one in controller.layers.layers] == ["opened"]
    assert view.last("scan") == ("3 × 4 × 5 · 2 × 1 × 1 mm",)


@pytest.mark.parametrize(
    ("option", "ask", "answer", "given_again"),
    [
        ("spacing_mm", "ask_spacing", (3.0, 2.0, 1.0), {"spacing_mm": (3.0, 2.0, 1.0)}),
        ("volume", "ask_choice", 5, {"volume": 5}),
        ("series", "ask_choice", 1, {"series": "1.3"}),
        ("fill", "ask_choice", 0, {"fill": 0.0}),
    ],
)
def test_what_a_file_leaves_open_is_asked(
    controller, viewer, view, services, qtbot, option, ask, answer, given_again
):
    given = []

    def read(**options):
        given.append(options)
        if not options:
            raise OptionNeededError(
                "an option is missing",
                option=option,
                n_volumes=8,
                series=(SeriesChoice("1.2", "first"), SeriesChoice("1.3", "second")),
            )
        return volume()

    services.files["/odd"] = read
    view.answers[ask] = [answer]
    open_path(qtbot, controller, "/odd")
    qtbot.waitUntil(lambda: len(given) == 2 and not controller.running)
    assert given[1] == given_again
    assert "opened" in viewer.layers
    if option == "volume":
        assert view.asked[0][1][2][-1] == "volume 7"
    if option == "series":
        assert list(view.asked[0][1][2]) == ["first", "second"]


def test_who_declines_is_told_what_is_wrong(controller, viewer, view, services, qtbot):
    def read(**options):
        raise OptionNeededError("two series", option="series", fix="Choose one with series=UID")

    services.files["/odd"] = read
    view.answers["ask_choice"] = [None]
    open_path(qtbot, controller, "/odd")
    assert view.last("message") == ("two series. Choose one with series=UID", "error")
    assert len(viewer.layers) == 1


def test_save_writes_the_volume_of_the_selected_labels(
    controller, viewer, view, services, qtbot, oblique_volume
):
    data, attributes, _ = convert.to_layer_data(oblique_volume)
    viewer.add_layer(Labels(data.astype(int), **attributes | {"name": "mine"}))
    viewer.add_layer(Labels(np.zeros((12, 14, 16), int), name="another"))
    viewer.layers.selection.active = viewer.layers["mine"]
    view.answers["ask_save_path"] = ["/out.nii.gz"]
    controller.files.save()
    qtbot.waitUntil(lambda: not controller.running)
    assert view.asked == [("ask_save_path", ("/scans/oblique-labels.nii.gz",))]
    ((written, path),) = services.written
    assert path == "/out.nii.gz"
    assert written.grid == oblique_volume.grid
    np.testing.assert_array_equal(written.array, oblique_volume.array)
    text, tone = view.last("message")
    assert text.startswith("Saved /out.nii.gz: affine bit-identical, ")
    assert tone == "good"


def test_labels_that_are_no_volume_are_not_saved_and_why_is_shown(
    controller, viewer, view, services
):
    viewer.add_layer(Labels(np.zeros((12, 14, 16), int), name="whole"))
    viewer.add_layer(Labels(np.ones((5, 7), int), name="slice"))
    viewer.layers.selection.active = viewer.layers["slice"]
    controller.files.save()
    text, tone = view.last("message")
    assert tone == "error"
    assert text.startswith("slice: only 3-D images of one channel") and "2 dimensions" in text
    assert view.asked == services.written == []
    assert not controller.running


def test_nothing_to_do_without_a_scan(qtbot, view, services):
    viewer = ViewerModel()
    controller = DockController(viewer, view, view, services)
    qtbot.waitUntil(lambda: controller.models.model is not None)
    controller.segmentation.run()
    controller.budget.fit(1.0, None)
    controller.scan.correct_spacing()
    assert view.last("ready") == {"run": False, "cancel": False, "save": False}
    assert "no image" in view.last("message")[0]
    viewer.add_layer(scan())
    assert view.last("ready")["run"]
    controller.close()
