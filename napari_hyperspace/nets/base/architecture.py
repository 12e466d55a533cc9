"""What differs, beside the weights, between the networks that one model makes for each spacing."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate

_MIN_FACTOR = 1.01  # pooling by less changes the sizes of maps too little to matter


@dataclass(frozen=True)
class Architecture:
    """The part of a network's architecture that depends on the spacing.

    Parameters
    ----------
    kind
        Networks of one kind run the same operations; the sizes of their maps may differ.
    voxels
        Voxel size of each level below the first, per axis, in voxels of the input.
    taps
        Number of kernel voxels of each convolution, in the order of execution; empty if it does not
        depend on the spacing.
    """

    kind: Hashable
    voxels: tuple[tuple[float, ...], ...]
    taps: tuple[int, ...] = ()

    @classmethod
    def of_factors(
        cls, factors: Sequence[tuple[float, ...]], taps: tuple[int, ...] = ()
    ) -> Architecture:
        """Describe the levels by their pooling factors, per level and axis.

        The kind says for each axis whether it is pooled at all, and whether by a whole number.
        """
        kinds = tuple(tuple((f > _MIN_FACTOR) + (f % 1 > 0) for f in level) for level in factors)
        voxels = accumulate(factors, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)))
        return cls(kinds, tuple(voxels), taps)
