"""Labels refined in a box: what changes there, and that nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.corrections.box import box_with_context, refine_box_steps
from napari_hyperspace.api.scan_block import seen_box
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.base.localization import Localization
from tests.models import FakeModel, linear_model
from tests.scans import rotated_affine

BOX = (slice(6, 24), slice(3, 17), slice(5, 25))


def brightness_model(**options) -> FakeModel:
    """A model of label 1 where the normalized image is above 0, and label 2 above 2."""

    def make(spacing_mm):
        network = nn.Conv3d(1, 3, 1)
        network.weight.data[:, 0, 0, 0, 0] = torch.tensor([0.0, 1.0, 2.0])
        network.bias.data = torch.tensor([0.0, 0.0, -2.0])
        return network

    return FakeModel(make, **options)


@pytest.fixture
def scan() -> Volume:
    """A bright ball, without noise, so that its surface can be compared."""
    shape = (31, 19, 29)
    grid = Grid(shape, rotated_affine((1.1, 2.3, 0.9)))
    at = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    distance = np.linalg.norm(at * grid.spacing_mm, axis=-1)
    return Volume((20 - distance).astype(np.float32), grid, "scan")


@pytest.fixture
def labels(scan: Volume) -> Volume:
    """A ball that is too large, and a structure of another origin."""
    array = (scan.array > -4).astype(np.uint8)
    array[8:11, 4:6, 8:12] = 9
    return scan.with_array(array, metadata={"label_names": {1: "one", 9: "painted"}})


def test_nothing_changes_outside_of_the_box(scan: Volume, labels: Volume) -> None:
    result = run_to_end(
        refine_box_steps(scan, labels, brightness_model(), BOX, (1.5, 1.2, 1.0), precision="fp32")
    )
    outside = np.ones(scan.shape, bool)
    outside[BOX] = False
    refined = result.labels.array
    assert refined.dtype == labels.dtype
    assert refined[outside].tobytes() == labels.array[outside].tobytes()
    assert result.changed == np.count_nonzero(refined != labels.array) > 100
    assert result.labels.affine.tobytes() == labels.affine.tobytes()
    assert result.labels.metadata["label_names"] == {1: "one", 9: "painted"}
    assert result.spacing_mm == (1.5, 1.2, 1.0)


def test_inside_the_band_the_labels_are_those_of_a_run_over_the_scan(
    scan: Volume, labels: Volume
) -> None:
    """The scan is normalized as a whole, as in a run."""
    model = brightness_model()
    whole = hs.segment(scan, model, (1.0, 1.0, 1.0)).array
    refined = hs.refine_box(
        scan, labels, model, BOX, (1.0, 1.0, 1.0), band_mm=2.0, precision="fp32"
    ).array
    inner = (slice(8, 22), slice(4, 16), slice(8, 22))
    foreign = labels.array[inner] == 9
    # Tiles of a part have other phases: a voxel at the surface may fall on its other side.
    different = (refined[inner] != whole[inner]) & ~foreign
    assert different.mean() < 0.02
    assert (refined[inner][foreign] == 9).all()


def test_surfaces_are_continuous_at_the_border(scan: Volume, labels: Volume) -> None:
    """Without a band there is a step at the face of the box; with one there is none."""

    def step(band_mm: float) -> float:
        refined = (
            hs.refine_box(
                scan, labels, brightness_model(), BOX, band_mm=band_mm, precision="fp32"
            ).array
            == 1
        )
        before, after = refined[5, 3:17, 5:25], refined[6, 3:17, 5:25]
        return np.count_nonzero(before ^ after) / np.count_nonzero(before)

    own = labels.array == 1
    usual = np.count_nonzero(own[5, 3:17, 5:25] ^ own[6, 3:17, 5:25])
    usual /= np.count_nonzero(own[5, 3:17, 5:25])
    assert step(0.0) > usual + 0.1
    assert step(6.0) <= usual + 0.02


def test_a_class_conditional_model_refines_what_is_in_the_box(scan: Volume, labels: Volume) -> None:
    """The margin is the mask itself: nothing changes; and outside of the structures nothing is."""
    same = hs.refine_box(scan, labels, linear_model(mask=1.0, offset=-0.5), BOX, precision="fp32")
    assert np.array_equal(same.array, labels.array)
    empty = labels.with_array(np.zeros_like(labels.array))
    assert not hs.refine_box(scan, empty, linear_model(), BOX).array.any()


def test_a_model_sees_at_least_what_it_was_trained_on() -> None:
    grid = Grid((100, 60, 80), np.diag([1.0, 2.0, 1.5, 1.0]))
    box = (slice(2, 12), slice(30, 40), slice(70, 80))
    plain = brightness_model()
    assert box_with_context(box, grid, plain) == (slice(0, 28), slice(22, 48), slice(59, 80))
    plain.tile_mm = (90.0, 80.0, 90.0)
    assert box_with_context(box, grid, plain) == (slice(0, 80), slice(15, 55), slice(27, 80))
    plain.tile_mm, plain.tile_shape = None, (40, 40, 40)
    assert box_with_context(box, grid, plain, (1, 1, 1))[1] == slice(22, 48)
    assert box_with_context(box, grid, plain, (2, 2, 2))[1] == slice(15, 55)
    plain.localization = Localization(4.0, 8.0, (300.0, 300.0, 300.0))
    assert box_with_context(box, grid, plain) == (slice(0, 100), slice(0, 60), slice(0, 80))
    assert box_with_context(box, grid, linear_model()) == seen_box(box, grid)


def test_labels_of_another_model_are_refused(scan: Volume, labels: Volume) -> None:
    model = brightness_model(label_names={1: "cortex", 2: "two"})
    with pytest.raises(hs.HyperspaceError, match=r"value 1[\s\S]*one[\s\S]*cortex"):
        hs.refine_box(scan, labels, model, BOX)


@pytest.mark.parametrize("wrong", [slice(5, 5), slice(-3, 4), slice(0, 99), slice(0, 8, 2)])
def test_a_box_that_is_no_part_of_the_scan_is_refused(
    scan: Volume, labels: Volume, wrong: slice
) -> None:
    with pytest.raises(hs.HyperspaceError, match="not a part of the scan"):
        hs.refine_box(scan, labels, brightness_model(), (wrong, BOX[1], BOX[2]))


def test_labels_on_another_grid_are_refused(scan: Volume, labels: Volume) -> None:
    moved = labels.grid.affine.copy()
    moved[:3, 3] += 3
    elsewhere = Volume(labels.array, Grid(labels.shape, moved))
    with pytest.raises(hs.HyperspaceError, match="not on the grid of the scan"):
        hs.refine_box(scan, elsewhere, brightness_model(), BOX)


def test_refinement_of_a_box_can_be_stopped(scan: Volume, labels: Volume) -> None:
    steps = refine_box_steps(scan, labels, brightness_model(), BOX, should_stop=lambda: True)
    with pytest.raises(hs.Cancelled):
        run_to_end(steps)
