"""What tells the networks of one model apart, beside their weights."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate

_LEAST = 1.01  # pooling by less changes no size that matters


@dataclass(frozen=True)
class Architecture:
    """What a model's networks for different spacings do not share, beside their weights.

    Parameters
    ----------
    kind
        Networks of one kind run the same operations, on maps whose sizes may differ.
    voxels
        Size of the voxels of each level below the first, an axis, in voxels of the input.
    taps
        Voxels of the kernel of each convolution, in the order of execution; none if they are the
        same for all spacings.
    """

    kind: Hashable
    voxels: tuple[tuple[float, ...], ...]
    taps: tuple[int, ...] = ()

    @classmethod
    def of_factors(
        cls, factors: Sequence[tuple[float, ...]], taps: tuple[int, ...] = ()
    ) -> Architecture:
        """Describe levels, each of which pools so many voxels of the level before into one.

        Which axes are pooled at all, and by whole numbers, tells kinds apart.
        """
        kinds = tuple(tuple((f > _LEAST) + (f % 1 > 0) for f in level) for level in factors)
        voxels = accumulate(factors, lambda a, b: tuple(x * y for x, y in zip(a, b, strict=True)))
        return cls(kinds, tuple(voxels), taps)
