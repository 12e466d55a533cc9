"""What a network is shown of several channels, and of scans with tilted slices."""

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
from napari_hyperspace.core.memory import PeakMemory
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


def tilted(shape=(31, 40, 13), spacing_mm=(1.4, 1.1, 3.0), tilt_deg=25) -> Grid:
    """A grid turned about its first axis, each slice of which lies farther along the second."""
    affine = turned(0, shape, spacing_mm).affine.copy()
    affine[:3, 2] += affine[:3, 1] / spacing_mm[1] * spacing_mm[2] * np.tan(np.radians(tilt_deg))
    cos, sin = np.cos(0.1), np.sin(0.1)
    affine[:3, :3] = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ affine[:3, :3]
    affine[:3, 3] = (4, -7, 19)
    return Grid(shape, affine)


class TestShear:
    """Scans whose slices are shifted, as by a tilted gantry."""

    @pytest.fixture
    def model(self):
        class Bright(nn.Module):
            def forward(self, x):
                return torch.cat([torch.zeros_like(x), x - 1, 2 * x - 4], dim=1)

        return FakeModel(lambda spacing: Bright(), normalization=Normalization("none"))

    @pytest.fixture
    def scan(self):
        """A cone of brightness: what exceeds a threshold is a ball."""
        grid = tilted()
        from_center = grid.index_to_mm(np.moveaxis(np.indices(grid.shape), 0, -1)) - grid.center_mm
        bright = 3 - np.linalg.norm(from_center, axis=-1) / 8
        return Volume(bright.astype(np.float32), grid)

    def test_straight_grid_holds_the_sheared_one(self):
        grid = tilted()
        straight = straight_grid(grid)
        assert not straight.is_sheared
        assert straight.spacing_mm == pytest.approx(grid.spacing_mm)
        index = straight.mm_to_index(grid.corners_mm())
        assert (index > -1e-3).all() and (index < np.array(straight.shape) - 1 + 1e-3).all()
        assert (index.max(axis=0) > np.array(straight.shape) - 2).all()
        assert np.diag(straight.directions.T @ grid.directions).min() > 0.9
        assert straight_grid(straight) is straight

    def test_labels_come_back_to_where_they_belong(self, model, scan):
        with pytest.warns(HyperspaceWarning, match="sheared"):
            labels = segment(scan, model, precision="fp32")
        assert labels.grid == scan.grid
        clear = abs(scan.array - 1) > 2 / 8  # 2 mm and more from the ball's surface
        np.testing.assert_array_equal(labels.array[clear], scan.array[clear] > 1)
        assert clear.mean() > 0.8 and (labels.array[clear] == 1).sum() > 500

    @pytest.mark.filterwarnings("ignore:the grid is sheared")
    def test_stops_on_the_way_there_and_back(self, model, scan, monkeypatch):
        monkeypatch.setattr(resample, "SLAB_VOXELS", 4000)
        asked = []
        steps = segment_steps(scan, model, should_stop=lambda: asked.append(None) or len(asked) > 5)
        assert next(steps).message == "straightening the image"
        assert not asked
        with pytest.raises(Cancelled):
            next(steps)
        messages, done = [], []

        def back_for_a_while() -> bool:
            if messages and messages[-1].startswith("bringing the labels back"):
                done.append(None)
            return len(done) > 2

        with pytest.raises(Cancelled):
            for step in segment_steps(scan, model, precision="fp32", should_stop=back_for_a_while):
                messages.append(step.message)
        assert len(done) == 3

    def test_memory_is_checked_before_anything_is_resampled(self, model, scan, monkeypatch):
        monkeypatch.setattr(
            "napari_hyperspace.cost.memory_model.available_bytes", lambda device: 1000
        )
        steps = segment_steps(scan, model)
        next(steps)
        with pytest.raises(HyperspaceError, match="main memory"):  # and no warning of the shear
            next(steps)

    @pytest.mark.slow
    def test_bytes_are_of_the_size_measured(self, rng):
        grid = tilted((340, 320, 100), (1, 1, 3))  # large enough for memory to go back when freed
        volume = Volume(rng.random(grid.shape, dtype=np.float32), grid)
        straight = straight_grid(grid).canonical()
        with PeakMemory(torch.device("cpu")) as memory:
            resample_to_grid(volume, straight)
        if memory.peak_bytes is None:
            pytest.skip("the system does not tell resident memory")
        assert 0.6 < straightening_bytes(grid, straight) / memory.peak_bytes < 1.6
