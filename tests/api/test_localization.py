"""Segmentation with localization: a coarse first pass, then only the box that was found."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import napari_hyperspace as hs
from napari_hyperspace.api.estimate import estimate
from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.core.volume import Volume
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
    """A block with a bright core, on an anisotropic grid whose axes are permuted and flipped."""
    axes = np.array([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])
    affine = np.eye(4)
    affine[:3, :3] = axes * steps
    affine[:3, 3] = (5, -7, 11)
    array = np.zeros(shape, np.float32)
    block = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
    array[block] = 1
    core = tuple(slice(c + 3, c + n - 3) for c, n in zip(corner, size, strict=True))
    array[core] = 4
    return Volume(array, Grid(shape, affine))


def test_labels_of_the_box_are_pasted_at_its_place() -> None:
    volume, model = scan(), bright_model()
    found = segment(volume, model)
    assert found.grid == volume.grid and found.shape == volume.shape
    expected = (volume.array > 0.5).astype(int) + (volume.array > 2.5)
    np.testing.assert_array_equal(found.array, expected)
    assert found.metadata["label_names"] == dict(model.label_names)


def test_smaller_components_are_outside_the_box() -> None:
    volume = scan()
    array = volume.array.copy()
    array[0:3, 0:2, 0:4] = 4  # smaller, and farther away than the margin
    found = segment(volume.with_array(array), bright_model())
    assert not found.array[:5, :4].any()
    np.testing.assert_array_equal(found.array[10:], segment(volume, bright_model()).array[10:])


def test_without_a_finding_the_whole_scan_is_segmented() -> None:
    volume = scan().with_array(np.zeros((41, 30, 53), np.float32))
    tiny = volume.array.copy()
    tiny[20, 15, 26] = 1.0  # too small for the coarse pass
    model = bright_model(localization=Localization(12.0, 4.0, (30, 30, 30)))
    found = segment(volume.with_array(tiny), model)
    assert found.array.sum() == 1 and found.array[20, 15, 26] == 1
    assert not segment(volume, model).array.any()


def test_only_the_box_is_normalized() -> None:
    """Air around the box changes nothing: the reason for localization."""
    volume = scan()
    model = bright_model(normalization=Normalization("z-score"))
    found = segment(volume, model)
    wide = np.pad(volume.array, 25)
    grid = volume.grid.crop((-25, -25, -25), wide.shape)
    again = segment(Volume(wide, grid), model)
    inner = again.array[25:-25, 25:-25, 25:-25]
    np.testing.assert_array_equal(inner, found.array)
    assert again.array.sum() == inner.sum()


def test_progress_covers_both_passes_and_both_can_be_stopped() -> None:
    steps = segment_steps(scan(), bright_model())
    reported = list(steps)
    fractions = [progress.fraction for progress in reported]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] <= 1
    first = [one.message.startswith("finding the region: ") for one in reported]
    assert first == sorted(first, reverse=True) and first[0] and not first[-1]
    for asked in (1, 12):
        answers = iter([False] * asked + [True] * 1000)
        with pytest.raises(hs.HyperspaceError):
            list(segment_steps(scan(), bright_model(), should_stop=lambda a=answers: next(a)))


def test_the_first_pass_is_coarse_where_the_second_is_fine() -> None:
    model = bright_model(trained_range_mm=((0.5, 2.5),) * 3)
    result = run_to_end(segment_steps(scan(), model, (2.4, 0.8, 0.9)))
    assert result.spacing_mm == pytest.approx((2.4, 0.8, 0.9))
    assert pytest.approx((2.5, 2.5, 2.5)) == model.asked[0]  # 3 mm, clamped to the trained range
    assert model.asked[-1] == pytest.approx((2.4, 0.8, 0.9))
    with pytest.raises(hs.HyperspaceError, match="trained on"):
        segment(scan(), model, (5, 5, 5))


def test_an_estimate_includes_both_passes_and_the_usual_box(rates) -> None:
    grid = Grid.from_spacing((200, 220, 180), (1, 1, 1))
    model = bright_model(localization=Localization(4.0, 5.0, (50, 60, 40)))
    whole = bright_model(localization=None, identity=model.identity)  # baked as fast
    box = Grid.from_spacing((50, 60, 40), (1, 1, 1))
    first, second = estimate(grid, whole, (4, 4, 4)), estimate(box, whole)
    found = estimate(grid, model)
    assert found.seconds == pytest.approx(first.seconds + second.seconds)
    assert found.working_shape == (50, 60, 40)
    assert found.peak_bytes == max(first.peak_bytes, second.peak_bytes)
    assert estimate(grid, whole).working_shape == grid.shape


def test_an_estimate_includes_one_probe_if_both_passes_share_their_precision(rates) -> None:
    grid = Grid.from_spacing((200, 220, 180), (1, 1, 1))
    model = bright_model(localization=Localization(4.0, 5.0, (50, 60, 40)))
    both, two = estimate(grid, model, (4, 4, 4)), estimate(grid, model, (1, 1, 1))
    whole = bright_model(localization=None, identity=model.identity)
    assert both.probe_seconds == estimate(grid, whole, (4, 4, 4)).probe_seconds > 0
    assert both.localization_seconds < both.seconds
    assert two.probe_seconds > both.probe_seconds


def _with_neck() -> Volume:
    """A head whose neck the first pass takes for a part of it, unless it is out of view."""
    array = np.zeros((70, 40, 40), np.float32)
    array[5:30, 8:32, 8:32] = 4.0
    array[30:, 12:28, 12:28] = 3.0
    return Volume(array, Grid.from_spacing(array.shape, (4, 4, 4)))


def _checked(top_mm: float | None, high_ml: float = 1200.0) -> Localization:
    return Localization(4.0, 8.0, (120.0, 120.0, 120.0), (500.0, high_ml), top_mm)


def test_an_implausible_finding_is_looked_for_again_from_the_top_of_the_head() -> None:
    volume = _with_neck()
    plain = bright_model(localization=Localization(4.0, 8.0, (120, 120, 120)))
    found = segment(volume, plain)
    assert found.array[60].any() and found.metadata["record"].localized == "found"
    found = segment(volume, bright_model(localization=_checked(104.0)))
    assert found.metadata["record"].localized == "found-from-top"
    assert found.array[5:30].any() and not found.array[35:].any()
    np.testing.assert_array_equal(found.array[:30], segment(volume, plain).array[:30])


def test_the_whole_scan_is_segmented_with_a_warning_if_nothing_plausible_is_found() -> None:
    volume = _with_neck()
    expected = segment(volume, bright_model(localization=None)).array
    for localization in (_checked(None), _checked(104.0, high_ml=600.0)):
        with pytest.warns(hs.HyperspaceWarning, match="whole scan"):
            found = segment(volume, bright_model(localization=localization))
        assert found.metadata["record"].localized == "whole-scan"
        np.testing.assert_array_equal(found.array, expected)


def test_a_plausible_finding_is_segmented_as_without_the_check() -> None:
    volume = _with_neck()
    cropped = Volume(volume.array[:40], volume.grid.crop((0, 0, 0), (40, 40, 40)))
    asked = bright_model(localization=_checked(104.0, 5000.0))
    plain = bright_model(localization=Localization(4.0, 8.0, (120, 120, 120)))
    found = segment(cropped, asked)
    assert found.metadata["record"].localized == "found"
    np.testing.assert_array_equal(found.array, segment(cropped, plain).array)
    assert len(asked.asked) == len(plain.asked)
