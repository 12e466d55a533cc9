"""Refinement of rough labels with networks whose answer is known: the mask, or the image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.corrections import refine as module
from napari_hyperspace.api.corrections.refine import refine_steps
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import check_labels
from tests.models import FakeModel, linear_model
from tests.scans import rotated_affine

MASK = linear_model(mask=1.0, offset=-0.5)


@pytest.fixture
def scan() -> Volume:
    shape = (23, 19, 27)
    values = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    return Volume(values, Grid(shape, rotated_affine((1.1, 2.3, 0.9))), "scan")


def coarse_on(grid: Grid, boxes: dict[int, tuple[slice, slice, slice]], **metadata) -> Volume:
    labels = np.zeros(grid.shape, np.uint8)
    for value, box in boxes.items():
        labels[box] = value
    return Volume(labels, grid, "coarse", metadata)


@pytest.mark.parametrize("other", ["finer", "coarser", "flipped", "part"])
def test_labels_on_another_grid_are_placed_by_their_affine(scan: Volume, other: str) -> None:
    grid = scan.grid
    if other in ("finer", "coarser"):
        factor = 0.6 if other == "finer" else 1.0
        grid = grid.with_spacing([factor * s for s in (1.1, 1.7, 0.9)])
    elif other == "flipped":
        affine = grid.affine[:, [2, 0, 1, 3]].copy()
        affine[:3, 3] += affine[:3, 1] * (grid.shape[0] - 1)
        affine[:3, 1] *= -1
        grid = Grid((grid.shape[2], grid.shape[0], grid.shape[1]), affine)
    else:
        grid = grid.crop((5, 4, 6), (12, 10, 11))
    middle = [slice(n // 3, n - n // 4) for n in grid.shape]
    coarse = coarse_on(grid, {3: (middle[0], middle[1], middle[2])}, label_names={3: "cyst"})
    refined = hs.refine(scan, coarse, MASK)
    # The mask, interpolated at the centers of the scan's voxels.
    index = np.moveaxis(np.indices(scan.shape), 0, -1).reshape(-1, 3)
    at = grid.mm_to_index(scan.grid.index_to_mm(index)).T
    share = ndimage.map_coordinates(
        (coarse.array == 3).astype(float), at, order=1, mode="constant"
    ).reshape(scan.shape)
    if other != "finer":  # which is averaged over the scan's voxels
        clear = np.abs(share - 0.5) > 1e-3
        assert np.array_equal(refined.array[clear] == 3, share[clear] > 0.5)
    else:
        assert 2 * ((refined.array == 3) & (share > 0.5)).sum() > 0.95 * (
            (refined.array == 3).sum() + (share > 0.5).sum()
        )
    assert set(np.unique(refined.array)) == {0, 3}
    assert refined.affine.tobytes() == scan.affine.tobytes()
    assert refined.metadata["label_names"] == {3: "cyst"}


def test_strokes_are_respected_exactly(scan: Volume) -> None:
    coarse = coarse_on(scan.grid, {2: (slice(8, 14), slice(6, 12), slice(8, 18))})
    include = coarse_on(scan.grid, {2: (slice(3, 4), slice(6, 9), slice(9, 10))})
    exclude = coarse_on(scan.grid, {2: (slice(9, 10), slice(7, 11), slice(10, 12))})
    refined = hs.refine(scan, coarse, MASK, include=include, exclude=exclude).array
    expected = ((coarse.array == 2) | (include.array == 2)) & ~(exclude.array == 2)
    assert np.array_equal(refined == 2, expected)


def test_strokes_alone_are_enough(scan: Volume) -> None:
    nothing = coarse_on(scan.grid, {})
    include = coarse_on(scan.grid, {1: (slice(8, 14), slice(7, 8), slice(9, 16))})
    model = linear_model(include=1.0, offset=-0.5)
    refined = hs.refine(scan, nothing, model, include=include, fronts=False).array
    assert np.array_equal(refined == 1, include.array == 1)


def test_strokes_are_grown_by_fronts_before_the_network_sees_them() -> None:
    """The network returns the mask that it is given: the bright ball, from one stroke in it."""
    places = np.indices((24, 26, 28)) - np.array([11, 12, 14])[:, None, None, None]
    ball = (places**2).sum(axis=0) <= 7**2
    rng = np.random.default_rng(0)
    noisy = (ball + rng.normal(0, 0.05, ball.shape)).astype(np.float32)
    image = Volume(noisy, Grid.from_spacing(ball.shape, (1, 1.1, 1)), "ball")
    stroke = np.zeros(ball.shape, np.uint8)
    stroke[11, 12, 11:17] = 3
    nothing = image.with_array(np.zeros_like(stroke))
    include = image.with_array(stroke)
    found = hs.refine(image, nothing, MASK, include=include).array == 3
    assert found[stroke == 3].all() and found.sum() > 20 * (stroke == 3).sum()
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.8
    painted = hs.refine(image, include, MASK).array == 3
    assert np.array_equal(painted, found)
    alone = hs.refine(image, nothing, MASK, include=include, fronts=False).array == 3
    assert np.array_equal(alone, stroke == 3)


def test_only_the_part_with_values_is_looked_through(
    scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stroke in a whole scan costs as much as one in a small one, and gives the same labels."""
    sizes = []

    def recorded(volume: Volume) -> Volume:
        sizes.append(volume.array.size)
        return check_labels(volume)

    part = scan.grid.crop((6, 4, 7), (11, 12, 13))
    drawn = np.zeros(part.shape, np.uint8)
    drawn[3:6, 5, 4:9] = 2
    whole = np.zeros(scan.shape, np.uint8)
    whole[6:17, 4:16, 7:20] = drawn
    given = [Volume(drawn, part), Volume(whole, scan.grid)]
    monkeypatch.setattr(module, "check_labels", recorded)
    nothing = coarse_on(scan.grid, {})
    model = linear_model(include=1.0, offset=-0.5)
    answers = [hs.refine(scan, nothing, model, include=each, fronts=False).array for each in given]
    assert np.array_equal(*answers) and (answers[0] == 2).sum() == 15
    assert max(sizes) <= (3 + 4) * (1 + 4) * (5 + 4)


def test_the_larger_margin_decides_between_structures(scan: Volume) -> None:
    array = np.zeros(scan.shape, np.uint8)
    array[8:14, 6:12, 6:12] = 1
    array[8:14, 6:12, 12:18] = 5
    affine = scan.affine.copy()
    affine[:3, 3] += 0.3 * affine[:3, 2]  # labels are 0.3 voxels further along the last axis
    coarse = Volume(array, Grid(scan.shape, affine))
    refined = hs.refine(scan, coarse, linear_model(mask=1.0, offset=-0.2)).array
    # A voxel has 0.7 of its own label and 0.3 of that before it; both exceed 0.2 at each border.
    expected = np.zeros(scan.shape, np.uint8)
    expected[8:14, 6:12, 6:12] = 1
    expected[8:14, 6:12, 12:19] = 5
    assert np.array_equal(refined, expected)


def test_the_image_of_the_box_is_normalized(scan: Volume) -> None:
    """The margin is the image: its sign is that of the difference from the mean of the box."""
    coarse = coarse_on(scan.grid, {1: (slice(8, 12), slice(8, 11), slice(8, 18))})
    steps = refine_steps(scan, coarse, linear_model(image=1.0), context_mm=4.0, fronts=False)
    result = run_to_end(steps)
    box = result.boxes[1]
    inside = scan.array[box]
    assert inside.size < scan.array.size
    expected = np.zeros(scan.shape, bool)
    expected[box] = inside > inside.mean(dtype=np.float64)
    clear = np.abs(scan.array - inside.mean(dtype=np.float64)) > 1e-2
    assert np.array_equal((result.labels.array == 1)[clear], expected[clear])


@pytest.mark.parametrize("context_mm", [0.0, 2.0, 5.0])
def test_boxes_have_the_context_around_the_hints(scan: Volume, context_mm: float) -> None:
    coarse = coarse_on(scan.grid, {1: (slice(10, 12), slice(9, 10), slice(12, 15))})
    steps = refine_steps(scan, coarse, MASK, context_mm=context_mm)
    (box,) = run_to_end(steps).boxes.values()
    reach = np.ceil(context_mm / np.array(scan.spacing_mm))
    low, high = np.array([10, 9, 12]) - reach, np.array([12, 10, 15]) + reach
    for part, start, stop, size in zip(box, low, high, scan.shape, strict=True):
        assert 0 <= part.start <= max(0, start) and min(size, stop) <= part.stop <= size


def test_boxes_have_few_shapes() -> None:
    """oneDNN prepares and keeps convolutions for each shape: few save time and memory."""
    grid = Grid.from_spacing((60, 60, 60), (1.0, 2.0, 6.0))
    noise = Volume(np.random.default_rng(0).normal(size=grid.shape).astype(np.float32), grid)
    shapes = set()
    for at in range(2, 50, 6):
        hint = (slice(at, at + 1 + at % 7), slice(at, at + 3), slice(at, at + 2))
        steps = refine_steps(noise, coarse_on(grid, {1: hint}), MASK, context_mm=9.0)
        (box,) = run_to_end(steps).boxes.values()
        shapes.add(tuple(part.stop - part.start for part in box))
        assert all(
            part.start <= each.start < each.stop <= part.stop
            for part, each in zip(box, hint, strict=True)
        )
    # Steps of 8 mm: 8, 4 and 1 voxels. At the ends of the scan boxes are smaller.
    assert all(shape[0] % 8 == 0 and shape[1] % 4 == 0 for shape in shapes)
    assert len({shape[:2] for shape in shapes}) <= 5


def test_a_sheared_scan_keeps_its_grid(scan: Volume) -> None:
    affine = scan.affine.copy()
    affine[:3, 1] += 0.15 * affine[:3, 0]
    sheared = Volume(scan.array, Grid(scan.shape, affine))
    coarse = coarse_on(sheared.grid, {1: (slice(6, 16), slice(5, 14), slice(8, 20))})
    with pytest.warns(hs.HyperspaceWarning, match="sheared"):
        refined = hs.refine(sheared, coarse, MASK).array
    both = (refined == 1) & (coarse.array == 1)
    assert 2 * both.sum() > 0.9 * ((refined == 1).sum() + (coarse.array == 1).sum())


def test_a_model_of_all_labels_is_refused(scan: Volume) -> None:
    model = FakeModel(lambda spacing_mm: nn.Conv3d(1, 3, 1))
    with pytest.raises(hs.HyperspaceError, match=r"all its labels at once[\s\S]*Use segment"):
        hs.refine(scan, coarse_on(scan.grid, {1: (slice(0, 2),) * 3}), model)


def test_segment_refuses_a_class_conditional_model(scan: Volume) -> None:
    with pytest.raises(hs.HyperspaceError, match="Use refine"):
        hs.segment(scan, MASK)


def test_empty_labels_are_refused(scan: Volume) -> None:
    with pytest.raises(hs.HyperspaceError, match="the rough labels are empty"):
        hs.refine(scan, coarse_on(scan.grid, {}), MASK)


def test_labels_outside_of_the_scan_are_refused(scan: Volume) -> None:
    affine = scan.affine.copy()
    affine[:3, 3] += 500
    far = coarse_on(Grid(scan.shape, affine), {4: (slice(0, 3),) * 3})
    with pytest.raises(hs.HyperspaceError, match=r"value 4[\s\S]*outside of the scan"):
        hs.refine(scan, far, MASK)


def test_refinement_can_be_stopped(scan: Volume) -> None:
    coarse = coarse_on(scan.grid, {1: (slice(8, 12),) * 3})
    with pytest.raises(hs.Cancelled):
        run_to_end(refine_steps(scan, coarse, MASK, should_stop=lambda: True))


def test_labels_stored_as_floats_are_labels_and_fractions_are_refused(scan: Volume) -> None:
    """Files with intensity scaling are read as floats."""
    coarse = coarse_on(scan.grid, {2: (slice(8, 12), slice(7, 10), slice(9, 15))})
    expected = hs.refine(scan, coarse, MASK).array
    assert np.array_equal(
        hs.refine(scan, coarse.with_array(coarse.array * 1.0), MASK).array, expected
    )
    with pytest.raises(hs.HyperspaceError, match="whole numbers"):
        hs.refine(scan, coarse.with_array(coarse.array * 0.3), MASK)
    with pytest.raises(hs.HyperspaceError, match="too large"):
        hs.refine(scan, coarse.with_array(coarse.array.astype(np.uint32) * 70_000), MASK)
