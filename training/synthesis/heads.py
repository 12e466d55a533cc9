"""Label maps of whole heads for the synthesis: cropped, and upsampled by 2 with smooth borders.

The upsampled map is computed once and stored in a cache folder; all processes map that file into
memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_hyperspace.core.files import replacing
from napari_hyperspace.core.geometry import Grid, Shape, Triple
from napari_hyperspace.core.store import cache_folder
from napari_hyperspace.core.volume import Volume
from training.synthesis.tissues import BRAIN, IDS, INSIDE

MAX_DEPTH = 8
_VERSION = b"1"  # of the cached arrays
_BLOCK = 32  # voxels per axis that are upsampled at once
_HALO = 2
_SMOOTHING = (0.1, 0.8, 0.1)


@dataclass(frozen=True, eq=False)
class Head:
    """One label map in canonical order (z, y, x), cropped to the head.

    Parameters
    ----------
    name
        Name of the map.
    classes
        (D, H, W) uint8 generation classes (`training.synthesis.tissues`), with a border of one
        voxel of air.
    grid
        Grid of `classes`.
    """

    name: str
    classes: Tensor
    grid: Grid

    @classmethod
    def from_volume(cls, name: str, labels: Volume) -> Head:
        """Convert a label map whose ids were checked."""
        turned = labels.canonical()
        classes = np.searchsorted(IDS, turned.array).astype(np.uint8)
        spans = []
        for axis in range(3):
            others = tuple({0, 1, 2} - {axis})
            shown = np.flatnonzero(classes.any(axis=others))
            spans.append((int(shown[0]), int(shown[-1]) + 1) if shown.size else (0, 1))
        # A border of one voxel of air: positions outside of the map are clamped to it.
        start = [low - 1 for low, _ in spans]
        box = classes[tuple(slice(low, high) for low, high in spans)]
        padded = np.pad(box, 1)
        return cls(name, torch.from_numpy(padded), turned.grid.crop(start, padded.shape))

    @property
    def spacing_mm(self) -> Triple:
        """Spacing of the map in mm."""
        return self.grid.spacing_mm

    @property
    def shape(self) -> Shape:
        """Shape of the map, including its border."""
        return self.grid.shape

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """Number of voxels of each generation class; 0 for air."""
        found = torch.bincount(self.classes.flatten().int(), minlength=len(IDS)).double().numpy()
        found[0] = 0
        return np.asarray(found)

    @cached_property
    def brain_box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """First and last index of the brain along each axis; of the head if there is no brain."""
        brain = torch.tensor(BRAIN)[self.classes.int()]
        where = torch.nonzero(brain if brain.any() else self.classes > 0)
        if not len(where):
            return np.zeros(3), np.array(self.shape, float) - 1
        low, high = where.amin(dim=0), where.amax(dim=0)
        return low.double().numpy(), high.double().numpy()

    @cached_property
    def fine(self) -> Tensor:
        """(2D, 2H, 2W) uint8: the classes at half the spacing, with smooth borders."""
        return self._cached("fine", lambda: upsample(self.classes))

    @cached_property
    def depth(self) -> Tensor:
        """(D, H, W) int8: approximate signed distance in voxels from the inside of the skull."""
        return self._cached("depth", lambda: depth(torch.tensor(INSIDE)[self.classes.int()]))

    def prepare(self) -> Head:
        """Compute or load what sampling needs, before processes are forked."""
        _ = self.fine, self.depth, self.counts, self.brain_box
        return self

    def _cached(self, kind: str, compute: Callable[[], Tensor]) -> Tensor:
        key = hashlib.blake2b(_VERSION, digest_size=16)
        key.update(repr(tuple(self.shape)).encode())
        key.update(self.classes.numpy().tobytes())
        path = cache_folder() / "label-maps" / f"{key.hexdigest()}-{kind}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                np.save(temporary, compute().numpy())
        return torch.from_numpy(np.load(path, mmap_mode="c"))

    def parts(self) -> Iterator[bytes]:
        """Return the data that identifies this map."""
        yield self.name.encode()
        yield self.grid.affine.tobytes()
        yield self.classes.numpy().tobytes()


def depth(region: Tensor) -> Tensor:
    """Return the approximate signed distance from the surface of a region, clipped.

    Parameters
    ----------
    region
        (D, H, W) bool.

    Returns
    -------
    Tensor
        (D, H, W) int8, in voxels: 1, 2, … outside, -1, -2, … inside, up to `MAX_DEPTH`.
    """
    steps = torch.zeros(region.shape, dtype=torch.int8)
    for sign, start in ((1, region), (-1, ~region)):
        grown = start[None, None].float()
        for step in range(MAX_DEPTH):
            steps += (sign * (1 - grown[0, 0])).to(torch.int8)
            grown = _dilate(grown, cross=step % 2 == 0)
    return steps


def _dilate(region: Tensor, *, cross: bool) -> Tensor:
    """Dilate a region (1, 1, D, H, W) of 0 and 1 by one voxel, with a cross or a cube."""
    kernels = ((3, 1, 1), (1, 3, 1), (1, 1, 3))
    grown = region
    for kernel in kernels:
        pooled = F.max_pool3d(
            region if cross else grown, kernel, 1, tuple(size // 2 for size in kernel)
        )
        grown = torch.maximum(grown, pooled)
    return grown


def upsample(classes: Tensor) -> Tensor:
    """Upsample a map of classes by 2, with smooth borders.

    Each new voxel gets the class with the largest indicator after slight smoothing and linear
    interpolation.

    Parameters
    ----------
    classes
        (D, H, W) uint8.

    Returns
    -------
    Tensor
        (2D, 2H, 2W) uint8.
    """
    fine = torch.empty([2 * n for n in classes.shape], dtype=torch.uint8)
    padded = F.pad(classes[None, None].float(), (_HALO,) * 6, mode="replicate")[0, 0]
    padded = padded.to(torch.uint8)
    matrix = _doubling(_BLOCK)
    sizes = classes.shape
    starts = [range(0, n, _BLOCK) for n in sizes]
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                block = padded[
                    z : z + _BLOCK + 2 * _HALO,
                    y : y + _BLOCK + 2 * _HALO,
                    x : x + _BLOCK + 2 * _HALO,
                ]
                best = _upsampled_block(block, matrix)
                fine[
                    2 * z : 2 * (z + _BLOCK), 2 * y : 2 * (y + _BLOCK), 2 * x : 2 * (x + _BLOCK)
                ] = best
    return fine


def _upsampled_block(block: Tensor, matrix: Tensor) -> Tensor:
    """Upsample a block, given with a halo."""
    present = torch.unique(block)
    shape = [2 * (n - 2 * _HALO) for n in block.shape]
    winner = torch.full(shape, int(present[0]), dtype=torch.uint8)
    if len(present) == 1:
        return winner
    best = torch.zeros(shape)
    a, b, c = (matrix[:n, : n // 2 + 2 * _HALO] for n in shape)
    for value in present:
        share = (block == value).float() @ c.T
        share = b @ share
        share = (a @ share.flatten(1)).view(shape)
        larger = share > best
        winner[larger] = value
        torch.maximum(best, share, out=best)
    return winner


def _doubling(n: int) -> Tensor:
    """Return the (2n, n + 2·halo) matrix that smooths, and interpolates at ±1/4 of a voxel."""
    matrix = torch.zeros(2 * n, n + 2 * _HALO)
    smoothing = torch.tensor(_SMOOTHING)
    for i in range(n):
        middle = i + _HALO
        for half, other in ((0, -1), (1, 1)):
            for voxel, weight in ((middle, 0.75), (middle + other, 0.25)):
                matrix[2 * i + half, voxel - 1 : voxel + 2] += weight * smoothing
    return matrix
