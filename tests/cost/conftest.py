"""Fixtures of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _empty_cache(own_cache: Path) -> None:
    """Each test starts with an empty cache folder."""
