"""A coarse look first: what is found is segmented in its box alone, geometry kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.estimate import estimate
from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import crop, crop_grid, found_box, paste, usual_box
from napari_hyperspace.nets.base.localization import Localization
from tests.models import FakeModel


class Bright(nn.Module):
    """Class 1 where a voxel exceeds 0.5, class 2 where it exceeds 2.5."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), x - 0.5, 2 * x - 3], dim=1)


def bright_model(**changes) -> FakeModel:
    settings = {
        "normalization": Normalization("none"),
        "localization": Localization(3.0, 4.0, (30, 30, 30)),
    }
    return FakeModel(lambda _: Bright(), **(settings | changes))


def scan(shape=(41, 30, 53), steps=(1.1, 2.0, 0.7), corner=(12, 9, 20), size=(14, 8, 19)) -> Volume:
    """A block with a bright core on a turned, anisotropic grid; a lone bright voxel far away."""
    turned = np.array([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])  # axes to S, R, I and back
    affine = np.eye(4)
    affine[:3, :3] = turned * steps
    affine[:3, 3] = (5, -7, 11)
    array = np.zeros(shape, np.float32)
    block = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
    array[block] = 1
    core = tuple(slice(c + 3, c + n - 3) for c, n in zip(corner, size, strict=True))
    array[core] = 4
    return Volume(array, Grid(shape, affine))


def test_labels_are_those_of_the_box_put_back_where_they_were() -> None:
    volume, model = scan(), bright_model()
    found = segment(volume, model)
    assert found.grid == volume.grid and found.shape == volume.shape
    expected = (volume.array > 0.5).astype(int) + (volume.array > 2.5)
    np.testing.assert_array_equal(found.array, expected)
    assert found.metadata["label_names"] == dict(model.label_names)


def test_what_lies_apart_is_no_part_of_the_box() -> None:
    volume = scan()
    array = volume.array.copy()
    array[0:3, 0:2, 0:4] = 4  # smaller, and farther away than the margin
    found = segment(volume.with_array(array), bright_model())
    assert not found.array[:5, :4].any()
    np.testing.assert_array_equal(found.array[10:], segment(volume, bright_model()).array[10:])


def test_a_scan_in_which_nothing_is_found_is_segmented_whole() -> None:
    volume = scan().with_array(np.zeros((41, 30, 53), np.float32))
    tiny = volume.array.copy()
    tiny[20, 15, 26] = 1.0  # too small for the coarse pass
    model = bright_model(localization=Localization(12.0, 4.0, (30, 30, 30)))
    found = segment(volume.with_array(tiny), model)
    assert found.array.sum() == 1 and found.array[20, 15, 26] == 1
    assert not segment(volume, model).array.any()


def test_what_is_normalized_is_the_box() -> None:
    """Air around changes nothing: the reason to search."""
    volume = scan()
    model = bright_model(normalization=Normalization("z-score"))
    found = segment(volume, model)
    wide = np.pad(volume.array, 25)
    grid = volume.grid.crop((-25, -25, -25), wide.shape)
    again = segment(Volume(wide, grid), model)
    inner = again.array[25:-25, 25:-25, 25:-25]
    np.testing.assert_array_equal(inner, found.array)
    assert again.array.sum() == inner.sum()


def test_progress_is_that_of_the_whole_and_stopping_works_in_both_passes() -> None:
    steps = segment_steps(scan(), bright_model())
    fractions = [progress.fraction for progress in steps]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] <= 1
    for asked in (1, 12):
        answers = iter([False] * asked + [True] * 1000)
        with pytest.raises(hs.HyperspaceError):
            list(segment_steps(scan(), bright_model(), should_stop=lambda a=answers: next(a)))


def test_the_first_pass_is_coarse_where_the_second_is_fine() -> None:
    model = bright_model(trained_range_mm=((0.5, 2.5),) * 3)
    result_steps = segment_steps(scan(), model, (2.4, 0.8, 0.9))
    while True:
        try:
            next(result_steps)
        except StopIteration as end:
            result = end.value
            break
    assert result.spacing_mm == pytest.approx((2.4, 0.8, 0.9))
    assert pytest.approx((2.5, 2.5, 2.5)) == model.asked[0]  # 3 mm, clamped to what was trained
    assert model.asked[-1] == pytest.approx((2.4, 0.8, 0.9))
    with pytest.raises(hs.HyperspaceError, match="trained on"):
        segment(scan(), model, (5, 5, 5))


def test_an_estimate_reckons_with_both_passes_and_the_usual_box() -> None:
    grid = Grid.from_spacing((200, 220, 180), (1, 1, 1))
    model = bright_model(localization=Localization(4.0, 5.0, (50, 60, 40)))
    whole, box = bright_model(localization=None), Grid.from_spacing((50, 60, 40), (1, 1, 1))
    first, second = estimate(grid, whole, (4, 4, 4)), estimate(box, whole)
    found = estimate(grid, model)
    assert found.seconds == pytest.approx(first.seconds + second.seconds, rel=0.05)
    assert found.working_shape == (50, 60, 40)
    assert found.peak_bytes == max(first.peak_bytes, second.peak_bytes)
    assert estimate(grid, whole).working_shape == grid.shape


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(5, 40)] * 3),
    steps=st.tuples(*[st.floats(0.4, 6)] * 3),
    corner=st.tuples(*[st.floats(0, 0.9)] * 3),
    size=st.tuples(*[st.floats(0.1, 1)] * 3),
)
def test_the_box_holds_what_was_found_and_the_margin(shape, steps, corner, size) -> None:
    search = Localization(3.0, 2.0, (20, 20, 20))
    array = np.zeros(shape, np.uint8)
    start = [int(c * n) for c, n in zip(corner, shape, strict=True)]
    # Nothing thinner than the first pass: its labels come from a coarse grid.
    thick = [max(1, int(3.0 / step)) for step in steps]
    stop = [
        min(n, a + max(t, int(s * n))) for a, n, s, t in zip(start, shape, size, thick, strict=True)
    ]
    start = [max(0, b - max(b - a, t)) for a, b, t in zip(start, stop, thick, strict=True)]
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 1
    labels = Volume(array, Grid.from_spacing(shape, steps))
    box = found_box(search, labels)
    assert box is not None
    for part, a, b, n, step in zip(box, start, stop, shape, labels.spacing_mm, strict=True):
        assert part.start <= max(0, a - int(2.0 / step)) and part.stop >= min(n, b)
        assert 0 <= part.start < part.stop <= n
    np.testing.assert_array_equal(paste(array[box], box, shape), array)
    part = crop(labels, box)
    np.testing.assert_allclose(
        part.grid.index_to_mm((0, 0, 0)), labels.grid.index_to_mm([each.start for each in box])
    )
    assert part.grid == crop_grid(labels.grid, box)


def test_the_usual_box_is_given_in_array_order() -> None:
    grid = replace(scan()).grid  # axes turned
    box = usual_box(Localization(4.0, 5.0, (10.0, 1000.0, 21.0)), grid)
    canonical = grid.orientation.values_to_canonical([each.stop - each.start for each in box])
    steps = grid.orientation.values_to_canonical(grid.spacing_mm)
    sizes = grid.orientation.values_to_canonical(grid.shape)
    assert canonical == (round(10 / steps[0]), sizes[1], round(21 / steps[2]))
