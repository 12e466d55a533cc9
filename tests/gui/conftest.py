from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume

# Oblique, anisotropic, in the order of no slice view: x runs along the second array axis.
OBLIQUE = np.array(
    [
        [0.10, -0.68, 0.30, 41.5],
        [-0.67, -0.10, 0.40, -12.25],
        [-0.04, -0.05, -4.97, 63.125],
        [0, 0, 0, 1],
    ]
)


@pytest.fixture
def oblique_volume() -> Volume:
    array = np.arange(5 * 7 * 3, dtype=np.int16).reshape(5, 7, 3)
    return Volume(array, Grid((5, 7, 3), OBLIQUE), "oblique", {"path": "/scans/oblique.nii"})
