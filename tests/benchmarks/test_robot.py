"""The simulated user of `benchmarks.interaction`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skimage")

from benchmarks.interaction.robot import BRUSH_MM, LENGTH_MM, next_stroke

STEPS = (1.0, 0.8, 2.0)


def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> np.ndarray:
    axes = [np.arange(n) * step for n, step in zip((50, 60, 24), STEPS, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return (((points - center) / radii) ** 2).sum(axis=-1) <= 1


TRUTH = ellipsoid((25, 24, 24), (7, 20, 8))


def extent(voxels: np.ndarray) -> np.ndarray:
    """Largest distance between two voxels, in mm."""
    points = np.argwhere(voxels) * np.array(STEPS)
    return np.linalg.norm(points[:, None] - points[None], axis=-1).max()


def test_a_right_answer_needs_no_stroke() -> None:
    assert next_stroke(TRUTH, TRUTH, STEPS) is None
    assert next_stroke(TRUTH & False, TRUTH & False, STEPS) is None


def test_the_first_stroke_goes_along_the_center_of_the_structure() -> None:
    stroke = next_stroke(TRUTH, TRUTH & False, STEPS)
    assert stroke is not None and stroke.adds
    assert not (stroke.voxels & ~TRUTH).any()
    where = np.argwhere(stroke.voxels)
    shown = [len(np.unique(column)) for column in where.T]
    assert min(shown) == 1, "in one slice"
    middle = where.mean(axis=0) * STEPS
    assert np.abs(middle - (25, 24, 24)).max() <= 2.0
    assert LENGTH_MM - 4 <= extent(stroke.voxels) <= LENGTH_MM + 0.8  # of voxel centers


@pytest.mark.parametrize("adds", [True, False])
def test_the_largest_region_of_the_error_comes_first(adds: bool) -> None:
    small, large = ellipsoid((25, 8, 24), (3, 3, 3)), ellipsoid((25, 40, 24), (6, 6, 6))
    answer = (TRUTH | small) & ~(small & TRUTH)
    answer = answer & ~large if adds else answer | large
    stroke = next_stroke(TRUTH if adds else TRUTH & ~large, answer, STEPS)
    assert stroke is not None and stroke.adds is adds
    assert (stroke.voxels & large).any() and not (stroke.voxels & small).any()
    side = TRUTH if adds else ~(TRUTH & ~large)
    assert not (stroke.voxels & ~side).any()


def test_the_brush_is_round_and_has_its_diameter() -> None:
    """A dot: the error is one voxel, everything around it may be painted."""
    truth = np.ones((41, 41, 41), bool)
    answer = truth.copy()
    answer[20, 20, 20] = False
    stroke = next_stroke(truth, answer, (0.5, 0.5, 0.5))
    assert stroke is not None
    offsets = (np.argwhere(stroke.voxels) - 20) * 0.5
    assert np.linalg.norm(offsets, axis=1).max() <= BRUSH_MM / 2
    # A disc of 81 pixels of a quarter mm² has the area of the brush, but for its border.
    assert abs(len(offsets) * 0.25 - np.pi * BRUSH_MM**2 / 4) < 2


def test_strokes_are_reproducible() -> None:
    answer = np.roll(TRUTH, 3, axis=1)
    first, again = (next_stroke(TRUTH, answer, STEPS) for _ in range(2))
    assert first is not None and again is not None
    assert np.array_equal(first.voxels, again.voxels)


def test_strokes_repair_an_answer_that_does_nothing_else() -> None:
    """Painting alone reaches the structure: the robot never repeats a stroke."""
    answer = np.zeros(TRUTH.shape, bool)
    for _ in range(400):
        stroke = next_stroke(TRUTH, answer, STEPS)
        if stroke is None:
            break
        before = answer.copy()
        answer[stroke.voxels] = stroke.adds
        assert (answer != before).any()
    assert np.array_equal(answer, TRUTH)
