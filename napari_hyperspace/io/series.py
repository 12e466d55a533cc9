"""DICOM series: which slices belong together, and their affine, from the tags only.

Positions and directions are DICOM's own (LPS+ mm); `stack_affine` returns RAS+ mm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io.base.decoded import affine_from, missing_spacing

_COSINE_TOLERANCE = 1e-3  # between direction cosines of slices that belong together
_SAME_POSITION_MM = 1e-3
_UNEVEN = 0.02  # tolerance of the slice distance, relative
_UNEVEN_MM = 0.02  # and absolute: positions are often rounded to hundredths
_TILT = 1e-3  # radians between slice direction and slice normal
_MOST_NAMED = 5


@dataclass(frozen=True)
class Slice:
    """The tags of one file that decide about position and meaning of its pixels.

    Parameters
    ----------
    pixel_spacing
        Distance of rows, then of columns, in mm (DICOM's order).
    problem
        Why the file cannot be a slice of a volume; empty if it can.
    uid
        Of the series; empty if it could not be read, or if the file belongs to none (a DICOMDIR).
    is_image
        Whether it has pixels; true for a damaged file, which may have some.
    number
        Of the series.
    trailing_bytes
        Number of bytes after the pixels that the header states.
    """

    path: Path
    uid: str
    description: str
    modality: str
    is_image: bool = True
    problem: str = ""
    shape: tuple[int, int] = (0, 0)  # rows, columns
    pixel_bytes: int = 0
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    pixel_spacing: tuple[float, ...] | None = None
    thickness: float | None = None
    number: int | None = None
    trailing_bytes: int = 0


@dataclass(frozen=True)
class Series:
    """Files of one DICOM series that share an orientation.

    Parameters
    ----------
    uid
        The series instance UID, followed by ``"#1"``, ``"#2"`` … if the slices of one UID have
        several orientations (a localizer).
    description, modality
        From the tags.
    slices
        Its files with their tags, in order of position if they have one.
    problems
        Why it cannot be read as a volume; empty if it can.
    number
        From the tags.
    """

    uid: str
    description: str
    modality: str
    slices: tuple[Slice, ...]
    problems: tuple[str, ...] = ()
    number: int | None = None

    @property
    def title(self) -> str:
        """What to call it: description or number, never the name of a file or a patient."""
        if self.description:
            return self.description
        return "DICOM series" if self.number is None else f"series {self.number}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Paths of the files."""
        return tuple(item.path for item in self.slices)

    @property
    def n_files(self) -> int:
        """Number of files."""
        return len(self.slices)

    @property
    def is_image(self) -> bool:
        """Whether it has pixels, readable or not."""
        return any(item.is_image for item in self.slices)

    def __str__(self) -> str:
        title = self.title if self.description or self.number is not None else "no description"
        text = f"{self.uid}: {title}, {self.modality or '?'}"
        text += f", {self.n_files} file{'s' if self.n_files > 1 else ''}"
        return f"{text} ({'; '.join(self.problems)})" if self.problems else text


def group(slices: Sequence[Slice]) -> list[Series]:
    """Sort files into series: by UID, then by orientation."""
    by_uid: dict[tuple[str, bool], list[Slice]] = defaultdict(list)
    for item in slices:
        by_uid[item.uid, item.is_image].append(item)
    found = []
    for (uid, _), members in by_uid.items():
        clusters = _by_orientation(members)
        for n, cluster in enumerate(clusters, start=1):
            name = uid if len(clusters) == 1 else f"{uid}#{n}"
            first = cluster[0]
            ordered, problems = tuple(cluster), []
            try:
                ordered = _ordered(cluster, first.path.parent)
                stack_affine(ordered, first.path.parent)
            except HyperspaceError as error:
                problems.append(_brief(error))
            found.append(
                Series(
                    name,
                    first.description,
                    first.modality,
                    ordered,
                    tuple(problems),
                    number=first.number,
                )
            )
    return sorted(found, key=lambda series: series.uid)


def _brief(error: HyperspaceError) -> str:
    return error.problem if error.found is None else f"{error.problem} ({error.found})"


def _by_orientation(slices: Sequence[Slice]) -> list[list[Slice]]:
    clusters: list[list[Slice]] = []
    for item in slices:
        for cluster in clusters:
            if _close(item.orientation, cluster[0].orientation, _COSINE_TOLERANCE):
                cluster.append(item)
                break
        else:
            clusters.append([item])
    return clusters


def _close(a: tuple[float, ...] | None, b: tuple[float, ...] | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return len(a) == len(b) and float(np.abs(np.subtract(a, b)).max()) <= tolerance


def stack(
    series: Series, where: Path, spacing_mm: Sequence[float] | None = None
) -> tuple[tuple[Slice, ...], NDArray[np.float64], list[str]]:
    """Return the slices in order, the affine of their stack, and warnings about it.

    Raises
    ------
    HyperspaceError
        If they are not a regular stack; see `stack_affine`.
    """
    ordered = _ordered(series.slices, where)
    affine, notes = stack_affine(ordered, where, spacing_mm)
    return ordered, affine, notes


def _ordered(slices: Sequence[Slice], where: Path) -> tuple[Slice, ...]:
    """Sort slices along their common normal, after checks of each slice."""
    for item in slices:
        if item.problem:
            raise HyperspaceError(item.problem, where=item.path)
    unplaced = [item for item in slices if item.position is None or item.orientation is None]
    if unplaced:
        raise HyperspaceError(
            "some slices have no position or no orientation",
            where=where,
            field="ImagePositionPatient, ImageOrientationPatient",
            found=_named(unplaced),
        )
    _check_same(slices, where)
    normal = _axes(slices[0], where)[2]
    return tuple(sorted(slices, key=lambda item: float(np.dot(item.position or (), normal))))


def _check_same(slices: Sequence[Slice], where: Path) -> None:
    for field in ("shape", "pixel_spacing"):
        groups: dict[tuple[float, ...] | None, int] = {}
        for item in slices:
            value = getattr(item, field)
            same = next((known for known in groups if _close(known, value, 1e-4)), value)
            groups[same] = groups.get(same, 0) + 1
        if len(groups) > 1:
            tag = {"shape": "Rows, Columns", "pixel_spacing": "PixelSpacing"}[field]
            counts = ", ".join(
                f"{count} × {'×'.join(f'{part:g}' for part in value or ()) or 'none'}"
                for value, count in groups.items()
            )
            raise HyperspaceError(
                "the slices of the series differ",
                where=where,
                field=tag,
                found=counts,
                expected="the same for all slices",
                fix="Move the slices of each kind into a folder of their own",
            )


def _axes(item: Slice, where: Path) -> tuple[NDArray[np.float64], ...]:
    """Return unit vectors along a row, down a column, and normal to both."""
    row, column = np.array(item.orientation, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 1e-2 or abs(row @ column) > 1e-2:
        raise HyperspaceError(
            "row and column directions are not perpendicular unit vectors",
            where=item.path,
            field="ImageOrientationPatient",
            found=item.orientation,
        )
    row, column = row / lengths[0], column / lengths[1]
    normal = np.cross(row, column)
    return row, column, normal / np.linalg.norm(normal)


def stack_affine(
    slices: Sequence[Slice], where: Path, spacing_mm: Sequence[float] | None = None
) -> tuple[NDArray[np.float64], list[str]]:
    """Return the affine, (column, row, slice) index → RAS+ mm, of slices in order of position.

    Raises
    ------
    HyperspaceError
        If slices share a position, one is missing, distances are uneven, or the slices are not on
        one line; or if a spacing is missing and not given.
    """
    first = slices[0]
    row, column, normal = _axes(first, where)
    pixel_spacing = first.pixel_spacing
    if pixel_spacing is None or not all(np.isfinite(pixel_spacing)) or min(pixel_spacing) <= 0:
        if spacing_mm is None:
            raise missing_spacing(where, "PixelSpacing", pixel_spacing)
        pixel_spacing = (1.0, 1.0)
    notes: list[str] = []
    if len(slices) == 1:
        thickness = first.thickness
        if thickness is None or not (np.isfinite(thickness) and thickness > 0):
            if spacing_mm is None:
                raise missing_spacing(where, "SpacingBetweenSlices, SliceThickness", thickness)
            thickness = 1.0
        step = normal * thickness
    else:
        positions = np.array([item.position for item in slices])
        _check_distances(slices, positions @ normal, where)
        step = (positions[-1] - positions[0]) / (len(slices) - 1)
        distance = float(step @ normal)
        line = positions[0] + np.arange(len(slices))[:, None] * step
        off = float(np.linalg.norm(positions - line, axis=1).max())
        if off > max(5 * _UNEVEN * distance, 5 * _UNEVEN_MM):
            raise HyperspaceError(
                "the slices are not on one line",
                where=where,
                field="ImagePositionPatient",
                found=f"{off:.3g} mm off the line",
            )
        tilt = float(np.arctan2(np.linalg.norm(step - distance * normal), distance))
        if tilt > _TILT:
            notes.append(f"the slices are tilted by {np.degrees(tilt):.2f}° (gantry tilt)")
    columns = np.stack([row * pixel_spacing[1], column * pixel_spacing[0], step], axis=1)
    return affine_from(columns, first.position or ()), notes


def _check_distances(slices: Sequence[Slice], heights: NDArray[np.float64], where: Path) -> None:
    """Raise an error for duplicates, gaps and uneven distances; ``heights`` ascend, in mm."""
    distances = np.diff(heights)
    pairs = list(pairwise(slices))
    doubles = [pair for pair, d in zip(pairs, distances, strict=True) if d < _SAME_POSITION_MM]
    if doubles:
        raise HyperspaceError(
            "slices share a position",
            where=where,
            field="ImagePositionPatient",
            found=_named([item for pair in doubles for item in pair]),
            fix="Keep one of each, or split echoes and time points into folders of their own",
        )
    step = float(distances.min())
    tolerance = max(_UNEVEN * step, _UNEVEN_MM)
    multiples = np.round(distances / step)
    if (np.abs(distances - multiples * step) > tolerance * multiples).any():
        raise HyperspaceError(
            "the slices are unevenly spaced",
            where=where,
            field="ImagePositionPatient",
            found=f"{distances.min():.4g} … {distances.max():.4g} mm",
            expected="one distance",
            fix="Resample the series to an even spacing first",
        )
    gaps = [
        f"{int(count) - 1} between {a.path.name} and {b.path.name}"
        for (a, b), count in zip(pairs, multiples, strict=True)
        if count > 1
    ]
    if gaps:
        raise HyperspaceError(
            "slices are missing",
            where=where,
            field="ImagePositionPatient",
            found=", ".join(gaps[:_MOST_NAMED]) + (" …" if len(gaps) > _MOST_NAMED else ""),
            expected=f"a slice every {step:.4g} mm",
            fix="Add the missing files",
        )


def _named(slices: Sequence[Slice]) -> str:
    names = list(dict.fromkeys(item.path.name for item in slices))
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
