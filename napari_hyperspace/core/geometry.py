"""Grids: the positions of an array's voxels in the patient, in mm.

Vocabulary
----------
*affine* maps an array index (i, j, k) to RAS+ world coordinates in mm (x to the Right, y to the
Anterior, z to the Superior). *spacing* is the distance between voxel centers in mm, one number per
axis, in array-axis order. *Canonical order* is the array order (z, y, x) whose axes point to
Inferior, Posterior and Left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_hyperspace.core.errors import HyperspaceError

Triple = tuple[float, float, float]
Shape = tuple[int, int, int]
Array = TypeVar("Array", bound=Any)

# Unit vectors in RAS+ to Inferior, Posterior, Left, one per row: the canonical axes.
_CANONICAL_DIRECTIONS = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_AXIS_NAMES = (("L", "R"), ("P", "A"), ("I", "S"))  # along -x/+x, -y/+y, -z/+z of RAS+
_MAX_SIZE = 2.0**63  # numbers of voxels are 64-bit integers in numpy and torch
_SHEAR_TOLERANCE = 1e-3  # cosine between two axes above which a grid is sheared


@dataclass(frozen=True)
class Orientation:
    """The signed permutation between an array's own axes and canonical order.

    Parameters
    ----------
    axes
        ``axes[i]`` is the array axis that is parallel to canonical axis ``i``.
    flips
        ``flips[i]`` is true if canonical axis ``i`` points in the opposite direction.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def to_canonical(self, array: Array) -> Array:
        """Bring the last three axes of an array into canonical order (numpy: a view)."""
        lead = array.ndim - 3
        order = (*range(lead), *(lead + axis for axis in self.axes))
        return _flip(_transpose(array, order), self.flips)

    def from_canonical(self, array: Array) -> Array:
        """Bring the last three axes of a canonical array back into the array's own order."""
        lead = array.ndim - 3
        order = (*range(lead), *(lead + self.axes.index(axis) for axis in range(3)))
        return _transpose(_flip(array, self.flips), order)

    def values_to_canonical(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Reorder one value per array axis (a spacing, a shape) into canonical order."""
        a, b, c = (values[axis] for axis in self.axes)
        return a, b, c

    def values_from_canonical(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Reorder one value per canonical axis into the array's own order."""
        a, b, c = (values[self.axes.index(axis)] for axis in range(3))
        return a, b, c


def _transpose(array: Array, order: tuple[int, ...]) -> Array:
    turned: Array = array.permute(order) if hasattr(array, "permute") else array.transpose(order)
    return turned


def _flip(array: Array, flips: tuple[bool, bool, bool]) -> Array:
    if hasattr(array, "permute"):  # torch has no negative strides
        axes = [array.ndim - 3 + axis for axis in range(3) if flips[axis]]
        flipped: Array = array.flip(axes) if axes else array
        return flipped
    turned: Array = array[(..., *(slice(None, None, -1 if flip else 1) for flip in flips))]
    return turned


@dataclass(frozen=True, eq=False)
class Grid:
    """Shape and affine of a 3-D array: the position of every voxel.

    Parameters
    ----------
    shape
        Number of voxels along each array axis, each at least 1.
    affine
        4×4, array index → RAS+ mm, kept in float64 and read-only.

    Raises
    ------
    HyperspaceError
        If the shape is not three positive numbers, or the affine is not 4×4, finite, invertible and
        with a last row of (0, 0, 0, 1).
    """

    shape: Shape
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        if len(shape) != 3 or any(size < 1 for size in shape):
            raise HyperspaceError(
                "a grid needs three positive sizes", field="shape", found=tuple(self.shape)
            )
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise HyperspaceError(
                "the affine is not a finite 4×4 matrix", field="affine", found=affine.tolist()
            )
        if not np.array_equal(affine[3], (0, 0, 0, 1)):
            raise HyperspaceError(
                "the last row of the affine must be (0, 0, 0, 1)",
                field="affine",
                found=affine[3].tolist(),
            )
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if not np.isfinite(lengths).all():
            raise HyperspaceError(
                "the voxel spacing is too large to compute with",
                field="affine",
                found=affine.tolist(),
                fix="Give the spacing and orientation of the data",
            )
        if not (lengths > 0).all() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise HyperspaceError(
                "the affine is singular: its voxels have no volume",
                field="affine",
                found=affine.tolist(),
                fix="Give the spacing and orientation of the data",
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(cls, shape: Sequence[int], spacing_mm: Sequence[float]) -> Grid:
        """Return the grid in canonical order with this spacing and its first voxel at the origin.

        Parameters
        ----------
        shape, spacing_mm
            In canonical order (z, y, x).
        """
        z, y, x = shape
        affine = np.eye(4)
        affine[:3, :3] = _CANONICAL_DIRECTIONS.T * check_spacing(spacing_mm)
        return cls((z, y, x), affine)

    @cached_property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centers along each array axis, in mm."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return a, b, c

    @cached_property
    def directions(self) -> NDArray[np.float64]:
        """Unit vectors of the array axes in RAS+, one per column (3×3)."""
        return self.affine[:3, :3] / self.spacing_mm

    @property
    def field_of_view_mm(self) -> Triple:
        """Extent from voxel edge to voxel edge along each array axis, in mm."""
        a, b, c = (size * step for size, step in zip(self.shape, self.spacing_mm, strict=True))
        return a, b, c

    @property
    def center_mm(self) -> NDArray[np.float64]:
        """RAS+ position of the center of the field of view, in mm."""
        return self.index_to_mm((np.array(self.shape) - 1) / 2)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in milliliters."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    @cached_property
    def orientation(self) -> Orientation:
        """The signed permutation that brings this grid closest to canonical order."""
        cosines = _CANONICAL_DIRECTIONS @ self.directions  # (canonical axis, array axis)
        axes = max(
            permutations(range(3)),
            key=lambda order: sum(abs(cosines[i, axis]) for i, axis in enumerate(order)),
        )
        a, b, c = axes
        flips = tuple(bool(cosines[i, axis] < 0) for i, axis in enumerate(axes))
        return Orientation((a, b, c), (flips[0], flips[1], flips[2]))

    @property
    def axcodes(self) -> str:
        """The nearest anatomical direction of each array axis, such as ``"LPS"``."""
        names = []
        for axis in range(3):
            canonical = self.orientation.axes.index(axis)
            world = int(np.argmax(np.abs(_CANONICAL_DIRECTIONS[canonical])))
            negative = not self.orientation.flips[canonical]  # as the canonical axis itself
            names.append(_AXIS_NAMES[world][0 if negative else 1])
        return "".join(names)

    @property
    def obliqueness_deg(self) -> float:
        """Largest angle between an array axis and its nearest anatomical axis, in degrees."""
        cosines = np.abs(_CANONICAL_DIRECTIONS @ self.directions)
        nearest = [cosines[i, axis] for i, axis in enumerate(self.orientation.axes)]
        return float(np.degrees(np.arccos(np.clip(min(nearest), -1, 1))))

    @property
    def is_sheared(self) -> bool:
        """Whether two array axes are not perpendicular (cosine above 1e-3)."""
        cosines = self.directions.T @ self.directions - np.eye(3)
        return bool(np.abs(cosines).max() > _SHEAR_TOLERANCE)

    def index_to_mm(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map array indices (…, 3), fractions allowed, to RAS+ positions (…, 3) in mm."""
        moved: NDArray[np.float64] = (
            np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        )
        return moved

    def mm_to_index(self, position_mm: ArrayLike) -> NDArray[np.float64]:
        """Map RAS+ positions (…, 3) in mm to fractional array indices (…, 3)."""
        offset = np.asarray(position_mm, dtype=np.float64) - self.affine[:3, 3]
        index = np.linalg.solve(self.affine[:3, :3], offset[..., None])[..., 0]
        return np.asarray(index, dtype=np.float64)

    def index_map(self, other: Grid) -> NDArray[np.float64]:
        """Return the 4×4 matrix from another grid's array indices to this grid's."""
        return np.asarray(np.linalg.solve(self.affine, other.affine), dtype=np.float64)

    def canonical(self) -> Grid:
        """Return the grid of the same voxels with the array in canonical order."""
        orientation = self.orientation
        affine = np.eye(4)
        origin = [0.0, 0.0, 0.0]
        for i, (axis, flip) in enumerate(zip(orientation.axes, orientation.flips, strict=True)):
            affine[:3, i] = self.affine[:3, axis] * (-1 if flip else 1)
            origin[axis] = self.shape[axis] - 1 if flip else 0
        affine[:3, 3] = self.index_to_mm(origin)
        return Grid(orientation.values_to_canonical(self.shape), affine)

    def with_spacing(self, spacing_mm: Sequence[float]) -> Grid:
        """Return the grid of another spacing over the same field of view.

        Axes and center are kept. If the spacing does not divide the field of view, the new grid
        extends beyond it by less than one new voxel in total, so that it covers this grid.

        Parameters
        ----------
        spacing_mm
            In the order of this grid's array axes.

        Raises
        ------
        HyperspaceError
            If the spacing is not three positive finite numbers, or the number of voxels overflows.
        """
        spacing = check_spacing(spacing_mm)
        with np.errstate(over="ignore"):
            # The tolerance keeps 30 × 1.1 / 1.1 at 30 voxels despite rounding.
            sizes = np.ceil(np.array(self.field_of_view_mm) / spacing - 1e-4).clip(1)
            too_large = not np.prod(sizes) < _MAX_SIZE
        if too_large:
            raise HyperspaceError(
                "a grid of this spacing has more voxels than can be counted",
                field="spacing_mm",
                found=" × ".join(f"{size:.3g}" for size in sizes),
                fix="Choose a coarser spacing, or correct the geometry of the scan",
            )
        shape = tuple(int(size) for size in sizes)
        affine = np.eye(4)
        affine[:3, :3] = self.directions * spacing
        affine[:3, 3] = self.center_mm - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        return Grid((shape[0], shape[1], shape[2]), affine)

    def crop(self, start: Sequence[int], shape: Sequence[int]) -> Grid:
        """Return the grid of the block of this shape whose first voxel is ``start``."""
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_mm(start)
        a, b, c = shape
        return Grid((a, b, c), affine)

    def corners_mm(self) -> NDArray[np.float64]:
        """RAS+ positions of the eight outermost voxel centers (8, 3) in mm."""
        return self.index_to_mm(list(product(*((0, size - 1) for size in self.shape))))

    def corner_distance_mm(self, other: Grid) -> float:
        """Largest distance between corresponding corners of two grids, in mm."""
        return float(np.linalg.norm(self.corners_mm() - other.corners_mm(), axis=1).max())

    def is_close(self, other: Grid, tolerance_mm: float = 1e-3) -> bool:
        """Whether two grids have the same shape and corners within a tolerance in mm."""
        return self.shape == other.shape and self.corner_distance_mm(other) <= tolerance_mm

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, (self.affine + 0.0).tobytes()))  # -0.0 equals 0.0


def check_spacing(spacing_mm: Sequence[float], n_dim: int = 3) -> tuple[Any, ...]:
    """Return a spacing as a tuple of floats.

    Raises
    ------
    HyperspaceError
        If it is not ``n_dim`` positive finite numbers.
    """
    try:
        spacing = tuple(float(step) for step in spacing_mm)
    except (TypeError, ValueError):
        spacing = ()
    if len(spacing) != n_dim or not all(np.isfinite(step) and step > 0 for step in spacing):
        raise HyperspaceError(
            f"a spacing is {n_dim} positive finite numbers in mm",
            field="spacing_mm",
            found=spacing_mm,
        )
    return spacing
