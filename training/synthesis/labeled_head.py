"""A head and what the model calls its parts: what pairs are made from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from napari_hyperspace.core.geometry import Grid
from training.config.synthesis import SynthesisSection
from training.synthesis.heads import Head
from training.synthesis.render import render
from training.synthesis.sample import sample_pair


@dataclass(frozen=True, eq=False)
class LabeledHead:
    """A label map with the model's channels.

    Parameters
    ----------
    head
        The map.
    targets
        (classes,) int16, output channel of the network of each generation class.
    """

    head: Head
    targets: Tensor

    @property
    def name(self) -> str:
        """What splits and logs call it."""
        return self.head.name

    @property
    def grid(self) -> Grid:
        """Grid of the map in canonical order, cropped to the head."""
        return self.head.grid

    def parts(self) -> Iterator[bytes]:
        """Return what makes it differ from others: the map, and what its parts are called."""
        yield from self.head.parts()
        yield self.targets.numpy().tobytes()

    def sample(
        self,
        rng: np.random.Generator,
        config: SynthesisSection,
        spacing_mm: Sequence[float],
        shape: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        """Make a pair: image (1, *shape) float32 and labels (*shape) int16.

        Parameters
        ----------
        rng
            The generator of this sample.
        config
            What may happen.
        spacing_mm, shape
            Working spacing and shape (z, y, x).
        """
        draw = sample_pair(rng, config, self.head, spacing_mm, shape)
        return render(self.head, draw, self.targets)
