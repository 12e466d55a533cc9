"""Scans to segment, and what the controllers have put into the viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("pytestqt")

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from pytestqt.qtbot import QtBot

    from napari_hyperspace.gui.controllers.dock import DockController


@pytest.fixture
def make_scan() -> Callable[..., Any]:
    """Make an image layer of noise."""
    from napari.layers import Image

    def make(shape: tuple[int, ...] = (12, 14, 16), **options: Any) -> Any:
        options = {"scale": (1.0, 1.0, 1.0), "units": "mm", "name": "scan"} | options
        return Image(np.random.default_rng(0).normal(size=shape), **options)

    return make


@pytest.fixture
def previews() -> Callable[[ViewerModel], list[Any]]:
    """Return the layers of previews."""
    return lambda viewer: [one for one in viewer.layers if "preview" in one.name]


@pytest.fixture
def results() -> Callable[[ViewerModel], list[Any]]:
    """Return the layers of segmentations."""
    from napari_hyperspace.gui.adapters.viewer import label_layers

    return label_layers


@pytest.fixture
def settle() -> Callable[[QtBot, DockController], None]:
    """Wait until all queries are answered."""

    def wait(qtbot: QtBot, controller: DockController) -> None:
        qtbot.waitUntil(lambda: controller.live.is_idle)
        qtbot.wait(20)

    return wait


@pytest.fixture
def run() -> Callable[[QtBot, DockController], None]:
    """Segment, and wait for the end of the run."""

    def wait(qtbot: QtBot, controller: DockController) -> None:
        controller.segmentation.run()
        qtbot.waitUntil(lambda: not controller.running)

    return wait
