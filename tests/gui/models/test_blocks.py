from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.gui.models.blocks import block_around, largest_side_mm, least_side_mm

grids = st.builds(
    Grid.from_spacing,
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.3, 6)] * 3),
)
centers = st.tuples(*[st.floats(-20, 60)] * 3)


@given(grids, centers, st.floats(1, 300))
def test_a_block_lies_inside_the_grid(grid, center, side):
    block = block_around(grid, center, side)
    for start, size, n in zip(block.start, block.shape, grid.shape, strict=True):
        assert 0 <= start <= start + size <= n
        assert size >= 1
    assert np.zeros(grid.shape)[block.slices].shape == block.shape


def test_a_block_away_from_the_border_is_centered():
    grid = Grid.from_spacing((40, 50, 60), (2.0, 1.0, 0.5))
    block = block_around(grid, (20.0, 24.5, 31.0), 10.0)
    assert block.shape == (5, 10, 20)
    assert block.start == (18, 20, 22)


def seconds(part):
    """A microsecond per mm³."""
    return np.prod(part.field_of_view_mm) * 1e-6


@given(grids, centers, st.floats(0.001, 1), st.floats(5, 100))
def test_a_block_keeps_its_time_budget_and_its_context(grid, center, budget, least):
    side = largest_side_mm(grid, center, least, budget, seconds)
    if seconds(grid) <= budget:
        assert side is not None and block_around(grid, center, side).shape == grid.shape
    elif side is None:  # the smallest block is too slow: there is none rather than a smaller one
        block = block_around(grid, center, min(least, max(grid.field_of_view_mm)))
        assert seconds(grid.crop(block.start, block.shape)) > budget
    else:
        assert side >= least * (1 - 1e-12)
        block = block_around(grid, center, side)
        assert seconds(grid.crop(block.start, block.shape)) <= budget


def test_the_context_of_a_model_is_its_region_or_else_its_tile():
    def least(spacing=(2.0, 1.0, 1.0), region=None, shape=None, size=None):
        return least_side_mm(spacing, region_mm=region, tile_shape=shape, tile_mm=size)

    assert least(region=(140.0, 190.0, 150.0), shape=(256,) * 3, size=(256.0,) * 3) == 140
    assert least(shape=(64, 80, 72)) == 72
    assert least(shape=(64, 80), spacing=(9.0, 0.5, 1.0)) == 108  # 12 voxels along z
    assert least(shape=(64, 80, 72), size=(50.0, 60.0, 70.0)) == 50
    assert least() == 24
    assert least(region=(20.0, 20.0, 20.0)) == 24
