"""Plans refuse what no scanner makes, unless the caller insists."""

from __future__ import annotations

import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import make_plan, working_spacing
from tests.models import FakeModel

RANGES = ((0.8, 4.0),) * 3


def grid(step_mm: float) -> Grid:
    return Grid.from_spacing((35, 40, 42), (step_mm,) * 3)


@pytest.fixture
def model() -> FakeModel:
    """A model that is never run."""
    return FakeModel(None, trained_range_mm=RANGES)


@pytest.mark.parametrize("step", [1e20, 1e10, 1e-8, 2.3e-10])
@pytest.mark.parametrize("spacing", [None, (1, 1, 1)])
@pytest.mark.parametrize("outside", ["refuse", "clamp", "extrapolate"])
def test_scans_with_an_implausible_spacing_are_refused(model, step, spacing, outside):
    with pytest.raises(HyperspaceError, match="scan is implausible"):
        make_plan(grid(step), model, spacing, InferenceOptions(outside=outside))


@pytest.mark.parametrize("step", [1e-9, 1e4])
def test_implausible_working_spacings_are_refused(model, step):
    with pytest.raises(HyperspaceError, match="working spacing is implausible"):
        working_spacing(grid(1), model, (step,) * 3, "extrapolate")
    with pytest.raises(HyperspaceError, match="working spacing is implausible"):
        make_plan(grid(1), model, (step,) * 3, InferenceOptions(outside="extrapolate"))
    assert working_spacing(grid(1), model, (step,) * 3, "clamp") == (max(0.8, min(step, 4)),) * 3


def test_the_own_spacing_of_the_scan_is_checked_as_working_spacing(model):
    model.trained_range_mm = None
    with pytest.raises(HyperspaceError, match="working spacing is implausible"):
        working_spacing(grid(1e20), model)


def test_a_working_grid_that_is_too_large_or_too_small_is_refused(model):
    extrapolate = InferenceOptions(outside="extrapolate")
    with pytest.raises(HyperspaceError, match="implausible number of voxels"):
        make_plan(grid(1), model, (1e-3,) * 3, extrapolate)
    with pytest.raises(HyperspaceError, match="more voxels than can be counted"):
        make_plan(grid(1), model, (1e-6,) * 3, extrapolate)
    with pytest.raises(HyperspaceError, match="smaller than half a voxel"):
        make_plan(grid(1e-3), model, None, InferenceOptions(outside="clamp"))


def test_a_caller_may_insist(model):
    insist = InferenceOptions(outside="clamp", allow_implausible=True)
    assert make_plan(grid(1e-3), model, None, insist).working.shape == (1, 1, 1)
    extrapolate = InferenceOptions(outside="extrapolate", allow_implausible=True)
    assert make_plan(grid(1e10), model, None, extrapolate).working.shape == (35, 40, 42)
    given = working_spacing(grid(1), model, (1e4,) * 3, "extrapolate", allow_implausible=True)
    assert given == (1e4,) * 3


@pytest.mark.parametrize("step", [1e20, 1e12])
def test_sizes_that_overflow_are_refused_even_then(model, step):
    insist = InferenceOptions(outside="clamp", allow_implausible=True)
    with pytest.raises(HyperspaceError, match="more voxels than can be counted"):
        make_plan(grid(step), model, None, insist)


def test_ordinary_and_microscopic_scans_are_planned(model):
    for step in (1e-6, 4e-6, 0.3, 1.0, 30.0, 1000.0):
        plan = make_plan(grid(step), model, None, InferenceOptions(outside="extrapolate"))
        assert plan.working.shape == (35, 40, 42)
