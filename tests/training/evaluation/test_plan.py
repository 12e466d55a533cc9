"""Working spacings: sampled, and malformed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import napari_hyperspace as hs
from training.evaluation.plan import (
    interval,
    make_groups,
    parse_interval,
)


def test_sampled_spacings() -> None:
    bounds = parse_interval("1:5,0.2:1.5,0.2:1.5")
    drawn = interval(bounds, 40, seed=7)
    assert drawn.name == "[1, 5] × [0.2, 1.5]²"
    assert drawn == interval(bounds, 40, seed=7)
    assert drawn.spacings_mm[:10] == interval(bounds, 10, seed=7).spacings_mm
    assert drawn.spacings_mm != interval(bounds, 40, seed=8).spacings_mm
    values = np.array(drawn.spacings_mm)
    for column, (low, high) in zip(values.T, bounds, strict=True):
        assert low <= column.min() < low + 0.2 * (high - low)
        assert high - 0.2 * (high - low) < column.max() <= high
    # Axes are independent, and another interval has the same places.
    assert len(np.unique(np.round((values[:, 1:] - 0.2) / 1.3, 3))) > 60
    unit = np.array(interval(parse_interval("1:2"), 40, seed=7).spacings_mm) - 1
    assert unit[:, 0] == pytest.approx((values[:, 0] - 1) / 4, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"draws": 5},
        {"intervals": ["1:2"]},
        {"draws": 5, "intervals": ["2:1"]},
        {"draws": 5, "intervals": ["1:2,3:4"]},
        {"segments": ["1:2"]},
        {"segments": ["1:1:4"]},
        {"segments": ["1:2:1"]},
        {"segments": ["0:2:3"]},
    ],
)
def test_malformed_spacings_are_refused(options: dict[str, Any]) -> None:
    given = {"spacings_mm": None, "draws": None, "intervals": [], "segments": [], "native": False}
    with pytest.raises(hs.HyperspaceError):
        make_groups(**{**given, **options}, seed=0)
