"""The benchmark of adaptation: how scans are changed, and its page."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import adapt, adapt_page
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume


def volume(array: np.ndarray) -> Volume:
    return Volume(array, Grid.from_spacing(array.shape, (1.0, 0.5, 2.0)))


def test_an_inverted_image_is_a_negative() -> None:
    image = volume(np.random.default_rng(0).normal(size=(9, 8, 7)).astype(np.float32))
    changed, _ = adapt.inverted(image, image)
    assert np.corrcoef(changed.array.ravel(), image.array.ravel())[0, 1] < -0.99
    assert changed.array.min() == 0 and changed.array.max() == 1


def test_conventions_move_by_mm() -> None:
    labels = np.zeros((1, 16, 3), np.uint8)
    labels[0, 4:6], labels[0, 6:16] = 1, 2
    image = volume(labels.astype(np.float32))
    _, moved = adapt.divided(image, volume(labels))
    assert (moved.array == 1).sum(axis=1).tolist() == [[10] * 3]  # 4 mm are 8 voxels of 0.5 mm
    assert np.array_equal(moved.array > 0, labels > 0)
    _, outlined = adapt.outlined(image, volume(labels))
    assert (outlined.array[0] == 1).sum(axis=0).tolist() == [4] * 3  # 1 mm is 2 voxels


def test_the_interval_contains_the_mean_and_is_exact_for_equal_differences() -> None:
    assert adapt_page.interval(np.full((3, 20), 0.25)) == pytest.approx((0.25, 0.25))
    differences = np.random.default_rng(0).normal(0.1, 0.05, (3, 20))
    low, high = adapt_page.interval(differences)
    assert low < differences.mean() < high and low > 0


def test_the_page_shows_the_runs_that_there_are() -> None:
    scans = [f"s{i}" for i in range(4)]
    rows = []

    def add(kind: str, method: str, seed: int, on: str, dice: float) -> None:
        rows.extend(
            {
                "kind": kind,
                "method": method,
                "seed": seed,
                "scored_on": on,
                "spacing_mm": at,
                "dice": [dice + at / 100] * len(scans),
            }
            for at in adapt.SPACINGS
        )

    for kind in ("outline", adapt.UNCHANGED):
        add(kind, "bundled", 0, kind, 0.5)
    for seed in range(2):
        add("outline", "adapted", seed, "outline", 0.75)
        add("outline", "adapted", seed, adapt.UNCHANGED, 0.25)
    add("outline", "plain", 0, "outline", 0.7)
    run = {"kind": "outline", "method": "adapted", "seed": 1, "adapted_to": "s9", "steps": 7}
    run |= {"cpu_seconds": 3.2, "dice_before": 0.4, "dice_after": 0.8}
    page = adapt_page.page({"scans": scans, "rows": rows, "runs": [run], "machine": "a machine"})
    assert "- *Outline*: +0.250 at 1 mm, +0.250 at 2 mm, +0.250 at 3 mm." in page
    assert "| adapted | 0.760: **+0.250** [+0.250, +0.250] |" in page
    assert "| outline | **-0.250** [-0.250, -0.250] |" in page
    assert "| outline | s9 | +0.250 | +0.250 | +0.250 | 0.400 → 0.800 | 7 | 3 s |" in page
    assert "| plain, as it is (runs: 1) | 0.710: **+0.200** [+0.200, +0.200] |" in page
    assert "| adapted − plain, resampled | **+0.040** [+0.040, +0.040] |" in page
    assert "| all weights" not in page
    assert "### Contrast" not in page
