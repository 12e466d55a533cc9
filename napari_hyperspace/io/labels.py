"""Checks of label maps and of an image with its labels, for every case of a training."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.volume import Volume

_SAME_GRID_MM = 1e-3
_MOST_LISTED = 20


def check_labels(volume: Volume, known_values: Collection[int] | None = None) -> Volume:
    """Return a label map in the smallest unsigned integer type.

    Parameters
    ----------
    volume
        Label ids of any numeric type: files with intensity scaling are read as floats.
    known_values
        Ids that may occur, besides 0 for the background; `None`: any that is not negative.

    Returns
    -------
    Volume
        The same grid, name and metadata; uint8, uint16, uint32 or uint64.

    Raises
    ------
    HyperspaceError
        If ids are fractional, negative or unknown, with the number of voxels of each.

    Warns
    -----
    HyperspaceWarning
        If all voxels are background.
    """
    where = volume.metadata.get("path") or volume.name
    values, counts = np.unique(volume.array, return_counts=True)
    fractional = ~np.isfinite(values) | (values != np.round(values))
    if fractional.any():
        raise HyperspaceError(
            "label ids must be whole numbers",
            where=where,
            field="label ids",
            found=_listed(values[fractional], counts[fractional]),
            fix="The label map was interpolated, or is an image: use the original label map",
        )
    ids = np.array([int(value) for value in values.tolist()], dtype=object)
    allowed = None if known_values is None else {0, *known_values}
    bad = np.array([i < 0 or (allowed is not None and i not in allowed) for i in ids], dtype=bool)
    if bad.any():
        raise HyperspaceError(
            "the label map has unknown or negative ids",
            where=where,
            field="label ids",
            found=_listed(ids[bad], counts[bad]),
            expected=None if allowed is None else ", ".join(map(str, sorted(allowed))),
        )
    if not any(ids):
        warnings.warn(f"{where}: the label map is all background", HyperspaceWarning, stacklevel=2)
    dtype = np.min_scalar_type(max(ids))
    return volume.with_array(volume.array.astype(dtype, copy=False))


def _listed(values: NDArray[Any], counts: NDArray[np.int64]) -> str:
    parts = [f"{v} ({n} voxels)" for v, n in zip(values, counts, strict=True)]
    more = f" and {len(parts) - _MOST_LISTED} more" if len(parts) > _MOST_LISTED else ""
    return ", ".join(parts[:_MOST_LISTED]) + more


def check_pair(image: Volume, labels: Volume, tolerance_mm: float = _SAME_GRID_MM) -> None:
    """Raise an error if an image and a label map are not on the same grid.

    Raises
    ------
    HyperspaceError
        If their shapes differ or their corners are more than ``tolerance_mm`` apart.
    """
    where = labels.metadata.get("path") or labels.name
    other = image.metadata.get("path") or image.name or "the image"
    if image.shape != labels.shape:
        raise HyperspaceError(
            f"the labels are not on the grid of {other}",
            where=where,
            field="shape",
            found=labels.shape,
            expected=image.shape,
        )
    distance = image.grid.corner_distance_mm(labels.grid)
    if not distance <= tolerance_mm:
        raise HyperspaceError(
            f"the labels are not on the grid of {other}",
            where=where,
            field="affine",
            found=f"corners up to {distance:.4g} mm apart",
            expected=f"at most {tolerance_mm:g} mm",
            fix="Resample the labels to the image's grid (nearest neighbor)",
        )
