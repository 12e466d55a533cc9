"""What a network is shown of several channels, and of scans with tilted slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.inputs import as_volumes, working_image
from napari_hyperspace.core.planning import make_plan
from napari_hyperspace.core.volume import Volume
from tests.core.models import FakeModel


def turned(angle: float, shape=(13, 9, 7), spacing_mm=(1.5, 0.7, 2.1)) -> Grid:
    """A grid turned about its third axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) * spacing_mm
    return Grid(shape, affine)


@pytest.mark.parametrize("sign", [1, -1])
def test_channels_a_hair_apart_are_turned_alike(rng, sign):
    """At 45° the nearest anatomical axes of grids that are taken for one may differ."""
    grids = [turned(np.pi / 4 + part * sign * 1e-6) for part in (1, -1)]
    assert grids[0].orientation != grids[1].orientation
    array = rng.normal(size=grids[0].shape).astype(np.float32)
    model = FakeModel(None, in_channels=2)
    volumes = as_volumes([Volume(array, grid) for grid in grids], model)
    first, second = working_image(volumes, model, make_plan(volumes, model))
    assert torch.equal(first, second)
