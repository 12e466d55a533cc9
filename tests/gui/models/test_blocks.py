from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.gui.models.blocks import block_around, block_within

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


@given(grids, centers, st.floats(0.001, 1))
def test_a_block_keeps_its_time_budget(grid, center, budget):
    def seconds(part):
        return np.prod(part.field_of_view_mm) * 1e-6

    block = block_within(grid, center, (1.0, 1.0, 1.0), budget, seconds)
    smallest = block_around(grid, center, 12.0)
    cropped = grid.crop(block.start, block.shape)
    assert seconds(cropped) <= budget or block == smallest
    if seconds(grid) <= budget:
        assert block.shape == grid.shape
