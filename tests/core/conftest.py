"""What every test of the engine needs."""

from __future__ import annotations

import pytest

from napari_hyperspace.core import store


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Keep what is measured out of the user's own cache folder."""
    monkeypatch.setattr(store, "user_cache_path", lambda name: tmp_path / "cache")
    return tmp_path / "cache"
