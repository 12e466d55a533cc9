"""Fixtures of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_hyperspace.cost.rates import Calibration
from tests.rates import CALIBRATION


@pytest.fixture(autouse=True)
def _empty_cache(own_cache: Path) -> None:
    """Each test starts with an empty cache folder."""


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> Calibration:
    """Given rates, in place of a measurement of this machine."""
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)
    return CALIBRATION
