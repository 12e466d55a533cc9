"""All scans of a folder are segmented with what is chosen in the dock; failures are rows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Image, Labels

import napari_hyperspace as hs
from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.volume import PostprocessingOptions
from napari_hyperspace.gui.controllers.results.batch import BatchRequest, BatchRow, BatchView
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.view import Tone
from tests.models import FakeModel, local_network
from tests.scans import scan


class Window:
    """Remembers what is shown."""

    def __init__(self) -> None:
        self.rows: list[BatchRow] = []
        self.seen: list[tuple[int, BatchRow]] = []
        self.states: list[tuple[str, Tone, float | None]] = []

    def show_rows(self, rows: Sequence[BatchRow]) -> None:
        self.rows = list(rows)

    def show_row(self, index: int, row: BatchRow) -> None:
        self.rows[index] = row
        self.seen.append((index, row))

    def show_state(self, text: str, tone: Tone, fraction: float | None) -> None:
        self.states.append((text, tone, fraction))


_: type[BatchView] = Window


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sound scans, and between them a damaged one."""
    source = tmp_path / "scans"
    source.mkdir()
    for seed, name in enumerate(("a.nii.gz", "c.nii.gz")):
        hs.write(scan((10, 11, 12), (1.0, 1.0, 2.0), seed), source / name)
    (source / "b.nii.gz").write_bytes(b"damaged")
    return source


@pytest.fixture
def window(controller, services, qtbot):
    """The window of the dock's batch; it reads, segments and writes really."""
    real = Services()
    model = FakeModel(lambda spacing: local_network())
    model.card = services.models["fake"].card
    services.models["local"] = model
    controller.choices.model = "local"
    qtbot.waitUntil(lambda: controller.models.model is model)
    services.read = real.read
    window = Window()
    controller.batch.open(window)
    return window


def run(qtbot, controller, folder, **request):
    target = folder.parent / "labels"
    controller.batch.run(BatchRequest(str(folder), str(target), **request))
    qtbot.waitUntil(lambda: not controller.running, timeout=20_000)
    return target


def test_scans_are_segmented_and_failures_are_listed(qtbot, controller, window, view, folder):
    target = run(qtbot, controller, folder, kind="fixed", spacing="2")
    assert [row.name for row in window.rows] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    good, bad, _ = window.rows
    assert (good.state, good.spacing, good.tone) == ("labels in a.nii.gz", "2 mm", "good")
    assert good.time
    assert bad.state.startswith("failed: ") and bad.tone == "error"
    assert str(folder) not in bad.state
    assert sorted(path.name for path in target.iterdir()) == ["a.nii.gz", "c.nii.gz"]
    expected = "2 of 3 scans segmented, 1 failed."
    assert window.states[-1] == (expected, "warning", None)
    assert view.last("message") == (expected, "warning")
    fractions = [fraction for _, _, fraction in window.states if fraction is not None]
    assert fractions == sorted(fractions)


def test_each_scan_at_its_own_spacing_with_the_docks_post_processing(
    qtbot, controller, window, folder
):
    (folder / "b.nii.gz").unlink()
    controller.segmentation.set_postprocessing(PostprocessingOptions(True, 0.0, 20.0))
    assert "largest component, holes up to 20 mm³ filled" in controller.batch.describe()
    target = run(qtbot, controller, folder)
    own = hs.read(folder / "a.nii.gz").grid.canonical().spacing_mm
    assert [row.spacing for row in window.rows] == [format_spacing(own, collapse=True)] * 2
    assert window.states[-1][:2] == ("2 of 2 scans segmented.", "good")
    labels = hs.read(target / "a.nii.gz")
    options = controller.choices.inference_options()
    plain = hs.segment(hs.read(folder / "a.nii.gz"), controller.models.model, options=options)
    expected = hs.postprocess(plain, largest_component=True, fill_holes_mm3=20.0)
    np.testing.assert_array_equal(labels.array, expected.array)


def test_the_budget_is_passed_on(qtbot, controller, window, services, folder):
    asked = []

    def predict_all_steps(pairs, model, *, spacing_mm, limits, **options):
        asked.append((spacing_mm, limits))
        return iter(())

    services.predict_all_steps = predict_all_steps
    run(qtbot, controller, folder, kind="budget", seconds=5.0, gigabytes=2.0)
    run(qtbot, controller, folder, kind="budget", seconds=5.0)
    run(qtbot, controller, folder, kind="fixed", spacing="1,1,3")
    run(qtbot, controller, folder)
    assert asked == [
        (None, (5.0, 2_000_000_000)),
        (None, (5.0, None)),
        ((1.0, 1.0, 3.0), None),
        (None, None),
    ]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (BatchRequest("", "/x"), "Name the folder"),
        (BatchRequest("/x", ""), "Name the folder"),
        (BatchRequest("/nowhere", "/x"), "no such file or folder"),
        (BatchRequest("/nowhere", "/x", kind="fixed", spacing="-1"), "not a spacing"),
    ],
)
def test_what_cannot_be_run_is_said(controller, window, request_, text):
    controller.batch.run(request_)
    assert text in window.states[-1][0] and window.states[-1][1] == "error"
    assert not controller.running and window.rows == []


def test_a_batch_is_cancelled_and_keeps_what_was_written(
    qtbot, controller, window, services, folder
):
    going = threading.Event()
    real = Services().predict_all_steps

    def predict_all_steps(pairs, model, *, should_stop, **options):
        for step in real(pairs, model, should_stop=should_stop, **options):
            yield step
            if step.finished is not None:
                going.set()
                while not should_stop():
                    pass
                raise Cancelled

    services.predict_all_steps = predict_all_steps
    target = folder.parent / "labels"
    controller.batch.run(BatchRequest(str(folder), str(target)))
    controller.segmentation.run()  # nothing else runs meanwhile
    qtbot.waitUntil(going.is_set, timeout=20_000)
    qtbot.waitUntil(lambda: window.rows[0].tone == "good")
    controller.batch.cancel()
    qtbot.waitUntil(lambda: not controller.running)
    assert [path.name for path in target.iterdir()] == ["a.nii.gz"]
    assert [row.state for row in window.rows[1:]] == ["not segmented"] * 2
    assert window.states[-1] == ("1 of 3 scans segmented, 2 left.", "warning", None)
    assert services.runs == []


def test_a_result_is_opened_with_its_scan(qtbot, controller, viewer, window, folder):
    (folder / "c.nii.gz").unlink()
    run(qtbot, controller, folder)
    before = len(viewer.layers)
    controller.batch.open_result(1)  # it has failed
    assert not controller.running and len(viewer.layers) == before
    controller.batch.open_result(0)
    qtbot.waitUntil(lambda: not controller.running)
    image, labels = viewer.layers[before:]
    assert isinstance(image, Image) and isinstance(labels, Labels)
    assert labels.name == f"labels · {image.name}"
    np.testing.assert_array_equal(image.scale, labels.scale)
    np.testing.assert_array_equal(image.translate, labels.translate)


def test_the_results_are_saved_as_a_table(qtbot, controller, window, folder, tmp_path):
    run(qtbot, controller, folder, kind="fixed", spacing="2")
    path = tmp_path / "results.csv"
    controller.batch.export(str(path))
    assert window.states[-1][:2] == ("Saved results.csv.", "good")
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith("scan,error,spacing z (mm),spacing y (mm),spacing x (mm),seconds,")
    assert [line.partition(",")[0] for line in lines[1:]] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    controller.batch.export(str(tmp_path / "other"))
    assert window.states[-1][0] == "Saved other.csv."
    controller.batch.export(str(tmp_path / "no" / "such" / "folder.csv"))
    assert window.states[-1][1] == "error"


def test_the_window_can_be_closed_and_opened_again(qtbot, controller, window, folder):
    controller.batch.close()
    before = list(window.states)
    run(qtbot, controller, folder)
    assert window.states == before
    again = Window()
    controller.batch.open(again)
    assert [row.tone for row in again.rows] == ["good", "error", "good"]
    assert again.states[-1][0] == "2 of 3 scans segmented, 1 failed."


def test_a_model_that_cannot_be_loaded_is_said(qtbot, controller, window, view, folder):
    controller.choices.model = "/nowhere/broken.safetensors"
    run(qtbot, controller, folder)
    assert window.states[-1][:2] == ("Nothing was segmented; the panel shows why.", "error")
    qtbot.waitUntil(lambda: "this is no model" in view.last("message")[0])
