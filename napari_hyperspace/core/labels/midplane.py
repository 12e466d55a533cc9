"""The mid-sagittal plane of a label map: the plane that the labels are symmetric about.

The surfaces of the structures are mirrored at a plane and compared with the surfaces of the same
labels. From the best of many planes, the plane is improved as a rigid registration is by iterated
closest points: for given pairs of points and their counterparts, the best plane is the solution of
an eigenvalue problem (Combès et al., "Automatic symmetry plane estimation of bilateral objects in
point clouds", CVPR 2008). All positions are in RAS+ mm, so that orientation, spacing and shear of
the grid play no part; mirrored points outside the field of view say nothing for or against a plane.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.volume import Volume

__all__ = ["Plane", "mid_sagittal_plane"]

_Points = NDArray[np.float64]  # (N, 3), RAS+ mm

_STEP_MM = 2.0  # of the subsampled label map whose surfaces are compared
_FEWEST = 10  # points of a surface that is compared
_FEW, _MANY, _MOST = 60, 600, 20_000  # points per structure: to begin with, to end with, to look up
_CLOSE_MM = 4.0  # distance of surfaces up to which they count as symmetric, for small voxels
_TILTS_DEG = (-24.0, -12.0, 0.0, 12.0, 24.0)  # of the first planes, about two axes
_APART_MM = 10.0  # first planes of one tilt
_MARGIN_MM = 4.0  # the first planes are this far from the best one
_IMPROVED = 6  # of the first planes
_LARGEST_TILT_DEG = 40.0
_STEPS = 60  # at most, of improving a plane
_MOVED_MM = 0.01  # of a point 70 mm from the center in a step: the plane is good enough
_RADIUS_MM = 70.0
_SYMMETRIC = 0.15  # least score of a plane of symmetry; measured, see decision 34


@dataclass(frozen=True)
class Plane:
    """A plane between left and right.

    Parameters
    ----------
    normal
        Unit vector in RAS+, towards the right.
    offset_mm
        Position of the plane along it: ``normal @ position_mm == offset_mm``.
    """

    normal: Triple
    offset_mm: float

    def mirror(self, points: _Points) -> _Points:
        """Return the mirror images of points."""
        return points - 2 * np.outer(self.distance(points), self.normal)

    def distance(self, points: _Points) -> NDArray[np.float64]:
        """Return the signed distance of points in mm, positive on the right."""
        distance: NDArray[np.float64] = points @ np.array(self.normal) - self.offset_mm
        return distance

    @property
    def tilt_deg(self) -> float:
        """Angle between the normal and the patient's right, in degrees."""
        return math.degrees(math.acos(min(1.0, self.normal[0])))


def mid_sagittal_plane(labels: Volume, ignored: Collection[int] = ()) -> Plane | None:
    """Find the mid-sagittal plane of a label map.

    Heads may be tilted by about 25° and lie anywhere, and parts of the body may be missing. Both
    sides must be in the field of view, at least near the middle.

    Parameters
    ----------
    labels
        Whole numbers, 0 for the background. Structures of both sides have one label.
    ignored
        Label values that are not compared, such as those of structures on one side.

    Returns
    -------
    Plane
        `None` if the labels are not symmetric about any plane.
    """
    symmetry = _Symmetry(labels, ignored)
    if not symmetry.surfaces:
        return None
    few, many = symmetry.sample(_FEW), symmetry.sample(_MANY)
    close = symmetry.close_mm
    first = sorted(
        symmetry.first_planes(few), key=lambda one: symmetry.score(few, one, close + _MARGIN_MM)
    )
    improved = [
        symmetry.improve(few, symmetry.improve(few, one, 3 * close), 2 * close)
        for one in first[-_IMPROVED:]
    ]
    best = max(improved, key=lambda one: symmetry.score(few, one, close))
    plane = symmetry.improve(many, best, 2 * close)
    return plane if symmetry.score(many, plane, close) >= _SYMMETRIC else None


@dataclass(frozen=True, eq=False)
class _Match:
    """Points of a surface that are mirrored at a plane.

    Parameters
    ----------
    points, counterparts
        Each point, and the point of the surface closest to its mirror image; meaningless where the
        distance is infinite.
    distances
        Between mirror image and counterpart; infinite where there is none.
    seen
        Whether the mirror image is in the field of view.
    """

    points: _Points
    counterparts: _Points
    distances: NDArray[np.float64]
    seen: NDArray[np.bool_]


class _Symmetry:
    """Compares the surfaces of a label map with their mirror images.

    Parameters
    ----------
    labels, ignored
        As in `mid_sagittal_plane`.

    Attributes
    ----------
    surfaces
        The points of each surface.
    close_mm
        Distance up to which surfaces count as symmetric. It grows with the voxels, whose centers
        the points are.
    """

    def __init__(self, labels: Volume, ignored: Collection[int]) -> None:
        strides = [max(1, int(_STEP_MM / step)) for step in labels.spacing_mm]
        steps = np.array(strides) * labels.spacing_mm
        self.surfaces = list(_surfaces(labels, strides, ignored))
        self.close_mm = _CLOSE_MM + max(0.0, float(steps.max()) - _STEP_MM) / 2
        self._to_index = np.linalg.inv(labels.affine)
        self._last = np.array(labels.shape) - 0.5
        self._trees = [cKDTree(_thinned(surface, _MOST)) for surface in self.surfaces]

    def sample(self, count: int) -> list[_Points]:
        """Return up to so many points of each surface."""
        return [_thinned(surface, count) for surface in self.surfaces]

    def first_planes(self, samples: Sequence[_Points]) -> Iterator[Plane]:
        """Return planes of several tilts at several places."""
        center = np.mean([points.mean(axis=0) for points in samples], axis=0)
        low, high = np.percentile(np.concatenate(samples)[:, 0], (2, 98))
        places = np.linspace(low, high, max(2, math.ceil((high - low) / _APART_MM)))
        for a, b in product(np.tan(np.radians(_TILTS_DEG)), repeat=2):
            normal = np.array([1.0, a, b]) / math.sqrt(1 + a * a + b * b)
            for x in places:
                yield _plane(normal, [x, *center[1:]])

    def score(self, samples: Sequence[_Points], plane: Plane, close_mm: float) -> float:
        """Return how symmetric the labels are about a plane: at most 1; 0 if nothing is known.

        A point counts 1 if its mirror image lies on the surface, 0 if it is ``close_mm`` away, less
        than 0 if it is farther away, and 0 if it is outside the field of view. Points close to the
        plane do not count: they are close to their mirror images at any plane. Every structure
        counts the same.
        """
        gained = counted = 0.0
        for match in self._matches(samples, plane, 2 * close_mm):
            counts = np.abs(plane.distance(match.points)) > close_mm
            near = np.minimum(match.distances[counts & match.seen], 1.5 * close_mm)
            gained += float(np.sum(1 - (near / close_mm) ** 2)) / len(match.points)
            counted += float(counts.mean())
        return gained / counted if counted else 0.0

    def improve(self, samples: Sequence[_Points], plane: Plane, reach_mm: float) -> Plane:
        """Move a plane to where the mirror images of points are closest to their counterparts.

        Counterparts count less the farther they are away, those beyond ``reach_mm`` not at all.
        """
        for _ in range(_STEPS):
            better = self._improved(samples, plane, reach_mm)
            if better is None or better.tilt_deg > _LARGEST_TILT_DEG:
                break
            turned = np.abs(np.subtract(better.normal, plane.normal)).max() * _RADIUS_MM
            center = np.mean([points.mean(axis=0) for points in samples], axis=0)
            moved = abs(float(better.distance(center) - plane.distance(center)))
            plane = better
            if max(turned, moved) < _MOVED_MM:
                break
        return plane

    def _improved(self, samples: Sequence[_Points], plane: Plane, reach_mm: float) -> Plane | None:
        """Return the plane that maps points to their present counterparts best."""
        points, counterparts, weights = [], [], []
        for match in self._matches(samples, plane, reach_mm):
            found = match.seen & np.isfinite(match.distances)
            points.append(match.points[found])
            counterparts.append(match.counterparts[found])
            weight = np.square(1 - np.square(match.distances[found] / reach_mm))
            weights.append(weight / len(match.points))
        one, other, weight = (np.concatenate(each) for each in (points, counterparts, weights))
        if not weight.any():
            return None
        center = weight @ (one + other) / (2 * weight.sum())
        # With p and q relative to the center, the sum of |mirror(p) - q|² is that of |p - q|² plus
        # 4 (n·p)(n·q): least for the eigenvector of the smallest eigenvalue.
        product_ = ((one - center) * weight[:, None]).T @ (other - center)
        normal = np.linalg.eigh(product_ + product_.T)[1][:, 0]
        return _plane(normal if normal[0] > 0 else -normal, center)

    def _matches(
        self, samples: Sequence[_Points], plane: Plane, reach_mm: float
    ) -> Iterator[_Match]:
        matrix, origin = self._to_index[:3, :3].T, self._to_index[:3, 3]
        for points, tree in zip(samples, self._trees, strict=True):
            mirrored = plane.mirror(points)
            index = mirrored @ matrix + origin
            seen = ((index >= -0.5) & (index <= self._last)).all(axis=1)
            distances, places = tree.query(mirrored, distance_upper_bound=reach_mm)
            counterparts = tree.data[np.minimum(places, tree.n - 1)]
            yield _Match(points, counterparts, np.asarray(distances), seen)


def _plane(normal: NDArray[np.float64], point: Any) -> Plane:
    """Return the plane through a point."""
    a, b, c = normal.tolist()
    return Plane((a, b, c), float(normal @ np.asarray(point)))


def _thinned(points: _Points, count: int) -> _Points:
    """Return up to so many of the points, evenly."""
    places = np.linspace(0, len(points) - 1, min(len(points), count)).astype(int)
    thinned: _Points = points[places]
    return thinned


def _surfaces(
    labels: Volume, strides: Sequence[int], ignored: Collection[int]
) -> Iterator[_Points]:
    """Return the voxels of each label next to another one, on a subsampled grid."""
    array = labels.array[tuple(slice(None, None, stride) for stride in strides)]
    edge = np.zeros(array.shape, bool)
    for axis in range(3):
        view, marked = np.moveaxis(array, axis, 0), np.moveaxis(edge, axis, 0)
        differ = view[1:] != view[:-1]
        marked[1:] |= differ
        marked[:-1] |= differ
    edge &= array != 0
    places, values = np.argwhere(edge) * strides, array[edge]
    for value in np.unique(values).tolist():
        found = places[values == value]
        if len(found) >= _FEWEST and value not in ignored:
            yield labels.grid.index_to_mm(found)
