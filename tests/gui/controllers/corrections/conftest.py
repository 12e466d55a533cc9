"""Painting in a viewer without a window."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("pytestqt")
from napari.layers import Labels

from napari_hyperspace.gui.adapters.layers import RESULT_KEY
from tests.gui.correction_services import CorrectionFakes

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from pytestqt.qtbot import QtBot

    from napari_hyperspace.gui.controllers.dock import DockController


@pytest.fixture
def services() -> CorrectionFakes:
    return CorrectionFakes()


@pytest.fixture
def painting(controller: DockController, qtbot: QtBot) -> Any:
    """The controller of painting, once it knows the models."""
    found = controller.corrections.painting
    found._rest_s = 0.0
    found.set_active(True)
    qtbot.waitUntil(lambda: found.state.possible is not None)
    return found


@pytest.fixture
def answered(painting: Any, qtbot: QtBot) -> Callable[[], None]:
    """Wait until all strokes are answered."""

    def wait() -> None:
        qtbot.wait(1)
        # The first convolution of a process imports much.
        qtbot.waitUntil(lambda: painting.is_idle and not painting.state.busy, timeout=60_000)
        qtbot.wait(10)

    return wait


@pytest.fixture
def result(viewer: ViewerModel) -> Labels:
    """A result of two structures on the scan."""
    values = np.zeros((12, 14, 16), np.uint8)
    values[3:8, 4:9, 4:8], values[3:8, 4:9, 8:13] = 1, 2
    metadata = {RESULT_KEY: {"model": "fake", "working_spacing_mm": (2.0, 2.0, 2.0)}}
    layer = Labels(values, name="result", scale=(1, 1, 1), units="mm", metadata=metadata)
    viewer.add_layer(layer)
    layer.brush_size = 1
    return layer


@pytest.fixture
def drag() -> Callable[..., None]:
    """Paint or erase several voxels as one stroke."""

    def stroke(layer: Labels, places: Any, value: int) -> None:
        with layer.block_history():
            for place in places:
                layer.paint(place, value)

    return stroke
