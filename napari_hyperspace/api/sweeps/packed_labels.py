"""Label maps that are kept compressed, and what several of them have in common, slab by slab.

Label maps consist of large equal regions: compressed, one takes 1 to 4 % of its size, and never
more than its size plus a few bytes per slab. So a sweep keeps all of them in main memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import Cancelled, ShouldStop
from napari_hyperspace.core.geometry import Shape

__all__ = ["PackedLabels", "common_voxels", "stability"]

_SLAB_VOXELS = 1 << 20
_LEVEL = 1  # of zlib: higher ones take longer and save little


@dataclass(frozen=True, eq=False)
class PackedLabels:
    """A compressed label map.

    Parameters
    ----------
    shape, dtype
        Of the label map.
    slabs
        Its planes along the first axis, several in each slab, compressed by zlib.
    voxels
        Number of voxels of each label value that occurs, except the background 0.
    """

    shape: Shape
    dtype: np.dtype[Any]
    slabs: tuple[bytes, ...]
    voxels: dict[int, int]

    @classmethod
    def pack(cls, labels: NDArray[np.integer]) -> PackedLabels:
        """Compress an array (D, H, W) of unsigned integers."""
        slabs, counts = [], np.zeros(1, np.int64)
        for start, stop in _slabs(labels.shape):
            slab = np.ascontiguousarray(labels[start:stop])
            slabs.append(zlib.compress(slab.data, _LEVEL))
            found = np.bincount(slab[slab != 0], minlength=len(counts))
            found[: len(counts)] += counts
            counts = found
        a, b, c = labels.shape
        voxels = {int(value): int(counts[value]) for value in np.flatnonzero(counts)}
        return cls((a, b, c), labels.dtype, tuple(slabs), voxels)

    @property
    def n_bytes(self) -> int:
        """Size in memory."""
        return sum(len(slab) for slab in self.slabs)

    @cached_property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First plane of each slab, and the one after its last."""
        return tuple(_slabs(self.shape))

    def slab(self, index: int) -> NDArray[np.integer]:
        """Return the planes of a slab, read-only."""
        start, stop = self.ranges[index]
        flat = np.frombuffer(zlib.decompress(self.slabs[index]), self.dtype)
        return flat.reshape(stop - start, *self.shape[1:])

    def unpack(self) -> NDArray[np.integer]:
        """Return the label map."""
        labels = np.empty(self.shape, self.dtype)
        for i, (start, stop) in enumerate(self.ranges):
            labels[start:stop] = self.slab(i)
        return labels


def _slabs(shape: Sequence[int]) -> Iterator[tuple[int, int]]:
    planes = max(1, _SLAB_VOXELS // (shape[1] * shape[2]))
    for start in range(0, shape[0], planes):
        yield start, min(start + planes, shape[0])


def common_voxels(
    one: PackedLabels, other: PackedLabels, should_stop: ShouldStop = lambda: False
) -> dict[int, int]:
    """Return the number of voxels that have the same label in both, per label but the background.

    Parameters
    ----------
    one, other
        Of the same shape.
    should_stop
        Called between slabs.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    """
    counts: dict[int, int] = {}
    for i in range(len(one.slabs)):
        if should_stop():
            raise Cancelled
        labels, others = one.slab(i), other.slab(i)
        found = np.bincount(labels[(labels == others) & (labels != 0)])
        for value in np.flatnonzero(found).tolist():
            counts[value] = counts.get(value, 0) + int(found[value])
    return counts


def stability(
    maps: Sequence[PackedLabels], should_stop: ShouldStop = lambda: False
) -> NDArray[np.float32]:
    """Return the largest share of the label maps that agree on the label of each voxel.

    Every label map counts the same; the background is a label like others. The share is 1 where
    all agree, and never less than 1 over their number. Which label has the largest share plays no
    part, so ties need no rule.

    The result takes 4 bytes per voxel. Besides it, one slab of each label map is in memory: at most
    about 3 MB per label map, whatever the size of the scan (unless a plane has more than 10⁶ voxels
    or labels take two bytes).

    Parameters
    ----------
    maps
        At least one, all of the same shape.
    should_stop
        Called between slabs.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    """
    share = np.ones(maps[0].shape, np.float32)
    for i, (start, stop) in enumerate(maps[0].ranges):
        if should_stop():
            raise Cancelled
        slabs = [each.slab(i) for each in maps]
        differ = np.zeros(slabs[0].shape, bool)
        for slab in slabs[1:]:
            differ |= slab != slabs[0]
        places = np.flatnonzero(differ)
        if not places.size:
            continue
        votes = np.stack([slab.reshape(-1)[places] for slab in slabs])  # (maps, voxels)
        # Each label is counted where it occurs first: the votes that equal it, over all maps.
        most = np.ones(places.size, np.uint32)
        for vote in votes[:-1]:
            np.maximum(most, np.sum(votes == vote, axis=0, dtype=np.uint32), out=most)
        share[start:stop].reshape(-1)[places] = most / np.float32(len(maps))
    return share
