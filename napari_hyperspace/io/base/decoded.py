"""What the reader of a format returns, and the checks and coordinates that all formats share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_hyperspace.core.errors import ErrorParts, HyperspaceError, OptionNeededError
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Grid, check_spacing
from napari_hyperspace.core.volume import Format, ReadingOptions, Volume, VolumeMetadata

_PLAUSIBLE_EXTENT_MM = (1.0, 3000.0)  # of the longest side of a scan
_FARTHEST_MM = 1e6  # from the origin of any scanner to the first voxel
# Coordinates of DICOM and ITK point to Left, Posterior, Superior (LPS+); NRRD may use any of these.
_SIGNS = {"RAS": (1.0, 1.0, 1.0), "LAS": (-1.0, 1.0, 1.0), "LPS": (-1.0, -1.0, 1.0)}
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
        Name of the volume.
    header
        What the writer of the same format needs to store the geometry bit for bit.
    notes
        Text of warnings.
    orientation_unknown
        Whether the file does not state its orientation, so that left and right are a guess.
    units_stated
        Whether the file, or else the convention of its format, states the unit of length.
    is_labels
        Whether the file states that its values are labels.
    label_names, label_colors
        Of the label values, if the file has them.
    described
        What the description of a label map says; see `napari_hyperspace.io.record`.
    series
        UID of the DICOM series.
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
    described: VolumeMetadata | None = None
    series: str | None = None

    def to_volume(self, fill: float | None, reading: ReadingOptions) -> Volume:
        """Check voxels and field of view, and return the volume.

        Parameters
        ----------
        fill
            Value for voxels that are not finite.
        reading
            The options that the file was read with; kept in the metadata.

        Raises
        ------
        HyperspaceError
            If voxels are not finite and ``fill`` is not given or not finite in their type, or if
            the unit is not stated and the field of view is implausible in mm.
        """
        origin = self.affine[:3, 3]
        if not (np.abs(origin) <= _FARTHEST_MM).all():  # NaN is not, either
            raise HyperspaceError(
                "the position of the first voxel is implausible",
                where=self.path,
                field="origin",
                found=f"({', '.join(f'{x:.4g}' for x in origin)}) mm",
                expected=f"at most {_FARTHEST_MM:g} mm from 0",
                fix="Correct the origin in the header",
            )
        try:
            grid = Grid(self.array.shape, self.affine)
        except HyperspaceError as error:
            raise error.replace(where=self.path) from error
        self._check_extent(grid)
        if grid.is_sheared:
            self.notes.append(
                "the voxel grid is sheared (its axes are not perpendicular); the shear is kept, "
                "only resampling removes it"
            )
        metadata = self._metadata()
        if reading:
            metadata["reading"] = reading
        return Volume(self._finite(fill), grid, self.name, metadata)

    def _metadata(self) -> VolumeMetadata:
        metadata: VolumeMetadata = {"path": str(self.path), "format": self.format}
        # What kept the description while it stored other values, such as an interpolated map,
        # does not show labels any more.
        if self.described is not None and self.array.dtype.kind in "iu":
            metadata |= self.described
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
        size = format_spacing(grid.field_of_view_mm)
        if not self.units_stated:
            raise spacing_needed(
                "the file does not state its units, and in mm its field of view is implausible",
                where=self.path,
                field="units",
                found=size,
            )
        self.notes.append(f"the field of view is implausible: {size}")

    def _finite(self, fill: float | None) -> NDArray[Any]:
        if self.array.dtype.kind != "f":
            return self.array
        bad = ~np.isfinite(self.array)
        count = int(np.count_nonzero(bad))
        if not count:
            return self.array
        if fill is None:
            raise OptionNeededError(
                "the image has voxels that are not finite",
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
                "the value for voxels that are not finite is itself not finite",
                where=self.path,
                field="fill",
                found=fill,
                expected=f"a finite {value.dtype} number",
            )
        self.notes.append(f"{count} voxels that were not finite are now {fill:g}")
        filled: NDArray[Any] = np.where(bad, value, self.array)
        return filled


def override_spacing(
    affine: NDArray[np.float64], spacing_mm: Sequence[float]
) -> NDArray[np.float64]:
    """Return an affine with another spacing (array order), and its first voxel and directions."""
    spacing = np.array(check_spacing(spacing_mm))
    changed = affine.copy()
    changed[:3, :3] *= spacing / np.linalg.norm(affine[:3, :3], axis=0)
    return changed


def missing_spacing(path: Path, field_name: str, found: object) -> OptionNeededError:
    """Return the error for a file that does not state its voxel spacing."""
    return spacing_needed(
        "the file does not state the voxel spacing",
        where=path,
        field=field_name,
        found=found,
        expected="positive numbers",
    )


def spacing_needed(problem: str, **parts: Unpack[ErrorParts]) -> OptionNeededError:
    """Return the error for a file that can be read if its voxel spacing is given."""
    parts = {"fix": "Give spacing_mm, one number per array axis", **parts}
    return OptionNeededError(problem, option="spacing_mm", **parts)


def affine_from(
    columns: ArrayLike, origin: ArrayLike, *, world: str = "LPS"
) -> NDArray[np.float64]:
    """Return the 4×4 affine, index → RAS+, of axes and origin in other world coordinates.

    Parameters
    ----------
    columns
        3×3; column ``i`` is the step from one voxel to the next along array axis ``i``.
    origin
        Position of the first voxel.
    world
        ``"RAS"``, ``"LAS"`` or ``"LPS"``: the directions of the three coordinates.
    """
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = origin
    return turned(affine, world)


def turned(affine: NDArray[np.float64], world: str = "LPS") -> NDArray[np.float64]:
    """Convert an affine from other world coordinates to RAS+, or back: the flips are the same."""
    signs = np.array([*_SIGNS[world], 1.0])
    return signs[:, None] * affine + 0.0  # -0.0 becomes 0.0
