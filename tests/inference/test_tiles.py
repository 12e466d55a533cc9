"""Tiles cover the array, and blending equal values gives the same values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal.windows import gaussian

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.inference.tiles import gaussian_window, tile_array, tile_axis

EPS = np.finfo(np.float32).eps
axes = st.tuples(
    st.integers(1, 300), st.integers(1, 130), st.floats(0, 0.9), st.sampled_from([1, 8, 16])
)


@given(axes)
def test_axis_is_covered_and_weights_sum_to_one(case):
    length, largest, overlap, multiple = case
    tiles = tile_axis(length, largest, overlap, multiple)
    assert tiles.tile <= max(largest, 1) or length == tiles.tile
    assert tiles.starts[0] == 0
    assert tiles.starts[-1] + tiles.tile == length
    assert list(tiles.starts) == sorted(set(tiles.starts))
    total = np.zeros(length)  # float64, of weights rounded to float32
    for start, weights in zip(tiles.starts, tiles.weights.numpy(), strict=True):
        assert (weights > 0).all()
        total[start : start + tiles.tile] += weights
    np.testing.assert_allclose(total, 1, atol=EPS)


@given(axes)
def test_neighbors_overlap_by_the_requested_fraction(case):
    length, largest, overlap, multiple = case
    tiles = tile_axis(length, largest, overlap, multiple)
    for here, there in zip(tiles.starts, tiles.starts[1:], strict=False):
        shared = here + tiles.tile - there
        assert shared >= np.floor(overlap * tiles.tile - 1e-9) - 1  # starts are whole numbers
        assert shared >= 0


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(*[st.integers(1, 21)] * 3), st.tuples(*[st.integers(1, 12)] * 3), st.floats(0, 0.7)
)
def test_identity_is_reassembled(shape, largest, overlap):
    image = torch.arange(float(np.prod(shape))).reshape(shape)
    layout = tile_array(shape, largest, overlap)
    blended, covered = torch.zeros(shape), torch.zeros(shape)
    count = 0
    finished = 0
    for end, tiles in layout.rows():
        for tile in tiles:
            assert tile.start[0] >= finished  # no row adds to planes that are finished
            blended[tile.slices] += image[tile.slices] * tile.weight()
            covered[tile.slices] += 1
            count += 1
        finished = end
        # Positive terms: three weights and three products each, then their sum.
        rounding = EPS * (6 + float(covered.max()))
        np.testing.assert_allclose(blended[:end], image[:end], rtol=rounding)
    assert finished == shape[0]
    assert count == len(layout)


def test_an_array_that_fits_one_tile_has_weight_one():
    layout = tile_array((5, 40, 33), (8, 40, 64))
    assert len(layout) == 1
    ((end, (tile,)),) = layout.rows()
    assert end == 5
    assert tile.shape == (5, 40, 33)
    assert torch.equal(tile.weight(), torch.ones(5, 40, 33))


def test_tiles_are_as_short_as_their_number_allows():
    tiles = tile_axis(130, 128, 0.25, 8)
    assert tiles.starts == (0, 50)
    assert tiles.tile == 80
    assert tile_axis(300, 128, 0.25, 8).tile == 120


def test_gaussian_equals_that_of_scipy():
    expected = np.maximum(gaussian(37, 37 / 8), 1e-3)
    np.testing.assert_allclose(gaussian_window(37).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("overlap", [-0.1, 0.95, float("nan")])
def test_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(HyperspaceError, match="overlap"):
        tile_axis(10, 4, overlap)


def test_empty_tile_is_refused():
    with pytest.raises(HyperspaceError, match="at least one"):
        tile_axis(10, 0)


def test_too_many_tiles_are_refused():
    with pytest.raises(HyperspaceError, match="too many tiles") as caught:
        tile_axis(1 << 40, 128)
    assert caught.value.found > 1 << 33
