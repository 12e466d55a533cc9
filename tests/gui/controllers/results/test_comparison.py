"""Two results beside each other: panes of napari's grid, agreement, and the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Image, Labels

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.grid_view import GridView, covers
from napari_hyperspace.gui.adapters.label_attributes import label_attributes
from napari_hyperspace.gui.adapters.layers import RESULT_KEY, to_layer_data
from napari_hyperspace.gui.adapters.viewer import VIEW_KEY, image_layers, label_layers

PLACED = {"scale": (2.0, 0.5, 1.5), "units": "mm"}
NAMES = {1: "front", 2: "back"}
OBLIQUE = np.array(
    [[0.1, -0.68, 0.3, 41.5], [-0.67, -0.1, 0.4, -12], [-0.04, -0.05, -4.97, 63], [0, 0, 0, 1]]
)


def make_labels(seed, name, **options):
    values = np.random.default_rng(seed).integers(0, 3, (7, 10, 9)).astype(np.uint8)
    options = {**PLACED, "metadata": {RESULT_KEY: {"model": "fake"}}, **options}
    return Labels(values, name=name, **options, **label_attributes(NAMES, {}))


@pytest.fixture
def scene(viewer):
    """A scan, something above it that is hidden, and three label maps."""
    viewer.layers.clear()
    values = np.random.default_rng(0).normal(size=(7, 10, 9))
    viewer.add_layer(Image(values, name="scan", **PLACED))
    viewer.add_layer(make_labels(1, "one"))
    viewer.add_layer(Image(values, name="hidden", visible=False, **PLACED))
    viewer.add_layer(make_labels(2, "two"))
    viewer.add_layer(make_labels(3, "three", visible=False))
    viewer.layers.selection.active = viewer.layers["two"]
    return viewer


def state(viewer):
    grid = viewer.canvas.grid
    return (
        [layer.name for layer in viewer.layers],
        [layer.visible for layer in viewer.layers],
        [layer.name_overlay.visible for layer in viewer.layers],
        (grid.enabled, grid.stride, grid.shape, grid.spacing),
        viewer.layers.selection.active,
        set(viewer.layers.selection),
    )


def panes(viewer):
    """The names of the layers in each pane, as napari's own grid counts them."""
    grid = viewer.canvas.grid
    return [
        [viewer.layers[i].name for i in indices if viewer.layers[i].visible]
        for _, indices in grid.iter_viewboxes(viewer.layers)
    ]


@pytest.mark.parametrize("enabled", [False, True])
def test_both_lie_on_the_scan_and_everything_is_as_before_afterwards(scene, enabled):
    scene.canvas.grid.stride = -3
    scene.canvas.grid.enabled = enabled
    before = state(scene)
    scan = scene.layers["scan"]
    shown = GridView(scene, scene.layers["two"], scene.layers["one"])
    left, right, different, *empty = panes(scene)
    assert (left, right[1:], different[1:]) == (["scan", "two"], ["one"], ["A ≠ B"])
    assert not any(empty)
    copy = next(layer for layer in scene.layers if layer.name == right[0])
    assert copy is not scan
    assert copy.data is scan.data
    assert {str(unit) for unit in scene.layers.extent.units} == {"millimeter"}
    copy.contrast_limits = (-1, 1)
    assert scan.contrast_limits == [-1, 1]
    shown.close()
    assert state(scene) == before
    assert copy not in scene.layers


def test_the_third_pane_shows_where_they_differ(scene):
    one, two = scene.layers["one"], scene.layers["two"]
    shown = GridView(scene, one, two)
    different = (one.data != two.data).astype(np.uint8)
    shown.set_different(different, {1: "A front, B back"}, {1: "#d55e00"})
    assert [pane[-1] for pane in panes(scene)[:3]] == ["one", "two", "A ≠ B"]
    layer = scene.layers["A ≠ B"]
    np.testing.assert_array_equal(layer.data, different)
    np.testing.assert_array_equal(layer.scale, one.scale)
    place = tuple(np.argwhere(different)[0])
    assert "A front, B back" in layer.get_status(layer.data_to_world(place), world=True)["value"]
    shown.show_different(False)
    assert [pane[-1] for pane in panes(scene)] == ["one", "two"]
    shown.show_different(True)
    shown.set_different(different * 2, {2: "other"}, {2: "#d55e00"})
    assert scene.layers["A ≠ B"] is layer
    assert len(panes(scene)) == 4  # of which one is empty
    shown.close()
    assert layer not in scene.layers


def test_the_canvas_is_made_anew_as_rarely_as_possible(scene):
    """Entering adds all layers first; nothing is added once the differences are known."""
    one, two = scene.layers["one"], scene.layers["two"]
    grid, layers = scene.canvas.grid, scene.layers
    shapes, moves, selections = [], [], []

    def seen(event=None):
        shapes.append(grid.actual_shape(layers) if grid.enabled else None)

    for emitter in (grid.events.enabled, *(layer.events.visible for layer in layers)):
        emitter.connect(seen)
    layers.events.reordered.connect(moves.append)
    shown = GridView(scene, one, two)
    assert shapes[-1] == (2, 2)
    assert set(shapes) <= {None, (2, 2)}
    assert len(moves) == 1
    before = list(layers)
    shown.set_different((one.data != two.data).astype(np.uint8), {1: "x"}, {})
    assert list(layers) == before
    shapes.clear()
    shown.show_in_place(two)
    assert set(shapes) == {None}
    shown.show_beside()
    assert set(shapes) == {None, (2, 2)}
    layers.selection.events.changed.connect(lambda event: selections.append(len(layers.selection)))
    shown.close()
    assert max(selections) <= 1  # napari makes controls anew for each choice of several layers


def test_in_place_the_view_does_not_move(scene):
    one, two = scene.layers["one"], scene.layers["two"]
    shown = GridView(scene, one, two)
    shown.set_different((one.data != two.data).astype(np.uint8), {1: "x"}, {})
    assert [pane[-1] for pane in panes(scene)[:3]] == ["one", "two", "A ≠ B"]
    camera = scene.scene.camera
    camera.center = (0.0, 2.5, 6.0)
    seen = []
    for layer in (one, two, one):
        shown.show_in_place(layer)
        assert not scene.canvas.grid.enabled
        seen.append((camera.center, camera.zoom))
        assert [x.name for x in scene.layers if x.visible] == ["scan", layer.name]
    assert len(set(seen)) == 1
    shown.show_beside()
    assert camera.center == (0.0, 2.5, 6.0)
    assert len(panes(scene)[0]) == 2


def test_layers_that_come_and_go_meanwhile_stay_where_they_are(scene):
    one, two, three = (scene.layers[name] for name in ("one", "two", "three"))
    shown = GridView(scene, one, two)
    scene.layers.insert(scene.layers.index(one) + 1, make_labels(5, "new"))
    scene.layers.remove(three)
    scene.layers.selection = {scene.layers["new"]}
    shown.close()
    assert [layer.name for layer in scene.layers] == ["scan", "one", "new", "hidden", "two"]
    assert scene.layers.selection.active.name == "new"
    assert [layer.visible for layer in scene.layers] == [True, True, True, False, True]


def test_results_that_a_new_one_has_hidden_stay_hidden(scene):
    one, two = scene.layers["one"], scene.layers["two"]
    shown = GridView(scene, one, two)
    scene.add_layer(make_labels(5, "new"))
    one.visible = two.visible = False
    shown.close()
    assert [layer.name for layer in scene.layers if layer.visible] == ["scan", "new"]


def test_layers_of_the_view_are_neither_scans_nor_results(scene):
    images, labels = image_layers(scene), label_layers(scene)
    one, two = scene.layers["one"], scene.layers["two"]
    shown = GridView(scene, one, two)
    shown.set_different((one.data != two.data).astype(np.uint8), {1: "x"}, {})
    assert set(image_layers(scene)) == set(images)
    assert set(label_layers(scene)) == set(labels)


def test_labels_without_a_scan_are_shown_alone(viewer):
    viewer.layers.clear()
    one, two = (viewer.add_layer(make_labels(seed, f"labels {seed}")) for seed in (1, 2))
    shown = GridView(viewer, one, two)
    assert panes(viewer)[:3] == [["labels 1"], ["labels 2"], ["A ≠ B"]]
    shown.close()


def test_labels_made_in_napari_on_an_oblique_scan_cover_it(viewer):
    volume = Volume(np.zeros((5, 7, 3), np.uint8), Grid((5, 7, 3), OBLIQUE), "oblique")
    data, attributes, _ = to_layer_data(volume, "labels")
    ours = Labels(data, **attributes)
    placed = {name: getattr(ours, name) for name in ("scale", "translate", "units")}
    assert covers(ours, Labels(np.zeros_like(data), **placed))
    moved = placed | {"translate": np.add(ours.translate, (0.02, 0, 0))}
    assert not covers(ours, Labels(np.zeros_like(data), **moved))
    assert not covers(ours, Labels(np.zeros_like(data)[1:], **placed))
    assert not covers(ours, Labels(np.zeros((3, 4), np.uint8)))


# -- the controller ---------------------------------------------------------------------------


def test_layers_of_the_view_change_neither_table_nor_lists(controller, scene, view, qtbot):
    """They are added and removed with the canvas: nothing is measured or listed again."""
    scene.layers.selection.active = scene.layers["one"]
    qtbot.waitUntil(lambda: controller.structures.is_idle and view.last("structures") is not None)
    listed, measured = [], []
    controller.layers.listed.connect(lambda: listed.append(True))
    controller.structures._lane.submit = lambda *job: measured.append(True)
    copy = scene.add_layer(make_labels(5, "view", metadata={VIEW_KEY: True}))
    scene.layers.selection.active = scene.layers["one"]
    scene.layers.remove(copy)
    assert not listed and not measured


@pytest.fixture
def compared(controller, scene, qtbot):
    """Compare the labels "one" with "two", which are already there."""
    states = []
    controller.comparison.changed.connect(states.append)
    scene.layers.selection.active = scene.layers["one"]

    def compare(first="one", second="two"):
        controller.comparison.compare(scene.layers[first], scene.layers[second])
        qtbot.waitUntil(lambda: states[-1] is not None and "Dice" in states[-1].summary)
        return states[-1]

    compare.states = states
    yield compare
    controller.comparison.leave()


def compared_rows(view, qtbot):
    """Wait until the table is measured and compared, and return its rows."""

    def rows():
        shown = view.last("structures")
        return [] if shown is None else [row for row in shown[0] if row.dice is not None]

    qtbot.waitUntil(lambda: bool(rows()))
    return rows()


def test_the_agreement_is_shown_in_the_table_while_comparing(
    controller, scene, compared, view, qtbot
):
    qtbot.waitUntil(lambda: controller.structures.is_idle)
    shown = compared()
    one, two = (scene.layers[name].data for name in ("one", "two"))
    for row in compared_rows(view, qtbot):
        ours, theirs = np.isin(one, row.values), np.isin(two, row.values)
        assert row.dice == 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
        assert row.compared_ml == pytest.approx(theirs.sum() * 0.0015, rel=1e-12)
    assert (shown.first.name, shown.second.name) == ("one", "two")
    assert shown.different and not shown.in_place
    controller.comparison.leave()
    assert compared.states[-1] is None
    assert all(row.dice is None for row in view.last("structures")[0])


def test_blinking_shows_the_other_one(controller, scene, compared):
    compared()
    shown = []
    for _ in range(3):
        controller.comparison.blink()
        shown += [x.name for x in scene.layers if x.visible and isinstance(x, Labels)]
        assert compared.states[-1].in_place
    assert shown == ["one", "two", "one"]
    controller.comparison.show_beside()
    assert not compared.states[-1].in_place


def test_the_key_is_bound_while_comparing(controller, scene, compared):
    before = dict(scene.keymap)
    compared()
    (added,) = set(scene.keymap) - set(before)
    scene.keymap[added](scene)
    assert compared.states[-1].in_place
    controller.comparison.leave()
    assert scene.keymap == before


def test_three_planes_show_one_result_at_a_time(controller, scene, compared, qtbot):
    controller.layers.choose(str(id(scene.layers["scan"])))
    zoom = scene.scene.camera.zoom
    compared()
    controller.planes.show(True)
    assert controller.planes.shown
    qtbot.wait(20)
    assert compared.states[-1].in_place
    controller.comparison.blink()
    assert compared.states[-1].second_shown
    assert controller.planes.shown
    controller.comparison.show_beside()
    assert not controller.planes.shown
    qtbot.wait(20)
    assert controller.comparison.comparing
    controller.comparison.leave()
    assert scene.scene.camera.zoom == pytest.approx(zoom)


def test_edits_are_compared_again(controller, scene, compared, qtbot):
    compared()
    one, two = scene.layers["one"], scene.layers["two"]
    one.data = two.data.copy()
    qtbot.waitUntil(lambda: "No voxel differs" in compared.states[-1].summary)
    one.data_setitem(np.nonzero(one.data == 2), 1)
    qtbot.waitUntil(lambda: "They differ in" in compared.states[-1].summary)


def test_other_labels_on_the_grid_are_offered_and_a_new_run(controller, scene, compared, view):
    scene.add_layer(make_labels(9, "elsewhere", translate=(1, 0, 0)))
    scene.add_layer(make_labels(9, "painted", metadata={}))
    scene.layers.selection.active = scene.layers["one"]
    view.answers["ask_choice"] = [None]
    controller.comparison.choose()
    (_, (_, question, options)) = view.asked[-1]
    assert question == "Compare one with"
    assert options == ["painted (reference)", "three", "two", "a new run …"]
    assert not controller.comparison.comparing


def test_a_new_run_is_compared_when_it_is_done(controller, viewer, view, services, qtbot, run):
    run(qtbot, controller)
    (first,) = label_layers(viewer)
    view.answers = {"ask_choice": [0], "ask_spacing": [(3.0, 2.0, 2.0)]}
    controller.comparison.choose()
    qtbot.waitUntil(lambda: controller.comparison.comparing)
    assert services.runs[-1][1] == (3.0, 2.0, 2.0)
    assert controller.choices.spacing_mm == (3.0, 2.0, 2.0)
    new = next(layer for layer in label_layers(viewer) if layer is not first)
    assert [pane[-1] for pane in panes(viewer)[:2]] == [first.name, new.name]
    qtbot.waitUntil(lambda: controller.comparison.is_idle)
    controller.comparison.leave()


def test_a_run_that_fails_is_not_compared(controller, viewer, view, services, qtbot, run):
    run(qtbot, controller)
    view.answers = {"ask_choice": [0], "ask_spacing": [(3.0, 2.0, 2.0)]}
    services.error = RuntimeError("out of order")
    controller.comparison.choose()
    qtbot.waitUntil(lambda: not controller.running)
    services.error = None
    run(qtbot, controller)
    qtbot.wait(20)
    assert not controller.comparison.comparing


def test_without_labels_there_is_nothing_to_compare(controller, view):
    controller.comparison.choose()
    assert "no labels" in view.messages[-1][0]


def test_labels_with_nothing_in_common_end_the_comparison(controller, scene, view, qtbot):
    one, two = scene.layers["one"], scene.layers["two"]
    two.features = label_attributes({1: "liver", 2: "lung"}, {})["features"]
    before = state(scene)
    controller.comparison.compare(one, two)
    qtbot.waitUntil(lambda: not controller.comparison.comparing)
    assert "no structure in common" in view.messages[-1][0]
    assert state(scene) == before


@pytest.mark.parametrize("what", ["all", "one", "scan"])
def test_deleting_layers_ends_the_comparison(controller, scene, compared, qtbot, what):
    compared()
    if what == "all":
        scene.layers.select_all()
        scene.layers.remove_selected()
        left = []
    else:
        scene.layers.remove(scene.layers[what])
        left = [name for name in ("scan", "one", "hidden", "two", "three") if name != what]
    qtbot.waitUntil(lambda: not controller.comparison.comparing)
    assert [layer.name for layer in scene.layers] == left
    assert not scene.canvas.grid.enabled


def test_a_structure_that_only_one_can_have_has_no_numbers(
    controller, scene, compared, view, qtbot
):
    scene.layers["two"].features = label_attributes({1: "front", 2: "other"}, {})["features"]
    shown = compared()
    assert "only in A: back" in shown.summary
    assert "only in B: other" in shown.summary
    front, back = compared_rows(view, qtbot)
    assert front.dice > 0
    assert math.isnan(back.dice)
    assert math.isnan(back.compared_ml)
