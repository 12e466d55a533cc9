"""A box of a scan: normalized with the whole scan, segmented with its surroundings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.inference.localize import Box, crop_grid, paste
from napari_hyperspace.inference.normalized import NormalizedModel
from napari_hyperspace.inference.protocols import SpacingModel

__all__ = ["CONTEXT_MM", "ScanBlock", "seen_box"]

CONTEXT_MM = 16.0
"""What the network sees on each side of the box; it is cut off afterwards."""


def seen_box(box: Box, grid: Grid) -> Box:
    """Return a box of a grid, in array order, with its surroundings inside the grid."""
    ends = []
    for each, n, step in zip(box, grid.shape, grid.spacing_mm, strict=True):
        margin = math.ceil(CONTEXT_MM / step)
        ends.append(slice(max(0, each.start - margin), min(n, each.stop + margin)))
    a, b, c = ends
    return a, b, c


@dataclass(frozen=True, eq=False)
class ScanBlock:
    """A box of a scan with its surroundings, normalized.

    Parameters
    ----------
    images
        One per input channel.
    model
        For images that are normalized already.
    box
        In the scan.
    kept
        The box in the block.
    """

    images: tuple[Volume, ...]
    model: NormalizedModel
    box: Box
    kept: Box

    @classmethod
    def of(
        cls, volumes: Sequence[Volume], model: SpacingModel, box: Box, seen: Box | None = None
    ) -> ScanBlock:
        """Normalize scans, one per input channel, and keep their block; by default `seen_box`."""
        seen, images = seen or seen_box(box, volumes[0].grid), []
        for volume in volumes:
            values = np.ascontiguousarray(model.normalization.apply(volume.array)[seen])
            images.append(Volume(values, crop_grid(volume.grid, seen), volume.name))
        a, b, c = (
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(box, seen, strict=True)
        )
        return cls(tuple(images), NormalizedModel(model), box, (a, b, c))

    def paste(self, labels: Volume, native: Volume) -> Volume:
        """Return labels of the block as labels of the scan: 0 outside the box."""
        metadata = {
            key: value
            for key, value in {**native.metadata, **labels.metadata}.items()
            if key != "record"  # of the block alone, and of intensities normalized before
        }
        array = paste(labels.array[self.kept], self.box, native.shape)
        return native.with_array(array, metadata=cast(VolumeMetadata, metadata))
