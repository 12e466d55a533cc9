"""The input of a network made of several channels, and of scans with sheared grids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from napari_hyperspace.api.segment import segment, segment_steps
from napari_hyperspace.core import resample
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.inputs import (
    as_volumes,
    straight_grid,
    straightening_bytes,
    working_image,
)
from napari_hyperspace.inference.plan import make_plan
from tests.models import FakeModel
from tests.scans import peak_growth


def rotated(angle: float, shape=(13, 9, 7), spacing_mm=(1.5, 0.7, 2.1)) -> Grid:
    """A grid rotated about its third axis."""
    cos, sin = np.cos(angle), np.sin(angle)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) * spacing_mm
    return Grid(shape, affine)


@pytest.mark.parametrize("sign", [1, -1])
def test_channels_whose_grids_differ_by_rounding_get_one_orientation(rng, sign):
    """At 45°, the nearest anatomical axes of grids that are equal but for rounding may differ."""
    grids = [rotated(np.pi / 4 + part * sign * 1e-6) for part in (1, -1)]
    assert grids[0].orientation != grids[1].orientation
    array = rng.normal(size=grids[0].shape).astype(np.float32)
    model = FakeModel(None, in_channels=2)
    volumes = as_volumes([Volume(array, grid) for grid in grids], model)
    first, second = working_image(volumes, model, make_plan(volumes, model))
    assert torch.equal(first, second)


def tilted(shape=(31, 40, 13), spacing_mm=(1.4, 1.1, 3.0), tilt_deg=25) -> Grid:
    """A grid rotated about its first axis, with each slice shifted along the second."""
    affine = rotated(0, shape, spacing_mm).affine.copy()
    affine[:3, 2] += affine[:3, 1] / spacing_mm[1] * spacing_mm[2] * np.tan(np.radians(tilt_deg))
    cos, sin = np.cos(0.1), np.sin(0.1)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ affine[:3, :3]
    affine[:3, 3] = (4, -7, 19)
    return Grid(shape, affine)


class TestShear:
    """Scans whose slices are shifted, for example by a tilted gantry."""

    @pytest.fixture
    def model(self):
        class Bright(nn.Module):
            def forward(self, x):
                return torch.cat([torch.zeros_like(x), x - 1, 2 * x - 4], dim=1)

        return FakeModel(lambda spacing: Bright(), normalization=Normalization("none"))

    @pytest.fixture
    def scan(self):
        """Brightness falls with the distance from the center: a threshold gives a ball."""
        grid = tilted()
        from_center = grid.index_to_mm(np.moveaxis(np.indices(grid.shape), 0, -1)) - grid.center_mm
        bright = 3 - np.linalg.norm(from_center, axis=-1) / 8
        return Volume(bright.astype(np.float32), grid)

    def test_straight_grid_contains_the_sheared_one(self):
        grid = tilted()
        straight = straight_grid(grid)
        assert not straight.is_sheared
        assert straight.spacing_mm == pytest.approx(grid.spacing_mm)
        index = straight.mm_to_index(grid.corners_mm())
        assert (index > -1e-3).all() and (index < np.array(straight.shape) - 1 + 1e-3).all()
        assert (index.max(axis=0) > np.array(straight.shape) - 2).all()
        assert np.diag(straight.directions.T @ grid.directions).min() > 0.9
        assert straight_grid(straight) is straight

    def test_labels_are_resampled_back_to_their_place(self, model, scan):
        with pytest.warns(HyperspaceWarning, match="sheared"):
            labels = segment(scan, model, precision="fp32")
        assert labels.grid == scan.grid
        clear = abs(scan.array - 1) > 2 / 8  # at least 2 mm from the surface of the ball
        np.testing.assert_array_equal(labels.array[clear], scan.array[clear] > 1)
        assert clear.mean() > 0.8 and (labels.array[clear] == 1).sum() > 500

    @pytest.mark.filterwarnings("ignore:the grid is sheared")
    def test_stops_while_the_image_or_the_labels_are_resampled(self, model, scan, monkeypatch):
        monkeypatch.setattr(resample, "SLAB_VOXELS", 4000)
        asked = []
        steps = segment_steps(scan, model, should_stop=lambda: asked.append(None) or len(asked) > 5)
        assert next(steps).message == "resampling to perpendicular axes"
        assert not asked
        with pytest.raises(Cancelled):
            next(steps)
        messages, done = [], []

        def stop_in_the_labels() -> bool:
            if messages and messages[-1].startswith("resampling the labels"):
                done.append(None)
            return len(done) > 2

        with pytest.raises(Cancelled):
            for step in segment_steps(
                scan, model, precision="fp32", should_stop=stop_in_the_labels
            ):
                messages.append(step.message)
        assert len(done) == 3

    def test_memory_is_checked_before_anything_is_resampled(self, model, scan, monkeypatch):
        monkeypatch.setattr(
            "napari_hyperspace.api.memory_check.available_bytes", lambda device: 1000
        )
        steps = segment_steps(scan, model)
        next(steps)
        with pytest.raises(HyperspaceError, match="main memory"):  # without a warning of the shear
            next(steps)

    @pytest.mark.slow
    def test_bytes_agree_with_the_measured_ones(self, rng):
        grid = tilted((340, 320, 100), (1, 1, 3))  # so large that freed memory is returned
        volume = Volume(rng.random(grid.shape, dtype=np.float32), grid)
        straight = straight_grid(grid).canonical()
        measured = peak_growth(lambda: resample_to_grid(volume, straight))
        assert 0.6 < straightening_bytes(grid, straight) / measured < 1.6
