"""Blend the logits of tiles into planes, with memory for one row of tiles only."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_hyperspace.inference.tiles import Tile, TileLayout


class RollingSlab:
    """Weighted sums of logits for the planes that are not finished yet.

    Parameters
    ----------
    tiles
        Layout of the tiles; they are added in its order.
    channels
        Number of classes.
    device
        Where to keep the sums.
    """

    def __init__(self, tiles: TileLayout, channels: int, device: torch.device) -> None:
        self._device = device
        self._single = len(tiles) == 1
        self._only: Tensor | None = None  # logits of a single tile, which need no blending
        self._first = 0  # index of the slab's first plane in the volume
        depth, height, width = tiles.tile_shape[0], *tiles.shape[1:]
        self._sums = torch.zeros(
            (0 if self._single else depth, channels, height, width), device=device
        )

    @torch.inference_mode()
    def add(self, logits: Tensor, tile: Tile) -> None:
        """Add a tile's logits (K, D, H, W)."""
        if self._single:
            self._only = logits.to(self._device)
            return
        z, y, x = tile.slices
        sums = self._sums[z.start - self._first : z.stop - self._first, :, y, x]
        weight = tile.weight().to(self._device)[:, None]
        sums.addcmul_(logits.to(self._device, torch.float32).movedim(0, 1), weight)

    def finish(self, end: int) -> Iterator[Tensor]:
        """Yield the planes (K, H, W) before index ``end`` that were not yielded yet, and drop them.

        Use each plane before requesting the next one: its memory is reused.
        """
        if self._only is not None:
            yield from self._only.unbind(1)
            self._only = None
            return
        count = end - self._first
        yield from self._sums[:count]
        self._roll(count)
        self._first = end

    @torch.inference_mode()
    def _roll(self, count: int) -> None:
        """Move the remaining planes to the front, one by one: source and target may overlap."""
        depth = self._sums.shape[0]
        for index in range(depth - count):
            self._sums[index].copy_(self._sums[index + count])
        self._sums[depth - count :] = 0
