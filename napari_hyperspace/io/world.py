"""The one place where other world coordinates become RAS+ and back.

DICOM and ITK count towards Left, Posterior, Superior (LPS+); NRRD may use any of several.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SIGNS = {"RAS": (1.0, 1.0, 1.0), "LAS": (-1.0, 1.0, 1.0), "LPS": (-1.0, -1.0, 1.0)}


def affine_from(
    columns: ArrayLike, origin: ArrayLike, *, world: str = "LPS"
) -> NDArray[np.float64]:
    """Return the 4×4 affine, index → RAS+, of axes and origin in another world.

    Parameters
    ----------
    columns
        3×3; column ``i`` is the step from one voxel to the next along array axis ``i``.
    origin
        Position of the first voxel.
    world
        ``"RAS"``, ``"LAS"`` or ``"LPS"``: what the three coordinates count towards.
    """
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = origin
    return turned(affine, world)


def turned(affine: NDArray[np.float64], world: str = "LPS") -> NDArray[np.float64]:
    """Turn an affine from another world to RAS+ or back (the same flips), without rounding."""
    signs = np.array([*_SIGNS[world], 1.0])
    return signs[:, None] * affine + 0.0  # -0.0 becomes 0.0
