"""Running a segmentation, and changes to the viewer during a run."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pytestqt")

from napari_hyperspace.api.reproduce import ResultOrigin, ScanFile
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.labels.postprocess import postprocess
from napari_hyperspace.core.volume import PostprocessingOptions, Volume, digest_of_labels
from napari_hyperspace.gui.adapters import layers as convert
from napari_hyperspace.gui.jobs.services import Services


def test_a_run_adds_a_labels_layer_on_top(controller, viewer, view, services, qtbot, results, run):
    controller.spacing.set_spacing((2.0, 2.0, 2.0))
    run(qtbot, controller)
    (result,) = results(viewer)
    source = viewer.layers["scan"]
    assert result.name == "fake 2 mm · scan"
    assert viewer.layers[-1] is viewer.layers.selection.active is result
    assert result.opacity == 0.4
    np.testing.assert_array_equal(result.scale, source.scale)
    expected = np.digitize(source.data, np.quantile(source.data, (0.9, 0.97)))
    np.testing.assert_array_equal(result.data, expected)
    assert list(result.features["name"]) == ["background", "front", "back"]
    message, tone = view.last("message")
    assert message == "Took under 1 s · under 0.1 GB, as predicted."
    assert tone == "plain"
    assert services.runs[0][1:] == ((2.0, 2.0, 2.0), "extrapolate", "z-score")
    assert view.last("ready") == {"run": True, "cancel": False, "save": True}


def test_what_speaks_against_a_result_is_said_first(
    controller, view, services, qtbot, results, run
):
    services.doubts = ("front 2342 ml: expected 1–3 ml", "back was not found")
    run(qtbot, controller)
    message, tone = view.last("message")
    assert message.startswith(
        "Look at the result: front 2342 ml: expected 1–3 ml (and 1 more). Took "
    )
    assert tone == "warning"


def test_a_result_is_checked_against_the_card_of_its_model(tiny_model):
    """Noise: the scan itself is what is wrong, whatever the card says."""
    rng = np.random.default_rng(0)
    grid = Grid.from_spacing((20, 22, 24), (4.0, 4.0, 4.0))
    scan = Volume(rng.normal(size=grid.shape).astype(np.float32), grid, "noise")
    labels = scan.with_array(np.ones(grid.shape, np.uint8))
    found = Services().check_result([scan], labels, tiny_model, lambda: False)
    assert any("noise" in text for text in found)
    empty = scan.with_array(np.zeros_like(scan.array))
    (first, *_) = Services().check_result([empty], labels, tiny_model, lambda: False)
    assert "same value" in first


def test_a_new_result_hides_the_former_ones_of_the_same_scan(
    controller, viewer, qtbot, results, run, make_scan
):
    run(qtbot, controller)
    other = viewer.add_layer(make_scan(name="other"))
    viewer.add_labels(np.ones((12, 14, 16), int), name="mine")
    controller.scan.choose(str(id(other)))
    run(qtbot, controller)
    controller.scan.choose(str(id(viewer.layers["scan"])))
    run(qtbot, controller)
    shown = {one.name: one.visible for one in results(viewer)}
    assert shown == {
        "fake 1 mm · scan [1]": True,
        "fake 1 mm · other": False,  # with its scan, when the other one was chosen
        "mine": True,
        "fake 1 mm · scan": False,
    }
    assert viewer.layers[-1].name == "fake 1 mm · scan [1]"


def test_results_are_hidden_while_there_is_a_preview(
    controller, viewer, qtbot, results, run, previews
):
    run(qtbot, controller)
    (result,) = results(viewer)
    controller.choices.live = True
    qtbot.waitUntil(lambda: bool(previews(viewer)))
    assert viewer.layers[-1] is previews(viewer)[0]
    assert not result.visible
    controller.choices.live = False
    assert result.visible and previews(viewer) == []


def test_post_processed_labels_are_named_and_described_as_such(
    controller, viewer, view, services, qtbot, results, run
):
    run(qtbot, controller)
    controller.segmentation.set_postprocessing(PostprocessingOptions(True, 0.0, 20.0))
    run(qtbot, controller)
    cleaned, plain = results(viewer)
    if cleaned.name == "fake 1 mm · scan":
        cleaned, plain = plain, cleaned
    assert (plain.name, cleaned.name) == ("fake 1 mm · scan", "fake 1 mm, post-processed · scan")
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
    controller.segmentation.set_postprocessing(PostprocessingOptions(False, 0.0, 0.0))
    run(qtbot, controller)
    assert "ost-process" not in view.last("message")[0]


def test_a_result_carries_its_record_and_where_its_scan_is(
    controller, viewer, services, qtbot, results, run
):
    scan, path = viewer.layers["scan"], os.path.abspath("scan.nii")
    affine = convert.take(scan).placement.grid.affine
    scan.metadata = {
        convert.METADATA_KEY: {"shape": scan.data.shape, "affine": affine, "path": path}
    }
    scan.translate = (1.0, 0.0, 0.0)  # the controller looks at the layer again
    controller.segmentation.set_postprocessing(PostprocessingOptions(True, 0.0, 0.0))
    run(qtbot, controller)
    (result,) = results(viewer)
    volume = convert.to_volume(*result.as_layer_data_tuple()[:2])
    record = volume.metadata["record"]
    assert record.model == "fake"
    assert record.postprocessing == (PostprocessingOptions(largest_component=True),)
    assert record.labels_digest == digest_of_labels(volume.array)
    estimate = services.estimate(volume.grid, None, (1.0, 1.0, 1.0), None)
    assert record.predicted_seconds == estimate.seconds
    assert record.predicted_peak_bytes == estimate.peak_bytes
    origin = result.metadata[convert.ORIGIN_KEY]
    assert origin == ResultOrigin("fake", (ScanFile(path),))
    result.data = result.data + 1
    volume = convert.to_volume(*result.as_layer_data_tuple()[:2])
    assert record.labels_digest != digest_of_labels(volume.array)


def test_run_clicked_twice_starts_one_job(controller, viewer, view, services, qtbot, results):
    """Fault 64 of the list of bad inputs."""
    services.gate = threading.Event()
    controller.segmentation.run()
    assert view.last("ready") == {"run": False, "cancel": True, "save": False}
    controller.segmentation.run()
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    assert len(services.runs) == len(results(viewer)) == 1


def test_cancel_stops_a_run_between_steps(controller, viewer, view, services, qtbot, results):
    services.gate = threading.Event()
    controller.segmentation.run()
    qtbot.waitUntil(lambda: len(services.runs) == 1)
    controller.segmentation.cancel()
    qtbot.waitUntil(lambda: not controller.running)
    assert results(viewer) == []
    assert view.last("message")[0] == "Cancelled."
    assert view.last("ready") == {"run": True, "cancel": False, "save": False}


def test_a_layer_removed_during_a_run_stops_it(
    controller, viewer, view, services, qtbot, make_scan, results
):
    """Fault 61 of the list of bad inputs."""
    services.gate = threading.Event()
    viewer.add_layer(make_scan(name="other"))
    viewer.layers.selection.active = viewer.layers["scan"]
    controller.segmentation.run()
    viewer.layers.remove("scan")
    qtbot.waitUntil(lambda: not controller.running)
    assert results(viewer) == []
    assert any("removed during the run" in args[0] for args in view.messages)


def test_a_layer_renamed_during_a_run(controller, viewer, view, services, qtbot, results):
    """Fault 61 of the list of bad inputs."""
    services.gate = threading.Event()
    controller.segmentation.run()
    viewer.layers["scan"].name = "renamed"
    assert view.last("layers")[0][0][1] == "renamed"
    services.gate.set()
    qtbot.waitUntil(lambda: not controller.running)
    assert [one.name for one in results(viewer)] == ["fake 1 mm · renamed"]


@pytest.mark.parametrize("what", ["data", "scale", "translate", "affine"])
def test_a_layer_edited_during_a_run_stops_it(
    controller, viewer, view, services, qtbot, what, results
):
    """Fault 63 of the list of bad inputs."""
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


def test_errors_of_a_run_are_shown(controller, viewer, view, services, qtbot, results, run):
    """Fault 66 of the list of bad inputs."""
    services.error = RuntimeError("the machine is on <b>fire</b>")
    run(qtbot, controller)
    assert view.last("message") == ("the machine is on <b>fire</b>", "error")
    services.error = None
    run(qtbot, controller)
    assert len(results(viewer)) == 1


def test_warnings_of_a_run_are_shown(controller, services, qtbot, run):
    """Fault 66 of the list of bad inputs."""
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
    shown = [args for name, args in view.said if name == "progress"]
    fractions = [args[0] for args in shown]
    assert fractions[0] == 0.0 and fractions[-1] is None
    assert fractions[:-1] == sorted(fractions[:-1])
    assert any(args[1].endswith(" · tile 1 of 3") for args in shown[1:-1])


def test_voxels_that_are_not_finite_are_replaced_if_the_user_agrees(
    controller, viewer, view, services, qtbot, results, run
):
    layer = viewer.layers["scan"]
    values = np.array(layer.data)
    values[0, 1, 2], values[3, 4, 5] = np.nan, -np.inf
    layer.data = values
    view.answers["ask_choice"] = [None]
    run(qtbot, controller)
    qtbot.waitUntil(lambda: bool(view.asked))
    assert services.runs == results(viewer) == []
    problem = f"scan: 2 of {values.size} voxels are NaN or infinite"
    assert view.asked[0][1][1].startswith(problem)
    assert view.last("message") == (f"{problem}; not segmented.", "warning")
    view.answers["ask_choice"] = [0]
    run(qtbot, controller)
    qtbot.waitUntil(lambda: bool(results(viewer)))
    ((volumes, *_),) = services.runs
    np.testing.assert_array_equal(volumes[0].array, np.where(np.isfinite(values), values, 0))
    assert volumes[0].metadata["reading"]["fill"] == 0.0
    assert np.isnan(layer.data[0, 1, 2])
    run(qtbot, controller)  # the answer holds for the layer
    assert len(view.asked) == 2 and len(services.runs) == 2


@pytest.mark.parametrize("value", [0, 7.5])
def test_a_constant_image_is_refused(controller, viewer, view, services, qtbot, run, value):
    viewer.layers["scan"].data = np.full((12, 14, 16), value)
    run(qtbot, controller)
    text, tone = view.last("message")
    assert (tone, services.runs) == ("error", [])
    assert text.startswith("scan: all voxels have the same value: there is nothing to segment")


def test_an_average_adds_its_uncertainty_beneath_the_labels(
    controller, viewer, view, services, qtbot, run, monkeypatch
):
    plain, asked = services.segment_steps, []

    def averaged(volumes, model, spacing_mm, options, should_stop):
        asked.append(options)
        result = yield from plain(volumes, model, spacing_mm, options, should_stop)
        if not options.uncertainty:
            return result
        doubt = np.linspace(0, 1, volumes[0].array.size, dtype=np.float32)
        doubt = volumes[0].with_array(doubt.reshape(volumes[0].shape))
        record = replace(result.labels.metadata["record"], localized="found-from-top")
        metadata = {**result.labels.metadata, "record": record}
        labels = result.labels.with_array(result.labels.array, metadata=metadata)
        return replace(result, labels=labels, uncertainty=doubt)

    monkeypatch.setattr(services, "segment_steps", averaged)
    controller.segmentation.set_uncertainty(True)
    run(qtbot, controller)
    assert not asked[-1].best and "uncertainty · scan" not in viewer.layers
    controller.segmentation.set_best(True)
    run(qtbot, controller)
    assert asked[-1].best and asked[-1].uncertainty
    layer, source = viewer.layers["uncertainty · scan"], viewer.layers["scan"]
    np.testing.assert_array_equal(layer.scale, source.scale)
    np.testing.assert_array_equal(layer.translate, source.translate)
    assert layer.data.shape == source.data.shape and layer.data.max() == 1
    assert layer.blending == "additive"
    assert viewer.layers[-1].name == "fake 1 mm, best · scan"
    assert view.last("message")[0].endswith("found from the top of the head down.")


def test_the_price_of_an_average_is_shown(controller, services, qtbot, monkeypatch):
    asked, plain = [], services.estimate

    def estimate(grid, model, spacing_mm, options):
        asked.append(options.best)
        return plain(grid, model, spacing_mm, options)

    monkeypatch.setattr(services, "estimate", estimate)
    controller.segmentation.set_best(True)
    qtbot.waitUntil(lambda: True in asked)
