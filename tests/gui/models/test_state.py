from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.gui.models import formatting as texts
from napari_hyperspace.gui.models import state
from napari_hyperspace.gui.models.state import Choices, Scale

CUBE = ((0.8, 4.0),) * 3
spacings = st.floats(0.06, 40)


@given(spacings, spacings)
def test_a_scale_is_logarithmic_and_has_an_inverse(first, second):
    scale = Scale(0.4, 8.0).reaching(first).reaching(second)
    for value in (first, second):
        assert -1e-9 <= scale.fraction(value) <= 1 + 1e-9
        assert scale.spacing(scale.fraction(value)) == pytest.approx(value)
    middle = scale.spacing(0.5)
    assert middle / scale.low == pytest.approx(scale.high / middle)


def test_scales_show_trained_untrained_and_native():
    scales = state.make_scales(((0.8, 4.0), (0.5, 3.0), (0.5, 3.0)), (6.5, 0.69, 0.69))
    assert [scale.trained for scale in scales.each] == [(0.8, 4.0), (0.5, 3.0), (0.5, 3.0)]
    assert scales.together.trained == (0.8, 3.0)  # what no axis has to leave its range for
    assert scales.together.native == (0.69, 6.5)
    for scale in (scales.together, *scales.each):
        assert scale.low < min(scale.trained[0], *scale.native)
        assert scale.high > max(scale.trained[1], *scale.native)
    assert scales.each[0].is_trained(0.79999)
    assert not scales.each[0].is_trained(0.7)


def test_scales_without_model_or_scan():
    scales = state.make_scales(None, None)
    assert scales.together.trained is None
    assert scales.together.is_trained(0.01)


def test_a_2d_model_leaves_z_alone():
    scales = state.make_scales(((0.5, 2.0), (0.5, 2.0)), (5.0, 1.0, 1.0))
    assert [scale.trained for scale in scales.each] == [None, (0.5, 2.0), (0.5, 2.0)]
    assert state.first_spacing(((0.5, 2.0), (0.5, 2.0)), (5.0, 0.3, 3.0)) == (5.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("trained", "native", "expected"),
    [
        (CUBE, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        (CUBE, (0.7, 0.7, 0.7), (0.8, 0.8, 0.8)),
        (CUBE, (6.5, 0.69, 0.69), (4.0, 0.8, 0.8)),
        (CUBE, (1.01, 1.0, 0.98), (1.0, 1.0, 1.0)),
        (None, (5.0, 0.7, 0.7), (5.0, 0.7, 0.7)),
    ],
)
def test_first_spacing(trained, native, expected):
    assert state.first_spacing(trained, native) == expected


def test_the_curve_keeps_the_proportions():
    points = state.curve_spacings(Scale(0.4, 8.0), (3.0, 1.0, 1.5))
    means = [state.mean_spacing(point) for point in points]
    assert means[0] == pytest.approx(0.4)
    assert means[-1] == pytest.approx(8.0)
    np.testing.assert_allclose(np.diff(np.log(means)), np.log(20) / 39)
    for z, y, x in points:
        assert (z / y, x / y) == pytest.approx((3.0, 1.5))


def test_advice():
    assert state.advice((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), CUBE) == ()
    (outside,) = state.advice((1.0, 6.0, 1.0), (1.0, 6.0, 1.0), CUBE)
    assert "0.8–4 mm along y: extrapolated" in outside
    (clamped,) = state.advice((6.0, 6.0, 6.0), (6.0, 6.0, 6.0), CUBE, "clamp")
    assert "0.8–4 mm: the nearest" in clamped
    (skipped,) = state.advice((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), CUBE)
    assert "two voxels along z:" in skipped
    (skipped,) = state.advice((3.0, 3.0, 3.0), (1.0, 1.0, 1.0), CUBE)
    assert "two voxels:" in skipped
    (finer,) = state.advice((1.0, 1.0, 1.0), (5.0, 1.0, 1.0), None)
    assert "Finer than the scan along z" in finer


def test_coarse_spacing_stays_in_the_trained_range():
    assert state.coarse_spacing((1.0, 3.0, 5.0), CUBE) == (2.0, 4.0, 5.0)
    assert state.coarse_spacing((1.0, 3.0, 5.0), None) == (2.0, 6.0, 10.0)


grids = st.builds(
    Grid.from_spacing,
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.3, 6)] * 3),
)
centers = st.tuples(*[st.floats(-20, 60)] * 3)


@given(grids, centers, st.floats(1, 300))
def test_a_block_stays_inside(grid, center, side):
    block = state.block_around(grid, center, side)
    for start, size, n in zip(block.start, block.shape, grid.shape, strict=True):
        assert 0 <= start <= start + size <= n
        assert size >= 1
    assert np.zeros(grid.shape)[block.slices].shape == block.shape


def test_a_block_is_centered_where_it_can_be():
    grid = Grid.from_spacing((40, 50, 60), (2.0, 1.0, 0.5))
    block = state.block_around(grid, (20.0, 24.5, 31.0), 10.0)
    assert block.shape == (5, 10, 20)
    assert block.start == (18, 20, 22)


@given(grids, centers, st.floats(0.001, 1))
def test_a_block_keeps_within_its_time(grid, center, budget):
    def seconds(part):
        return np.prod(part.field_of_view_mm) * 1e-6

    block = state.block_within(grid, center, (1.0, 1.0, 1.0), budget, seconds)
    smallest = state.block_around(grid, center, 12.0)
    cropped = grid.crop(block.start, block.shape)
    assert seconds(cropped) <= budget or block == smallest
    if seconds(grid) <= budget:
        assert block.shape == grid.shape


def test_choices_say_what_changed():
    choices = Choices()
    heard = []
    choices.events.spacing_mm.connect(heard.append)
    choices.spacing_mm = (2.0, 1.0, 1.0)
    choices.spacing_mm = (2.0, 1.0, 1.0)
    assert heard == [(2.0, 1.0, 1.0)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00004, "0.04 ms"),
        (0.0031, "3.1 ms"),
        (0.3, "300 ms"),
        (2.44, "2.4 s"),
        (42.0, "42 s"),
        (200.0, "3 min 20 s"),
        (7265.0, "2 h 01 min"),
    ],
)
def test_durations(seconds, text):
    assert texts.duration(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(12, "12 B"), (310e6, "310 MB"), (1.25e9, "1.2 GB"), (999.9e6, "1.0 GB")]
)
def test_sizes(n_bytes, text):
    assert texts.size(n_bytes) == text


def test_spacings():
    assert texts.spacing((1.0, 1.0001, 1.0)) == "1 mm"
    assert texts.spacing((6.5, 0.69, 0.69)) == "6.5 × 0.69 × 0.69 mm"
    assert texts.trained(CUBE) == "trained at 0.8–4 mm"
    assert texts.trained(((1.0, 5.0), (0.2, 1.5))) == "trained at 1–5 × 0.2–1.5 mm"
    assert texts.trained(None) == "trained range unknown"
