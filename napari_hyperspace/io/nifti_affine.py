"""The affine of a NIfTI header.

Which affine is used
--------------------
1. The sform if ``sform_code`` > 0; it must be finite and invertible.
2. Else the qform if ``qform_code`` > 0.
3. Else the spacing alone, as in nibabel; the orientation is unknown, with a warning.

If both codes are set, the qform is only compared. An axis that points more than 45° away from the
same axis of the other is an error: the two contradict each other about the orientation. A smaller
difference, for example by a registration, is a warning, and the sform is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.io.base.decoded import (
    UNIT_MM,
    missing_spacing,
    override_spacing,
    spacing_needed,
)

_UNITS = {0: 1.0, 1: UNIT_MM["m"], 2: UNIT_MM["mm"], 3: UNIT_MM["um"]}  # by the code's low bits
_SPACING_TOLERANCE_MM = 1e-3
SAME_AFFINE_MM = 1e-2  # error of single-precision quaternions at the corners


@dataclass
class ResolvedAffine:
    """The affine that is used, with warnings about it."""

    affine: NDArray[np.float64]
    notes: list[str]
    orientation_unknown: bool = False


def geometry_of(
    header: Any, path: Path, spacing_mm: Sequence[float] | None = None
) -> ResolvedAffine:
    """Return the affine in mm, chosen by the rule above."""
    code = int(header["xyzt_units"]) & 7
    if code not in _UNITS and spacing_mm is None:
        raise spacing_needed(
            "the unit of length is unknown",
            where=path,
            field="xyzt_units",
            found=code,
            expected="1 (m), 2 (mm) or 3 (µm)",
        )
    if spacing_mm is not None:
        return _overridden(header, path, spacing_mm)
    geometry = _choose_affine(header, path)
    if _UNITS[code] != 1:
        geometry.affine[:3] *= _UNITS[code]
    return geometry


def _overridden(header: Any, path: Path, spacing_mm: Sequence[float]) -> ResolvedAffine:
    """Return the directions of the header with the caller's spacing."""
    changed = header.copy()
    changed["pixdim"][1:4] = spacing_mm
    try:
        Grid((1, 1, 1), header.get_sform())
    except HyperspaceError:
        changed["sform_code"] = 0
    scale = _UNITS.get(int(header["xyzt_units"]) & 7, 1.0)
    geometry = _choose_affine(changed, path, compare=False)
    geometry.affine = override_spacing(geometry.affine, spacing_mm)
    geometry.affine[:3, 3] *= scale
    return geometry


def _choose_affine(header: Any, path: Path, *, compare: bool = True) -> ResolvedAffine:
    """Return the affine in the file's own units, with warnings about it."""
    pixdim = np.array(header["pixdim"][1:4], dtype=np.float64)
    notes: list[str] = []
    if not np.isfinite(pixdim).all():
        raise spacing_needed(
            "the spacing is not finite",
            where=path,
            field="pixdim",
            found=pixdim.tolist(),
        )
    if (pixdim < 0).any():
        notes.append(
            f"pixdim {pixdim.tolist()} is negative; its absolute value and the directions of the "
            "affine are used"
        )
    qform = _qform(header, path, pixdim) if header["qform_code"] > 0 else None
    if header["sform_code"] > 0:
        affine = _sform(header, path, qform)
        if compare:
            notes += _compare(affine, np.abs(pixdim), qform, header, path)
        return ResolvedAffine(affine, notes)
    if qform is not None:
        return ResolvedAffine(qform, notes)
    if (pixdim == 0).any():
        raise missing_spacing(path, "pixdim", pixdim.tolist())
    notes.append("the orientation is unknown: the header has neither sform nor qform")
    plain = header.copy()
    plain["pixdim"][1:4] = np.abs(pixdim)
    affine = np.array(plain.get_base_affine(), dtype=np.float64)
    return ResolvedAffine(affine, notes, orientation_unknown=True)


def _qform(header: Any, path: Path, pixdim: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return the qform; `None` if there is an sform and no spacing to make a qform from."""
    if (pixdim == 0).any():
        if header["sform_code"] > 0:
            return None
        raise missing_spacing(path, "pixdim", pixdim.tolist())
    plain = header.copy()
    plain["pixdim"][1:4] = np.abs(pixdim)
    plain["pixdim"][0] = -1 if header["pixdim"][0] < 0 else 1  # 0 means 1
    try:
        affine = np.array(plain.get_qform(), dtype=np.float64)
    except (ValueError, HeaderDataError) as error:
        quaternion = [float(header[f"quatern_{part}"]) for part in "bcd"]
        raise HyperspaceError(
            "the quaternion of the qform is longer than 1",
            where=path,
            field="quatern_b, _c, _d",
            found=quaternion,
            fix="Set qform_code to 0 if the sform is right",
        ) from error
    if not np.isfinite(affine).all():
        raise HyperspaceError(
            "the qform is not finite", where=path, field="qform", found=affine.tolist()
        )
    return affine


def _sform(header: Any, path: Path, qform: NDArray[np.float64] | None) -> NDArray[np.float64]:
    affine = np.array(header.get_sform(), dtype=np.float64)
    try:
        return Grid((1, 1, 1), affine).affine.copy()
    except HyperspaceError as error:
        problem, field = "the sform is singular or not finite", "srow_x, _y, _z"
        if qform is None:
            raise spacing_needed(problem, where=path, field=field, found=affine.tolist()) from error
        raise HyperspaceError(
            problem,
            where=path,
            field=field,
            found=affine.tolist(),
            fix=f"Its qform is valid ({qform.tolist()}): set sform_code to 0 to use that",
        ) from error


def _compare(
    affine: NDArray[np.float64],
    pixdim: NDArray[np.float64],
    qform: NDArray[np.float64] | None,
    header: Any,
    path: Path,
) -> list[str]:
    """Return warnings about differences of the sform, which is used, from pixdim and qform."""
    notes = []
    shape = tuple(max(int(size), 1) for size in header["dim"][1:4])
    grid = Grid((shape[0], shape[1], shape[2]), affine)
    if np.abs(np.array(grid.spacing_mm) - pixdim).max() > _SPACING_TOLERANCE_MM:
        notes.append(
            f"the spacing is {format_spacing(pixdim.tolist(), digits=6)} in pixdim and "
            f"{format_spacing(grid.spacing_mm, digits=6)} in the affine; the affine is used"
        )
    if qform is None:
        return notes
    other = Grid(grid.shape, qform)
    if ((grid.directions * other.directions).sum(axis=0) < np.sqrt(0.5)).any():
        raise HyperspaceError(
            "sform and qform contradict each other about the orientation",
            where=path,
            field="sform, qform",
            found=f"{grid.axcodes} and {other.axcodes}",
            expected="one orientation",
            fix="Set the code of the wrong one to 0",
        )
    if (distance := grid.corner_distance_mm(other)) > SAME_AFFINE_MM:
        notes.append(f"sform and qform differ by up to {distance:.3g} mm; the sform is used")
    return notes
