"""The proof that a written file holds what was meant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Receipt:
    """What was found when a file that was just written was read back.

    Parameters
    ----------
    path
        The file.
    affine_identical
        Whether its affine is that of the volume to the last bit.
    grid_matches
        Whether shape and corners agree within 1e-3 mm.
    corner_distance_mm
        The largest distance between corresponding corners.
    checked_voxels
        How many voxels were compared; all were equal.
    """

    path: Path
    affine_identical: bool
    grid_matches: bool
    corner_distance_mm: float
    checked_voxels: int

    def __str__(self) -> str:
        geometry = (
            "affine bit-identical"
            if self.affine_identical
            else f"grid within {self.corner_distance_mm:.1e} mm"
        )
        return f"{self.path}: {geometry}, {self.checked_voxels} voxels read back and equal"
