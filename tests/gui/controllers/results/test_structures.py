"""The image whose means are shown: the one that was segmented, under its current name."""

from __future__ import annotations

import copy
import csv
import math
import weakref

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Image, Labels, Layer
from scipy import ndimage

from napari_hyperspace.api.agreement import agreement
from napari_hyperspace.gui.adapters import layers as convert
from napari_hyperspace.gui.controllers.results.structures import StructuresController

SCALE = (2.0, 0.5, 1.5)


def make_image(name, seed, **options):
    values = np.random.default_rng(seed).normal(seed, 1, size=(7, 10, 9))
    return Image(values, **({"scale": SCALE, "units": "mm", "name": name} | options))


@pytest.fixture
def structures(qtbot, viewer, view):
    structures = StructuresController(viewer, view, lambda text, tone: None)
    yield structures
    structures.close()


@pytest.fixture
def t1(viewer):
    viewer.layers.clear()
    return viewer.add_layer(make_image("T1", 100))


@pytest.fixture
def t2(viewer, t1):
    return viewer.add_layer(make_image("T2", 7))


@pytest.fixture
def result(controller, viewer, t1, t2, structures, qtbot):
    """Labels made from T1, while T2 lies on the same voxels."""
    controller.scan.choose(str(id(t1)))
    controller.segmentation.run()
    qtbot.waitUntil(lambda: not controller.running)
    (layer,) = (one for one in viewer.layers if isinstance(one, Labels))
    return layer


def means(structures, qtbot):
    qtbot.waitUntil(lambda: structures.is_idle)
    qtbot.wait(20)
    return [one.mean for one in structures.structures()]


def exported(structures, tmp_path):
    path = tmp_path / "table.csv"
    structures.export(str(path))
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    (image,) = {row["image"] for row in rows}
    return image, [row["mean_intensity"] for row in rows]


def of(image, labels):
    return pytest.approx(ndimage.mean(image.data, labels.data, (1, 2)))


def brush(labels):
    labels.data_setitem((np.array([0]), np.array([1]), np.array([2])), 1)


def test_renaming_the_image_keeps_the_means(result, t1, structures, qtbot, tmp_path):
    assert means(structures, qtbot) == of(t1, result)
    assert exported(structures, tmp_path)[0] == "T1"
    t1.name = "renamed"
    assert means(structures, qtbot) == of(t1, result)
    assert exported(structures, tmp_path)[0] == "renamed"
    brush(result)
    assert means(structures, qtbot) == of(t1, result)
    assert exported(structures, tmp_path)[0] == "renamed"


def test_exchanging_the_names_of_images_keeps_the_means(
    result, t1, t2, structures, qtbot, tmp_path
):
    t1.name = "old"
    t2.name = "T1"
    brush(result)
    assert means(structures, qtbot) == of(t1, result)
    assert exported(structures, tmp_path)[0] == "old"


def test_there_is_no_mean_after_the_image_is_removed(
    controller, result, viewer, t1, structures, qtbot, tmp_path
):
    viewer.layers.remove(t1)
    assert all(math.isnan(mean) for mean in means(structures, qtbot))
    assert exported(structures, tmp_path) == ("T1", ["", ""])  # the image of the run
    viewer.add_layer(t1)
    assert means(structures, qtbot) == of(t1, result)


def test_there_is_no_mean_while_the_image_is_moved_away(result, t1, structures, qtbot):
    t1.translate = (0, 0, 30)
    assert all(math.isnan(mean) for mean in means(structures, qtbot))
    t1.translate = (0, 0, 0)
    assert means(structures, qtbot) == of(t1, result)
    result.translate = (0, 0, 30)
    assert all(math.isnan(mean) for mean in means(structures, qtbot))


def test_new_image_values_update_the_means(result, t1, t2, structures, qtbot):
    before = means(structures, qtbot)
    t1.data = t1.data * 3
    assert means(structures, qtbot) == of(t1, result)
    assert means(structures, qtbot) == pytest.approx(np.multiply(before, 3))


def test_labels_of_unknown_origin_are_measured_on_the_topmost_image(
    viewer, t1, t2, structures, qtbot, tmp_path
):
    values = np.random.default_rng(0).integers(0, 3, (7, 10, 9))
    labels = viewer.add_layer(Labels(values, scale=SCALE, units="mm", name="mine"))
    assert means(structures, qtbot) == of(t2, labels)
    assert exported(structures, tmp_path)[0] == "T2"
    t2.name = "new"
    means(structures, qtbot)
    assert exported(structures, tmp_path)[0] == "new"
    viewer.layers.remove(t2)
    assert means(structures, qtbot) == of(t1, labels)
    assert exported(structures, tmp_path)[0] == "T1"


def test_copies_of_a_result_keep_the_reference_to_its_image_but_volumes_do_not(
    result, viewer, t1, structures, qtbot
):
    attributes = result.as_layer_data_tuple()[1]
    other = Layer.create(copy.deepcopy(result.data), copy.deepcopy(attributes), "labels")
    viewer.add_layer(other)
    assert structures.layer is other
    assert means(structures, qtbot) == of(t1, other)
    volume = convert.to_volume(result.data, attributes)
    assert volume.metadata["image"] == "T1"
    assert not any(isinstance(one, weakref.ref) for one in volume.metadata.values())


def test_closing_disconnects_from_the_image(viewer, t1, structures, qtbot):
    viewer.add_layer(Labels(np.ones((7, 10, 9), int), scale=SCALE, units="mm", name="mine"))
    means(structures, qtbot)
    assert any("Structures" in repr(one) for one in t1.events.data.callbacks)
    structures.close()
    assert not any("Structures" in repr(one) for one in t1.events.data.callbacks)


def test_the_table_has_the_columns_of_a_comparison(result, structures, qtbot, tmp_path):
    means(structures, qtbot)
    one = convert.to_volume(*result.as_layer_data_tuple()[:2])
    other = one.with_array(np.where(one.array == 1, 0, one.array))
    structures.show_agreement(result, agreement(one, other), "brain 3 mm")
    structures.export(str(tmp_path / "table.csv"))
    first, second = csv.DictReader((tmp_path / "table.csv").read_text("utf-8").splitlines())
    assert first["compared_with"] == "brain 3 mm"
    assert (float(first["compared_volume_ml"]), float(first["dice"])) == (0, 0)
    assert float(first["volume_difference_ml"]) == -float(first["volume_ml"])
    assert (float(second["volume_difference_ml"]), float(second["dice"])) == (0, 1)
    assert "\tdice\n" in structures.table_text()
    structures.show_agreement(result, None)
    assert "dice" not in structures.table_text()
