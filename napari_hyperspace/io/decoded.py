"""What a format's reader hands over, and the checks that every format's volumes go through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import ErrorParts, HyperspaceError, OptionNeededError
from napari_hyperspace.core.geometry import Grid, check_spacing
from napari_hyperspace.core.volume import Format, Volume, VolumeMetadata

_PLAUSIBLE_EXTENT_MM = (1.0, 3000.0)  # of the longest side of a scan
UNIT_MM = {"m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "nm": 1e-6}


@dataclass
class Decoded:
    """Voxels and geometry of a file, before the checks that all formats share.

    Parameters
    ----------
    array
        (i, j, k), in the file's own order.
    affine
        4×4, index → RAS+ mm.
    path
        File or folder it came from.
    format
        ``"nifti"``, ``"nrrd"``, ``"metaimage"`` or ``"dicom"``.
    name
        What to call it.
    header
        What the writer of the same format needs to give the geometry back bit for bit.
    notes
        What the user should know; each becomes a warning.
    orientation_unknown
        Whether left and right, front and back are a guess.
    units_stated
        Whether the file, or else the custom of its format, says what its numbers are in.
    is_labels
        Whether the file says that its values are labels.
    label_names, label_colors
        Where the file carries them.
    """

    array: NDArray[Any]
    affine: NDArray[np.float64]
    path: Path
    format: Format
    name: str
    header: object = None
    notes: list[str] = field(default_factory=list)
    orientation_unknown: bool = False
    units_stated: bool = True
    is_labels: bool = False
    label_names: Mapping[int, str] = field(default_factory=dict)
    label_colors: Mapping[int, str] = field(default_factory=dict)
    series: str | None = None

    def to_volume(self, fill: float | None) -> Volume:
        """Check pixels and field of view, and make the volume.

        Raises
        ------
        HyperspaceError
            If voxels are not finite and ``fill`` is not given or not finite in their type, or if
            units are not stated and mm cannot be meant.
        """
        try:
            grid = Grid(self.array.shape, self.affine)
        except HyperspaceError as error:
            raise error.replace(where=self.path) from error
        self._check_extent(grid)
        if grid.is_sheared:
            self.notes.append(
                "the voxel grid is sheared (its axes are not perpendicular); the shear is kept and "
                "undone only by resampling"
            )
        return Volume(self._finite(fill), grid, self.name, self._metadata())

    def _metadata(self) -> VolumeMetadata:
        metadata: VolumeMetadata = {"path": str(self.path), "format": self.format}
        if self.header is not None:
            metadata["header"] = self.header
        if self.series:
            metadata["series"] = self.series
        if self.orientation_unknown:
            metadata["orientation_unknown"] = True
        if not self.units_stated:
            metadata["units_assumed"] = True
        if self.is_labels:
            metadata["is_labels"] = True
        if self.label_names:
            metadata["label_names"] = dict(self.label_names)
        if self.label_colors:
            metadata["label_colors"] = dict(self.label_colors)
        return metadata

    def _check_extent(self, grid: Grid) -> None:
        longest = max(grid.field_of_view_mm)
        least, most = _PLAUSIBLE_EXTENT_MM
        if least <= longest <= most:
            return
        size = " × ".join(f"{extent:.4g}" for extent in grid.field_of_view_mm)
        if not self.units_stated:
            raise spacing_needed(
                "the file does not state its units, and in mm its field of view is implausible",
                where=self.path,
                field="units",
                found=f"{size} mm",
            )
        self.notes.append(f"the field of view is implausible: {size} mm")

    def _finite(self, fill: float | None) -> NDArray[Any]:
        if self.array.dtype.kind != "f":
            return self.array
        bad = ~np.isfinite(self.array)
        count = int(np.count_nonzero(bad))
        if not count:
            return self.array
        if fill is None:
            raise OptionNeededError(
                "the image holds voxels that are not finite",
                option="fill",
                where=self.path,
                field="voxels",
                found=f"{count} NaN or infinite of {bad.size}",
                fix="Give a value for them with fill",
            )
        with np.errstate(over="ignore"):
            value = np.asarray(fill, self.array.dtype)
        if not np.isfinite(value):
            raise HyperspaceError(
                "the value for voxels that are not finite is not finite itself",
                where=self.path,
                field="fill",
                found=fill,
                expected=f"a number that {value.dtype} holds",
            )
        self.notes.append(f"{count} voxels that were not finite are now {fill:g}")
        filled: NDArray[Any] = np.where(bad, value, self.array)
        return filled


def override_spacing(
    affine: NDArray[np.float64], spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """Return an affine with its directions and first voxel, but another spacing (array order)."""
    spacing = np.array(check_spacing(spacing_mm))
    changed = affine.copy()
    changed[:3, :3] *= spacing / np.linalg.norm(affine[:3, :3], axis=0)
    return changed


def missing_spacing(path: Path, field_name: str, found: object) -> OptionNeededError:
    """Return the error for a file that does not say how far apart its voxels are."""
    return spacing_needed(
        "the file does not say the voxel spacing",
        where=path,
        field=field_name,
        found=found,
        expected="positive numbers",
    )


def spacing_needed(problem: str, **parts: Unpack[ErrorParts]) -> OptionNeededError:
    """Return the error for a file that can be read if its voxel spacing is given."""
    parts = {"fix": "Give spacing_mm, one number per array axis", **parts}
    return OptionNeededError(problem, option="spacing_mm", **parts)
