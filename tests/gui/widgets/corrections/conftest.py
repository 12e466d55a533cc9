"""Models that answer to strokes."""

from __future__ import annotations

import pytest

from tests.gui.correction_services import CorrectionFakes


@pytest.fixture
def services() -> CorrectionFakes:
    return CorrectionFakes()
