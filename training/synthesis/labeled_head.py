"""A label map with the channels of a model: the source of synthetic pairs."""

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
    """A label map with the channels of a model.

    Parameters
    ----------
    head
        The map.
    targets
        (classes,) int16, output channel of the network for each generation class.
    """

    head: Head
    targets: Tensor

    @property
    def name(self) -> str:
        """Name of the map in splits and logs."""
        return self.head.name

    @property
    def grid(self) -> Grid:
        """Grid of the map in canonical order, cropped to the head."""
        return self.head.grid

    def parts(self) -> Iterator[bytes]:
        """Return the data that identifies this source: the map and its channels."""
        yield from self.head.parts()
        yield self.targets.numpy().tobytes()

    def sample(
        self,
        rng: np.random.Generator,
        config: SynthesisSection,
        spacing_mm: Sequence[float],
        shape: Sequence[int],
        margin: Sequence[int] = (0, 0, 0),
    ) -> tuple[Tensor, Tensor]:
        """Return a random pair: image (1, *shape) float32, labels (*shape + 2 margin) int16.

        Parameters
        ----------
        rng
            Random generator of this sample.
        config
            Ranges of the random parameters.
        spacing_mm, shape
            Working spacing in mm and shape (z, y, x).
        margin
            Voxels on each side by which the labels exceed the image.
        """
        parameters = sample_pair(rng, config, self.head, spacing_mm, shape)
        return render(self.head, parameters, self.targets, margin=margin)
