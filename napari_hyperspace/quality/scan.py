"""What can be said about a scan before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.base.quality import ScanRanges
from napari_hyperspace.quality.remarks import Remark

__all__ = ["is_like_ct", "scan_remarks"]

_SAMPLE = 500_000  # voxels that are looked at
_BLOCK = 96  # edge in voxels of the block in which neighbors are compared
_FEW_VALUES = 32  # images have more, label maps usually fewer
_ALIKE = 0.3  # correlation of neighboring voxels; real scans have more than 0.7
_SAME = 0.999  # share of the voxels that may have the same value
_AXES = ("from top to bottom", "from front to back", "from left to right")


def scan_remarks(volumes: Sequence[Volume], ranges: ScanRanges | None) -> list[Remark]:
    """Return what is wrong with a scan, as far as it can be known without a network.

    Parameters
    ----------
    volumes
        The images of a scan, on one grid.
    ranges
        What the model's card expects; `None`: nothing is known.
    """
    remarks = []
    for number, volume in enumerate(volumes, start=1):
        what = "the scan" if len(volumes) == 1 else f"image {number} of the scan"
        remarks += _value_remarks(volume, what)
    if ranges is None or not volumes:
        return remarks
    if not remarks and ranges.like_ct is not None:
        remarks += _modality_remarks(volumes[0], ranges.like_ct)
    extents = volumes[0].grid.canonical().field_of_view_mm
    for extent, limits, axis in zip(
        extents, ranges.field_of_view_mm or (), _AXES, strict=ranges.field_of_view_mm is not None
    ):
        low, high = limits
        if not low <= extent <= high:
            far = extent > 2 * high or extent < low / 2
            remarks.append(
                Remark(
                    f"the scan is {extent:.0f} mm long {axis}: expected {low:.0f}–{high:.0f} mm",
                    "implausible" if far else "doubtful",
                )
            )
    return remarks


def is_like_ct(volume: Volume) -> bool:
    """Return whether intensities look like Hounsfield units: air near -1000, tissue near 0."""
    sample = _sample(volume.array)
    if not sample.size or sample.min() > -900:
        return False
    air = float((sample < -850).mean())
    tissue = float(((sample > -200) & (sample < 300)).mean())
    return air > 0.02 and tissue > 0.02 and float(sample.max()) > 100


def _value_remarks(volume: Volume, what: str) -> list[Remark]:
    sample = _sample(volume.array)
    if not sample.size:
        return [Remark(f"{what} has no finite value", "implausible")]
    if volume.array.min() == volume.array.max():
        value = f"{float(sample[0]):g}"
        return [Remark(f"all voxels of {what} have the same value, {value}", "implausible")]
    values, counts = np.unique(sample, return_counts=True)
    if volume.metadata.get("is_labels") or (
        len(values) <= _FEW_VALUES and bool((values == np.round(values)).all())
    ):
        text = f"{what} has {len(values)} different values: labels, or a mask, and no image?"
        return [Remark(text, "implausible")]
    share = float(counts.max() / len(sample))
    if share > _SAME:
        text = f"{100 * share:.1f} % of the voxels of {what} have the same value"
        return [Remark(text, "doubtful")]
    if _likeness(volume.array) < _ALIKE:
        text = f"neighboring voxels of {what} have nothing in common, as in noise"
        return [Remark(text, "implausible")]
    return []


def _modality_remarks(volume: Volume, expected: bool) -> list[Remark]:
    found = is_like_ct(volume)
    if found == expected:
        return []
    text = (
        "the intensities look like those of a CT, about -1000 in air: the model is not made for CT"
        if found
        else "the intensities do not look like those of a CT, about -1000 in air: the model is "
        "made for CT"
    )
    return [Remark(text, "implausible")]


def _sample(array: NDArray[Any]) -> NDArray[Any]:
    """Return the finite values of a regular sample of the voxels."""
    stride = max(1, math.ceil((array.size / _SAMPLE) ** (1 / 3)))
    sample: NDArray[Any] = array[::stride, ::stride, ::stride].ravel()
    finite: NDArray[Any] = sample[np.isfinite(sample)]
    return finite


def _likeness(array: NDArray[Any]) -> float:
    """Return the largest correlation, over the axes, of voxels with their neighbors.

    In the middle of the scan; 1 if nothing varies there.
    """
    middle = []
    for size in array.shape:
        start = max(0, (size - _BLOCK) // 2)
        middle.append(slice(start, start + _BLOCK))
    block = np.nan_to_num(array[tuple(middle)].astype(np.float64))
    found = []
    for axis in range(3):
        size = block.shape[axis]
        if size < 2:
            continue
        first = block.take(range(size - 1), axis).ravel()
        second = block.take(range(1, size), axis).ravel()
        spread = float(first.std() * second.std())
        if spread == 0:
            return 1.0
        covariance = float(((first - first.mean()) * (second - second.mean())).mean())
        found.append(covariance / spread)
    return max(found, default=1.0)
