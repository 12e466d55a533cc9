"""Opening scans, with a question where a file lacks an option, and saving labels."""

from __future__ import annotations

import weakref

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Labels

from napari_hyperspace.core.errors import HyperspaceError, OptionNeededError, SeriesChoice
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters import layers as convert
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY


def volume(name="opened"):
    return Volume(np.zeros((3, 4, 5)), Grid.from_spacing((3, 4, 5), (2.0, 1.0, 1.0)), name)


def open_path(qtbot, controller, path):
    controller.files.open(path)
    qtbot.waitUntil(lambda: not controller.running)


def test_an_opened_scan_is_chosen(controller, viewer, view, services, qtbot):
    services.files["/a.nii"] = volume()
    open_path(qtbot, controller, "/a.nii")
    assert [one.name for one in controller.layers.layers] == ["opened"]
    assert view.last("scan") == ("3 × 4 × 5 · 2 × 1 × 1 mm",)


def test_opened_labels_hide_the_results_of_the_scan(controller, viewer, services, qtbot):
    services.files["/a.nii"] = volume()
    open_path(qtbot, controller, "/a.nii")
    (scan,) = controller.layers.layers
    made = {IMAGE_KEY: weakref.ref(scan)}
    result = viewer.add_labels(np.zeros((3, 4, 5), int), name="result", metadata=made)
    labels = volume("again")
    services.files["/b.nii"] = labels.with_array(
        np.zeros((3, 4, 5), np.uint8), metadata={"is_labels": True}
    )
    open_path(qtbot, controller, "/b.nii")
    opened = viewer.layers[-1]
    assert isinstance(opened, Labels) and opened.visible
    assert scan.visible and not result.visible


@pytest.mark.parametrize(
    ("option", "ask", "answer", "given_again"),
    [
        ("spacing_mm", "ask_spacing", (3.0, 2.0, 1.0), {"spacing_mm": (3.0, 2.0, 1.0)}),
        ("volume", "ask_choice", 5, {"volume": 5}),
        ("series", "ask_choice", 1, {"series": "1.3"}),
        ("fill", "ask_choice", 0, {"fill": 0.0}),
    ],
)
def test_a_missing_option_is_asked_and_the_file_is_read_again(
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


OPTIONS = {
    "spacing_mm": "Give spacing_mm, one number per array axis",
    "series": "Choose one with series=UID",
    "volume": "Choose one with volume=0 … 11",
    "fill": "Give a value for them with fill",
}


@pytest.mark.parametrize(("option", "fix"), OPTIONS.items())
def test_a_question_gives_no_advice_for_programs(
    controller, viewer, view, services, qtbot, option, fix
):
    def read(**options):
        raise OptionNeededError(
            "it holds something", option=option, where="/scans/odd.nii", found="3×4×5×12", fix=fix
        )

    services.files["/scans/odd.nii"] = read
    view.answers |= {"ask_choice": [None], "ask_spacing": [None]}
    open_path(qtbot, controller, "/scans/odd.nii")
    qtbot.waitUntil(lambda: bool(view.asked))
    assert view.last("message") == ("Not opened: odd.nii: it holds something.", "warning")
    ((_, asked),) = view.asked
    for text in (asked[1], *(args[0] for args in view.messages)):
        assert fix not in text and "/scans/" not in text
    assert asked[1].startswith("odd.nii: it holds something")
    assert len(viewer.layers) == 1


def test_the_selected_labels_are_saved_on_the_grid_of_their_scan(
    controller, viewer, view, services, qtbot, oblique_volume
):
    data, attributes, _ = convert.to_layer_data(oblique_volume, "labels")
    viewer.add_layer(Labels(data, **attributes | {"name": "mine"}))
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


def test_the_labels_of_the_scan_in_the_box_are_saved(
    controller, viewer, view, services, qtbot, run, make_scan
):
    run(qtbot, controller)
    viewer.add_layer(make_scan(name="other"))
    assert view.last("ready")["save"] is False
    controller.files.save()
    assert view.asked == services.written == []
    run(qtbot, controller)
    hidden = viewer.layers["fake 1 mm · other"]
    run(qtbot, controller)
    assert not hidden.visible
    viewer.layers.selection.active = viewer.layers["scan"]
    view.answers["ask_save_path"] = ["/a.nii", "/b.nii", "/c.nii"]

    def saved():
        controller.files.save()
        qtbot.waitUntil(lambda: not controller.running)
        return services.written[-1][0].name

    assert saved() == "fake 1 mm · scan"
    viewer.layers.selection.active = viewer.layers["other"]
    assert saved() == "fake 1 mm · other [1]"
    viewer.layers.selection.active = hidden
    assert saved() == "fake 1 mm · other"


def test_labels_that_are_not_a_volume_are_not_saved_and_the_reason_is_shown(
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


def test_a_file_that_cannot_be_read_is_logged_without_its_name(
    controller, view, services, qtbot, own_log
):
    def read(**options):
        raise HyperspaceError("damaged", where="/Mustermann.nii")

    services.files["/Mustermann.nii"] = read
    open_path(qtbot, controller, "/Mustermann.nii")
    assert "Mustermann" in view.last("message")[0]
    text = own_log.read_text("utf-8")
    assert " open: HyperspaceError" in text and "Mustermann" not in text
