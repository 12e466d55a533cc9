"""The random parameters of a synthetic pair, as plain data; see `sample_pair`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from napari_hyperspace.core.geometry import Shape, Triple
from training.synthesis.appearance import Appearance

Matrix = tuple[Triple, Triple, Triple]
FORMER_KEYS: Mapping[str, str] = {"looks": "appearance", "centre_mm": "center_mm"}
"""Keys that were renamed, in files written before: old name to present name."""


@dataclass(frozen=True)
class HeadGeometry:
    """Position of the sample in the head, and deformation of the head.

    Parameters
    ----------
    center_mm
        Position of the sample's center, relative to the center of the map's first voxel.
    flip
        Whether left and right are mirrored.
    matrix
        Linear map from mm of the sample to mm of the head, both relative to the center.
    elastic_mm
        Standard deviation of the displacement at its control points.
    elastic_points
        Number of control points per axis, spread over the fine grid.
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
    """Voxels and slice profiles of the simulated scan.

    Parameters
    ----------
    spacing_mm
        Spacing of the scan; if it exceeds the working spacing, the scan is interpolated.
    profile
        Slice profile of each axis: ``"box"``, ``"gauss"`` or ``"triangle"``.
    width_mm
        Full width at half maximum of the profile; 0: a point.
    parts
        Number of points per axis that each voxel of the scan is painted with before averaging.
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
    """Skull stripping.

    Parameters
    ----------
    margin
        Distance outside of the inner surface of the skull that is kept, in voxels of the map.
    wobble
        Standard deviation of that margin.
    wobble_seed
        Seed of the smooth field by which the margin varies.
    keep_csf
        Whether the fluid around the brain is kept.
    """

    margin: float
    wobble: float = 0.0
    wobble_seed: int = 0
    keep_csf: bool = True


@dataclass(frozen=True)
class Corruption:
    """Changes of the scan's intensities.

    Parameters
    ----------
    bias
        Standard deviation of the logarithm of the bias field at its control points.
    bias_points
        Number of control points per axis.
    bias_seed
        Seed of the field.
    gamma
        Exponent.
    noise
        Standard deviation of the noise of the real and of the imaginary part of the signal.
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
    """All random parameters of one synthetic pair; `render` is a function of them.

    Parameters
    ----------
    spacing_mm, shape
        Working spacing and shape of the sample.
    geometry, acquisition, appearance, corruption
        Parameters of each step.
    stripping
        Skull stripping; `None`: the whole head is kept.
    cut
        Axis, side (0: the array's start, 1: its end) and fraction of the sample that lies outside
        of the field of view; `None`: nothing does.
    mean, scale
        Subtracted from and divided by, as the normalization of the whole scan would.
    """

    spacing_mm: Triple
    shape: Shape
    geometry: HeadGeometry
    acquisition: Acquisition
    appearance: Appearance
    corruption: Corruption = Corruption()
    stripping: Stripping | None = None
    cut: tuple[int, int, float] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def at(self, center_mm: Sequence[float]) -> PairParameters:
        """Return these parameters with another center, and without a cut."""
        centered = dataclasses.replace(self.geometry, center_mm=as_triple(center_mm))
        return dataclasses.replace(self, geometry=centered, cut=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `from_dict` accepts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PairParameters:
        """Build the parameters from plain data; former keys are accepted.

        Raises
        ------
        KeyError, TypeError
            If a key is missing or unknown.
        """
        parts = _present(values)
        stripping = parts.pop("stripping")
        return cls(
            geometry=HeadGeometry(**parts.pop("geometry")),
            acquisition=Acquisition(**parts.pop("acquisition")),
            appearance=Appearance(**parts.pop("appearance")),
            corruption=Corruption(**parts.pop("corruption")),
            stripping=None if stripping is None else Stripping(**stripping),
            **parts,
        )


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    """Rename former keys, and turn the lists of JSON into tuples."""
    return {FORMER_KEYS.get(key, key): _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _present(value)
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value


def as_triple(values: Iterable[float]) -> Triple:
    """Return three numbers as plain floats."""
    z, y, x = (float(value) for value in values)
    return z, y, x
