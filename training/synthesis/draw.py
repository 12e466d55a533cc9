"""What chance decides about a synthetic pair: drawn here, applied without chance elsewhere."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Shape, Triple
from training.config_synthesis import SynthesisSection
from training.synthesis.heads import Head
from training.synthesis.lattice import choose_parts, scan_lattice
from training.synthesis.looks import Looks, draw_looks
from training.synthesis.tissues import EXTERNAL_CSF, IDS, INSIDE, TISSUE_OF_CLASS, TISSUES

Matrix = tuple[Triple, Triple, Triple]


@dataclass(frozen=True)
class Geometry:
    """Where the sample lies in the head, and how the head is bent.

    Parameters
    ----------
    centre_mm
        Position of the sample's centre, from the centre of the map's first voxel.
    flip
        Whether left and right are mirrored.
    matrix
        mm of the sample → mm of the head, both from the centre.
    elastic_mm
        Standard deviation of the displacement at its control points.
    elastic_points
        Number of control points an axis, spread over the fine grid.
    elastic_seed
        Seed of the displacement.
    """

    centre_mm: Triple
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
class PairDraw:
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
        Subtracted from and divided by, as the normalisation of the whole scan would.
    """

    spacing_mm: Triple
    shape: Shape
    geometry: Geometry
    acquisition: Acquisition
    looks: Looks
    corruption: Corruption = Corruption()
    stripping: Stripping | None = None
    cut: tuple[int, int, float] | None = None
    mean: float = 0.0
    scale: float = 1.0

    def at(self, centre_mm: Sequence[float]) -> PairDraw:
        """Return this draw about another centre, nothing of it cut off."""
        centred = dataclasses.replace(self.geometry, centre_mm=_triple(centre_mm))
        return dataclasses.replace(self, geometry=centred, cut=None)

    def to_json(self) -> str:
        """Return the text that `from_json` reads."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> PairDraw:
        """Make one from what `to_json` wrote."""
        values = _tuples(json.loads(text))
        stripping = values.pop("stripping")
        return cls(
            geometry=Geometry(**values.pop("geometry")),
            acquisition=Acquisition(**values.pop("acquisition")),
            looks=Looks(**values.pop("looks")),
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


def draw_pair(
    rng: np.random.Generator,
    config: SynthesisSection,
    head: Head,
    spacing_mm: Sequence[float],
    shape: Sequence[int],
    *,
    contrast: str | None = None,
) -> PairDraw:
    """Draw a pair.

    Parameters
    ----------
    rng
        The generator of this sample.
    config
        What may happen.
    head
        The label map that it is made from.
    spacing_mm, shape
        Working spacing and shape of the sample (z, y, x).
    contrast
        Kind of image; `None`: drawn.
    """
    spacing, size = np.array(spacing_mm, float), np.array(shape)
    extent = spacing * size
    geometry = _draw_geometry(rng, config, head, extent)
    acquisition = _draw_acquisition(rng, config, spacing, size)
    looks = draw_looks(rng, config, contrast)
    stripping = None
    if rng.random() < config.strip_probability:
        margin, wobble = rng.uniform(-1.0, 4.0), rng.uniform(0, 1.2)
        keep = bool(rng.random() < 0.7)
        stripping = Stripping(float(margin), float(wobble), _seed(rng), keep)
    elif rng.random() < config.thin_probability:
        looks = looks.thinned(rng)
    corruption = _draw_corruption(rng, config, extent)
    cut = None
    if rng.random() < config.cut_probability:
        cut = (int(rng.integers(3)), int(rng.integers(2)), float(rng.uniform(0.05, 0.45)))
    # Scans hold much or little air, and not always the neck.
    air, soft = float(rng.uniform(0.05, 3.5)), float(rng.uniform(0.3, 1))
    mean, deviation = expected_moments(head, looks, corruption, stripping, air=air, soft=soft)
    deviation = max(deviation, 0.02)
    shift, stretch = rng.uniform(-0.25, 0.25), np.exp(rng.uniform(np.log(0.75), np.log(1.3)))
    z, y, x = size.tolist()
    return PairDraw(
        _triple(spacing),
        (z, y, x),
        geometry,
        acquisition,
        looks,
        corruption,
        stripping,
        cut,
        mean + float(shift) * deviation,
        deviation / float(stretch),
    )


def _triple(values: Any) -> Triple:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 62))


def _points(extent: NDArray[np.float64], control_mm: float) -> Shape:
    z, y, x = np.clip(np.ceil(extent / control_mm).astype(int) + 1, 2, 24).tolist()
    return z, y, x


def _draw_geometry(
    rng: np.random.Generator, config: SynthesisSection, head: Head, extent: NDArray[np.float64]
) -> Geometry:
    matrix = np.eye(3)
    angles = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg, 3))
    for (first, second), angle in zip(((1, 2), (0, 2), (0, 1)), angles, strict=True):
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = rng.uniform(-config.shear, config.shear, 3)
    limit = math.log(config.scale)
    whole = rng.uniform(-limit, limit) * 0.7
    matrix = matrix @ shear * np.exp(whole + 0.3 * rng.uniform(-limit, limit, 3))
    step = np.array(head.spacing_mm)
    low, high = (index * step for index in head.brain_box)
    if rng.random() < config.off_brain_probability:
        low, high = np.zeros(3), (np.array(head.shape) - 1) * step
    # The patch may reach beyond the box by a little; a larger one has it near its middle.
    middle, room = (low + high) / 2, np.maximum((high - low - extent) / 2 + 15, 15)
    centre = middle + rng.uniform(-1, 1, 3) * room
    rows = [_triple(row) for row in matrix]
    return Geometry(
        _triple(centre),
        bool(rng.random() < config.flip_probability),
        (rows[0], rows[1], rows[2]),
        float(rng.uniform(0, config.elastic_mm)),
        _points(extent, config.elastic_control_mm),
        _seed(rng),
    )


def _draw_acquisition(
    rng: np.random.Generator,
    config: SynthesisSection,
    spacing: NDArray[np.float64],
    size: NDArray[np.int_],
) -> Acquisition:
    coarse = rng.random(3) < config.coarse_probability
    factor = np.exp(rng.uniform(0, math.log(config.coarse_factor), 3))
    taken = np.where(coarse & (factor > 1.1), spacing * factor, spacing)
    kinds = rng.choice(["box", "gauss", "triangle"], 3).tolist()
    width = taken * rng.uniform(0.6, 1.25, 3)
    if rng.random() < 0.15:  # motion, or a filter in k-space
        width = width * rng.uniform(1.1, 1.6)
    # No scanner sees as sharply as the finest spacings.
    width = np.maximum(width, rng.uniform(0.3, 1.0))
    scan = scan_lattice(size.tolist(), spacing.tolist(), taken.tolist())
    return Acquisition(
        scan.spacing_mm,
        (kinds[0], kinds[1], kinds[2]),
        _triple(width),
        choose_parts(scan, width.tolist(), config.fine_voxels),
        bool(rng.random() < 0.4),
    )


def _draw_corruption(
    rng: np.random.Generator, config: SynthesisSection, extent: NDArray[np.float64]
) -> Corruption:
    control_mm = float(rng.uniform(45, 130))
    gamma = float(np.exp(rng.uniform(-config.gamma, config.gamma)))
    noise = float(config.noise * rng.random() ** 2)
    return Corruption(
        bias=float(rng.uniform(0, config.bias)) if rng.random() < 0.8 else 0.0,
        bias_points=_points(extent, control_mm),
        bias_seed=_seed(rng),
        gamma=gamma if rng.random() < 0.6 else 1.0,
        noise=noise,
        rician=bool(rng.random() < 0.7),
        noise_seed=_seed(rng),
    )


def expected_moments(
    head: Head,
    looks: Looks,
    corruption: Corruption,
    stripping: Stripping | None = None,
    *,
    air: float,
    soft: float = 1.0,
) -> tuple[float, float]:
    """Return about the mean and the standard deviation of a whole scan.

    Parameters
    ----------
    head
        The label map.
    looks, corruption, stripping
        How its tissues look.
    air
        Volume of the air, relative to the head's own (also where the head is stripped).
    soft
        Share of the face and neck within the scan.
    """
    tissue = np.array(TISSUE_OF_CLASS)
    means = np.array(looks.means)[tissue] ** corruption.gamma
    spread = np.array(looks.white)[tissue] ** 2 * 0.3 + np.array(looks.smooth)[tissue] ** 2
    spread = spread + (corruption.bias * 0.6 * means) ** 2 + corruption.noise**2
    counts = head.counts.copy()
    if stripping is not None:
        counts = counts * np.array(INSIDE)
        if not stripping.keep_csf:
            counts[IDS.index(EXTERNAL_CSF)] = 0
    total = head.counts.sum() or 1.0
    counts[0] = total - counts.sum() + air * total
    counts[tissue == TISSUES.index("soft tissue")] *= soft
    means[0] = corruption.noise * math.sqrt(math.pi / 2) if corruption.rician else 0.0
    spread[0] = corruption.noise**2 * (0.43 if corruption.rician else 1.0)
    weights = counts / counts.sum()
    mean = float(weights @ means)
    return mean, math.sqrt(float(weights @ (spread + (means - mean) ** 2)))
