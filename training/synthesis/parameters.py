"""What chance decides about a synthetic pair, as plain data; see `chance` for how it does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from napari_hyperspace.core.geometry import Shape, Triple
from training.synthesis.appearance import Appearance

Matrix = tuple[Triple, Triple, Triple]


@dataclass(frozen=True)
class HeadGeometry:
    """Where the sample lies in the head, and how the head is bent.

    Parameters
    ----------
    center_mm
        Position of the sample's center, from the center of the map's first voxel.
    flip
        Whether left and right are mirrored.
    matrix
        mm of the sample → mm of the head, both from the center.
    elastic_mm
        Standard deviation of the displacement at its control points.
    elastic_points
        Number of control points an axis, spread over the fine grid.
    elastic_seed
        Seed of the displacement.
    """

    center_mm: Triple
    flip: bool = False
    matrix: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    elastic_mm: float = 0.0
    elastic_points: Shape = (2, 2, 2)
    elastic_seed: int = 0


@dataclass(frozen=True)
class Acquisition:
    """How the scanner saw it.

    Parameters
    ----------
    spacing_mm
        Spacing of the scan; where it exceeds the working spacing, the scan is interpolated.
    profile
        Slice profile of each axis: ``"box"``, ``"gauss"`` or ``"triangle"``.
    width_mm
        Its full width at half maximum; 0: a point.
    parts
        How many points an axis each voxel of the scan is painted in before they are averaged.
    cubic
        Whether a coarser scan is interpolated by cubic instead of linear kernels.
    """

    spacing_mm: Triple
    profile: tuple[str, str, str] = ("box", "box", "box")
    width_mm: Triple = (0.0, 0.0, 0.0)
    parts: Shape = (1, 1, 1)
    cubic: bool = False


@dataclass(frozen=True)
class Stripping:
    """What is left of the head.

    Parameters
    ----------
    margin
        How far outside of the skull's inside something is left, in voxels of the map.
    wobble
        Standard deviation of that margin.
    wobble_seed
        Seed of its smooth field.
    keep_csf
        Whether the fluid around the brain is left.
    """

    margin: float
    wobble: float = 0.0
    wobble_seed: int = 0
    keep_csf: bool = True


@dataclass(frozen=True)
class Corruption:
    """What happens to the intensities of the scan.

    Parameters
    ----------
    bias
        Standard deviation of the logarithm of the bias field at its control points.
    bias_points
        Number of control points an axis.
    bias_seed
        Seed of the field.
    gamma
        Exponent.
    noise
        Standard deviation of the noise of either part of the signal.
    rician
        Whether the magnitude of the noisy complex signal is taken.
    noise_seed
        Seed of noise and texture.
    """

    bias: float = 0.0
    bias_points: Shape = (2, 2, 2)
    bias_seed: int = 0
    gamma: float = 1.0
    noise: float = 0.0
    rician: bool = False
    noise_seed: int = 0


@dataclass(frozen=True)
class PairParameters:
    """Everything that chance decides about one synthetic pair.

    Parameters
    ----------
    spacing_mm, shape
        Working spacing and shape of the sample.
    geometry, acquisition, looks, corruption
        See there.
    stripping
        What is left of the head, or `None`: all of it.
    cut
        Axis, side (0: the array's start, 1: its end) and share of the sample that the field of view
        leaves out, or `None`.
    mean, scale
        Subtracted from and divided by, as the normalization of the whole scan would.
    """

    spacing_mm: Triple
    shape: Shape
    geometry: HeadGeometry
    acquisition: Acquisition
    looks: Appearance
    corruption: Corruption = Corruption()
    stripping: Stripping | None = None
    cut: tuple[int, int, float] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def at(self, center_mm: Sequence[float]) -> PairParameters:
        """Return this draw about another center, nothing of it cut off."""
        centered = dataclasses.replace(self.geometry, center_mm=as_triple(center_mm))
        return dataclasses.replace(self, geometry=centered, cut=None)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PairParameters:
        """Make one from what `to_json` wrote."""
        values = _tuples(json.loads(text))
        stripping = values.pop("stripping")
        return cls(
            geometry=HeadGeometry(**values.pop("geometry")),
            acquisition=Acquisition(**values.pop("acquisition")),
            looks=Appearance(**values.pop("looks")),
            corruption=Corruption(**values.pop("corruption")),
            stripping=None if stripping is None else Stripping(**stripping),
            **values,
        )


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def as_triple(values: Any) -> Triple:
    """Return three numbers as plain floats."""
    z, y, x = (float(value) for value in values)
    return z, y, x
