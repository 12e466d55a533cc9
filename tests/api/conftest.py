"""What is measured by one test is not known to the next."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _empty_cache(own_cache):
    """Each test starts with an empty cache folder."""
