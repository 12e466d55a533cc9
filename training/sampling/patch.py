"""Shape of the patches that a network is trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from napari_hyperspace.core.geometry import Shape
from training.config.fit import StepsSection


def patch_shape(config: StepsSection, spacing_mm: Sequence[float], size: ArrayLike) -> Shape:
    """Return the shape of a sample at a spacing (mm, z, y, x).

    Parameters
    ----------
    config
        The largest patch in voxels, and optionally in mm.
    spacing_mm
        Working spacing.
    size
        Shape of the whole case at that spacing.
    """
    shape = np.minimum(size, config.patch_shape)
    if config.patch_mm is not None:
        steps = np.array(config.patch_mm) / spacing_mm
        shape = np.minimum(shape, np.ceil(steps - 1e-4).astype(int))
    z, y, x = np.maximum(shape, 1).tolist()
    return z, y, x
