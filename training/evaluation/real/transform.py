"""Affine transforms in ITK's text format, and label maps brought through them."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import read_text
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume

UNKNOWN = -1
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_LINEAR = ("AffineTransform_double_3_3", "MatrixOffsetTransformBase_double_3_3")


def read_affine(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read an affine transform of ITK as a 4×4 matrix between RAS+ points in mm.

    A point p (LPS+) is mapped to M (p - c) + c + t: M and t are the parameters, c the fixed ones.
    SimpleITK does not read the second of the two names under which ITK writes it.

    Raises
    ------
    HyperspaceError
        If the file is not one affine transform with an inverse.
    """
    fields: dict[str, str] = {}
    try:
        for line in read_text(path).splitlines():
            key, colon, value = line.partition(":")
            if colon and not line.startswith("#"):
                if key in fields:
                    raise ValueError("more than one transform")
                fields[key] = value.strip()
        if fields["Transform"] not in _LINEAR:
            raise ValueError(fields["Transform"])
        numbers = np.array([float(each) for each in fields["Parameters"].split()])
        center = np.array([float(each) for each in fields["FixedParameters"].split()])
        linear, offset = numbers[:9].reshape(3, 3), numbers[9:]
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = linear, offset + center - linear @ center
        if not np.isfinite(matrix).all() or abs(np.linalg.det(linear)) < 1e-6:
            raise ValueError("no inverse")
    except OSError as error:
        raise HyperspaceError(
            "the transform cannot be read", where=path, found=error.strerror or str(error)
        ) from error
    except (KeyError, ValueError) as error:
        raise HyperspaceError(
            "not an affine transform of ITK", where=path, found=error, expected=" or ".join(_LINEAR)
        ) from error
    return _LPS @ matrix @ _LPS


def bring_labels(labels: Volume, grid: Grid, to_labels: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return the label at each voxel of another grid.

    Parameters
    ----------
    labels
        A label map with values up to 254.
    grid
        Grid to bring it to.
    to_labels
        4×4, from points of the grid's space to those of the label map's, RAS+ mm.

    Returns
    -------
    array
        Of the grid's shape: the nearest voxel's label; `UNKNOWN` outside of the label map.
    """
    seen_from_there = Grid(grid.shape, to_labels @ grid.affine)
    outside = np.iinfo(np.uint8).max
    values = labels.with_array(labels.array.astype(np.uint8))
    brought = resample_to_grid(values, seen_from_there, order="nearest", fill=outside).array
    found = brought.astype(np.int16)
    found[brought == outside] = UNKNOWN
    return found
