"""Blending the tiles' logits into planes, with memory for one row of tiles only."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from napari_hyperspace.inference.tiles import Tile, TileLayout


class RollingSlab:
    """Weighted sums of logits for the planes that tiles still add to.

    Parameters
    ----------
    tiles
        The tiles, which must come in its order.
    channels
        Classes of the logits.
    device
        Where to keep the sums.
    """

    def __init__(self, tiles: TileLayout, channels: int, device: torch.device) -> None:
        self._device = device
        self._whole: Tensor | None = None
        self._single = len(tiles) == 1
        self._first = 0  # index of the slab's first plane in the volume
        depth, height, width = tiles.tile_shape[0], *tiles.shape[1:]
        self._sums = torch.zeros(
            (0 if self._single else depth, channels, height, width), device=device
        )

    @torch.inference_mode()
    def add(self, logits: Tensor, tile: Tile) -> None:
        """Add a tile's logits (K, D, H, W)."""
        if self._single:
            self._whole = logits.to(self._device)
            return
        z, y, x = tile.slices
        sums = self._sums[z.start - self._first : z.stop - self._first, :, y, x]
        weight = tile.weight().to(self._device)[:, None]
        sums.addcmul_(logits.to(self._device, torch.float32).movedim(0, 1), weight)

    def finish(self, end: int) -> Iterator[Tensor]:
        """Yield the planes (K, H, W) before index ``end`` that were not yielded yet, and drop them.

        Each must be used before the next is asked for.
        """
        if self._whole is not None:
            yield from self._whole.unbind(1)
            self._whole = None
            return
        count = end - self._first
        yield from self._sums[:count]
        self._roll(count)
        self._first = end

    @torch.inference_mode()
    def _roll(self, count: int) -> None:
        """Move the remaining planes to the front, one by one: they overlap their new places."""
        depth = self._sums.shape[0]
        for place in range(depth - count):
            self._sums[place].copy_(self._sums[place + count])
        self._sums[depth - count :] = 0
