"""Channels of guidance: placed by the affines, whatever the grid of the guidance is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.separable import SNAP
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.guidance import (
    NO_GUIDANCE,
    GuidedModel,
    guidance_channels,
    signed_distance,
)
from napari_hyperspace.nets.base.guidance import GivenGuidance, GuidanceChannels
from tests.models import FakeModel, local_network
from tests.scans import INTERPOLATION_ERROR, rotated_affine

ONE_HOT = GuidanceChannels("one-hot", 10.0, (2.0, 6.0), True)
DISTANCES = GuidanceChannels("distances", 5.0, (2.0, 6.0), True)
ERROR = 3 * SNAP + INTERPOLATION_ERROR  # positions along three axes may be moved by SNAP
WORKING = Grid.from_spacing((23, 31, 19), (1.1, 0.7, 1.4))


def turned(grid: Grid, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Grid:
    """The same voxels in another array order."""
    affine = np.eye(4)
    origin = [grid.shape[i] - 1 if flips[n] else 0 for n, i in enumerate(axes)]
    start = np.zeros(3)
    for n, i in enumerate(axes):
        affine[:3, n] = grid.affine[:3, i] * (-1 if flips[n] else 1)
        start[i] = origin[n]
    affine[:3, 3] = grid.index_to_mm(start)
    return Grid(tuple(grid.shape[i] for i in axes), affine)


def guidance_grid(kind: str) -> Grid:
    coarse = WORKING.with_spacing((3.3, 2.9, 4.1))
    if kind == "same axes":
        return coarse
    if kind == "part":
        return coarse.crop((1, 2, 1), (5, 4, 4))
    if kind == "other axes":
        return turned(coarse, (2, 0, 1), (True, False, True))
    if kind == "own spacing":
        return WORKING.crop((3, 4, 2), (17, 20, 13))
    affine = rotated_affine((2.3, 3.1, 4.7))
    affine[:3, 3] = 0
    affine[:3, 3] = WORKING.center_mm - affine[:3, :3] @ ((np.array((11, 9, 8)) - 1) / 2)
    return Grid((11, 9, 8), affine)


def some_classes(grid: Grid, unknown: bool = False) -> Volume:
    """Boxes of positions in mm, so that each grid shows the same structures."""
    index = np.moveaxis(np.indices(grid.shape), 0, -1)
    a, b, c = np.moveaxis(grid.index_to_mm(index.reshape(-1, 3)) - WORKING.center_mm, -1, 0)
    array = np.where((np.abs(a) < 6) & (b > -7) & (c < 5), 1, 0)
    array = np.where((a > 1) & (np.abs(b) < 5) & (np.abs(c) < 8), 2, array).reshape(grid.shape)
    if unknown:
        array[0] = -1
    return Volume(array.astype(np.int16), grid)


def interpolated(values: np.ndarray, grid: Grid, outside: float) -> np.ndarray:
    """Values at the centers of the working grid, by scipy, through positions in mm."""
    index = np.moveaxis(np.indices(WORKING.shape), 0, -1).reshape(-1, 3)
    at = grid.mm_to_index(WORKING.index_to_mm(index)).T
    found = ndimage.map_coordinates(
        values.astype(float), at, order=1, mode="grid-constant", cval=outside
    )
    return found.reshape(WORKING.shape)


@pytest.mark.parametrize("outside_class", [-1, 0])
@pytest.mark.parametrize("channels", [ONE_HOT, DISTANCES], ids=["one-hot", "distances"])
@pytest.mark.parametrize("kind", ["same axes", "part", "other axes", "own spacing", "turned"])
def test_channels_are_interpolated_at_positions_in_mm(kind, channels, outside_class) -> None:
    classes = some_classes(guidance_grid(kind), unknown=True)
    given = GivenGuidance(classes, outside_class)
    found = guidance_channels(given, channels, 3, WORKING)
    assert found.shape == (3, *WORKING.shape) and found.dtype == torch.float32
    for index in range(3):
        mask = classes.array == index
        values = mask.astype(float)
        if channels.kind == "distances":
            known = classes.array >= 0
            distance = signed_distance(mask, classes.spacing_mm, known).clip(-5, 5)
            values = np.where(known, (1 - distance / 5) / 2, 0)
        expected = interpolated(values, classes.grid, float(index == outside_class))
        np.testing.assert_allclose(found[index].numpy(), expected, atol=ERROR)


def test_without_guidance_all_channels_are_zero() -> None:
    out = torch.full((3, *WORKING.shape), 7.0)
    assert guidance_channels(NO_GUIDANCE, ONE_HOT, 3, WORKING, out) is out
    assert not out.any()


def test_finer_guidance_is_averaged_over_the_voxels() -> None:
    fine = WORKING.with_spacing([s / 3 for s in WORKING.spacing_mm])
    found = guidance_channels(GivenGuidance(some_classes(fine), 0), ONE_HOT, 3, WORKING)
    inner = found[:, 2:-2, 2:-2, 2:-2]
    torch.testing.assert_close(inner.sum(dim=0), torch.ones(inner.shape[1:]))
    assert len(inner.unique()) > 3  # and not the nearest voxel


def test_it_stops_between_channels() -> None:
    given = GivenGuidance(some_classes(guidance_grid("part")))
    with pytest.raises(Cancelled):
        guidance_channels(given, ONE_HOT, 3, WORKING, should_stop=lambda: True)


def test_a_model_with_guidance_is_the_model_in_everything_else() -> None:
    model = FakeModel(lambda s: local_network(4), in_channels=4, guidance=ONE_HOT)
    given = GivenGuidance(some_classes(WORKING))
    guided = GuidedModel(model, given)
    assert guided.given_guidance is given
    for name in set(FakeModel.__dataclass_fields__) - {"given_guidance", "make", "asked"}:
        assert getattr(guided, name) == getattr(model, name), name
