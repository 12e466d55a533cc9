"""Intensity normalization of a network's input."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning

__all__ = ["Kind", "Normalization"]

_BLOCK = 1 << 18  # number of values summed at once

Kind = Literal["z-score", "percentile", "window", "none"]


@dataclass(frozen=True)
class Normalization:
    """How the values of a scan are scaled to the range that a model was trained on.

    Applied once to everything that is segmented, on the native grid, so that it depends on neither
    the working spacing nor the tiles. That is the whole scan, or, for a model with localization,
    the box that its first pass found.

    Parameters
    ----------
    kind
        ``"z-score"``: mean 0, standard deviation 1. ``"percentile"``: the ``lower`` and ``upper``
        percentiles to 0 and 1, clipped beyond them. ``"window"``: the values ``lower`` and
        ``upper`` (Hounsfield units, say) to 0 and 1, clipped. ``"none"``: values as they are.
    lower, upper
        Percentiles or values, as ``kind`` says; unused by the other two.
    """

    kind: Kind = "z-score"
    lower: float = 0.5
    upper: float = 99.5

    def __post_init__(self) -> None:
        if self.kind in ("percentile", "window") and not self.lower < self.upper:
            raise HyperspaceError(
                "the lower bound of a normalization must be below the upper one",
                field="normalization",
                found=(self.lower, self.upper),
            )
        if self.kind == "percentile" and not (self.lower >= 0 and self.upper <= 100):
            raise HyperspaceError(
                "percentiles must be between 0 and 100",
                field="normalization",
                found=(self.lower, self.upper),
            )

    def apply(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """Normalize an array; a constant one becomes zeros, with a warning.

        Raises
        ------
        HyperspaceError
            If the array has values that are not finite.
        """
        values = np.asarray(array, dtype=np.float32)
        if self.kind == "none":
            return values
        lower, upper = self._bounds(values)
        if not np.isfinite((lower, upper)).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise HyperspaceError(
                "the image has values that are not finite",
                found=f"{bad} of {values.size} voxels",
                fix="Read it with a fill value for them",
            )
        if upper <= lower:
            warnings.warn("the image is constant", HyperspaceWarning, stacklevel=2)
            return np.zeros_like(values)
        scaled: NDArray[np.float32] = values - np.float32(lower)
        scaled *= np.float32(1 / (upper - lower))
        return scaled if self.kind == "z-score" else np.clip(scaled, 0, 1, out=scaled)

    def _bounds(self, values: NDArray[np.float32]) -> tuple[float, float]:
        """Return the two values that become 0 and 1."""
        if self.kind == "z-score":
            # Block by block: a float64 copy of the array would take twice its memory.
            flat = values.ravel(order="K")
            blocks = [flat[at : at + _BLOCK] for at in range(0, flat.size, _BLOCK)]
            mean = sum(float(block.sum(dtype=np.float64)) for block in blocks) / flat.size
            spread = sum(_squares(block.astype(np.float64) - mean) for block in blocks)
            return mean, mean + float(np.sqrt(spread / flat.size))
        if self.kind == "percentile":
            lower, upper = np.percentile(values, (self.lower, self.upper))
            return float(lower), float(upper)
        return self.lower, self.upper


def _squares(values: NDArray[np.float64]) -> float:
    # Not a dot product: the threads of BLAS keep spinning and slow down those of torch.
    return float(np.square(values, out=values).sum())
