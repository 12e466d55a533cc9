"""Sample the random parameters of synthetic pairs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Shape
from training.config.synthesis import SynthesisSection
from training.synthesis.appearance import Appearance, sample_appearance
from training.synthesis.heads import Head
from training.synthesis.parameters import (
    Acquisition,
    Corruption,
    HeadGeometry,
    PairParameters,
    Stripping,
    as_triple,
)
from training.synthesis.rotation import rotation_matrix
from training.synthesis.sampling_grid import choose_parts, scan_grid
from training.synthesis.tissues import EXTERNAL_CSF, IDS, INSIDE, TISSUE_OF_CLASS, TISSUES


def sample_pair(
    rng: np.random.Generator,
    config: SynthesisSection,
    head: Head,
    spacing_mm: Sequence[float],
    shape: Sequence[int],
    *,
    contrast: str | None = None,
) -> PairParameters:
    """Sample the parameters of a pair.

    Parameters
    ----------
    rng
        Random generator of this sample.
    config
        Ranges of the random parameters.
    head
        The label map that the pair is made from.
    spacing_mm, shape
        Working spacing in mm and shape of the sample (z, y, x).
    contrast
        Kind of image; `None`: random.
    """
    spacing, size = np.array(spacing_mm, float), np.array(shape)
    extent = spacing * size
    geometry = _sample_geometry(rng, config, head, extent)
    acquisition = _sample_acquisition(rng, config, spacing, size)
    appearance = sample_appearance(rng, config, contrast)
    stripping = None
    if rng.random() < config.strip_probability:
        margin, wobble = rng.uniform(-1.0, 4.0), rng.uniform(0, 1.2)
        keep = bool(rng.random() < 0.7)
        stripping = Stripping(float(margin), float(wobble), _seed(rng), keep)
    elif rng.random() < config.thin_probability:
        appearance = appearance.thinned(rng)
    corruption = _sample_corruption(rng, config, extent)
    cut = None
    if rng.random() < config.cut_probability:
        cut = (int(rng.integers(3)), int(rng.integers(2)), float(rng.uniform(0.05, 0.45)))
    # Scans contain much or little air, and some end above the neck.
    air, soft = float(rng.uniform(0.05, 3.5)), float(rng.uniform(0.3, 1))
    mean, deviation = expected_moments(head, appearance, corruption, stripping, air=air, soft=soft)
    deviation = max(deviation, 0.02)
    shift, stretch = rng.uniform(-0.25, 0.25), np.exp(rng.uniform(np.log(0.75), np.log(1.3)))
    z, y, x = size.tolist()
    return PairParameters(
        spacing_mm=as_triple(spacing),
        shape=(z, y, x),
        geometry=geometry,
        acquisition=acquisition,
        appearance=appearance,
        corruption=corruption,
        stripping=stripping,
        cut=cut,
        mean=mean + float(shift) * deviation,
        scale=deviation / float(stretch),
    )


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 62))


def _points(extent: NDArray[np.float64], control_mm: float) -> Shape:
    z, y, x = np.clip(np.ceil(extent / control_mm).astype(int) + 1, 2, 24).tolist()
    return z, y, x


def _sample_geometry(
    rng: np.random.Generator, config: SynthesisSection, head: Head, extent: NDArray[np.float64]
) -> HeadGeometry:
    angles = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg, 3))
    matrix = rotation_matrix(angles.tolist())
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = rng.uniform(-config.shear, config.shear, 3)
    limit = math.log(config.scale)
    # Most of the scaling is common to all axes.
    common = rng.uniform(-limit, limit) * 0.7
    matrix = matrix @ shear * np.exp(common + 0.3 * rng.uniform(-limit, limit, 3))
    step = np.array(head.spacing_mm)
    low, high = (index * step for index in head.brain_box)
    if rng.random() < config.off_brain_probability:
        low, high = np.zeros(3), (np.array(head.shape) - 1) * step
    # The patch may extend slightly beyond the box; a patch larger than the box contains it near
    # its middle.
    middle, room = (low + high) / 2, np.maximum((high - low - extent) / 2 + 15, 15)
    center = middle + rng.uniform(-1, 1, 3) * room
    rows = [as_triple(row) for row in matrix]
    return HeadGeometry(
        center_mm=as_triple(center),
        flip=bool(rng.random() < config.flip_probability),
        matrix=(rows[0], rows[1], rows[2]),
        elastic_mm=float(rng.uniform(0, config.elastic_mm)),
        elastic_points=_points(extent, config.elastic_control_mm),
        elastic_seed=_seed(rng),
    )


def _sample_acquisition(
    rng: np.random.Generator,
    config: SynthesisSection,
    spacing: NDArray[np.float64],
    size: NDArray[np.int_],
) -> Acquisition:
    coarse = rng.random(3) < config.coarse_probability
    factor = np.exp(rng.uniform(0, math.log(config.coarse_factor), 3))
    scan_mm = np.where(coarse & (factor > 1.1), spacing * factor, spacing)
    kinds = rng.choice(["box", "gauss", "triangle"], 3).tolist()
    width = scan_mm * rng.uniform(0.6, 1.25, 3)
    if rng.random() < 0.15:  # blur by motion or by a filter in k-space
        width = width * rng.uniform(1.1, 1.6)
    # The finest working spacings are below the resolution of scanners.
    width = np.maximum(width, rng.uniform(0.3, 1.0))
    scan = scan_grid(size.tolist(), spacing.tolist(), scan_mm.tolist())
    return Acquisition(
        spacing_mm=scan.spacing_mm,
        profile=(kinds[0], kinds[1], kinds[2]),
        width_mm=as_triple(width),
        parts=choose_parts(scan, width.tolist(), config.fine_voxels),
        cubic=bool(rng.random() < 0.4),
    )


def _sample_corruption(
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
    appearance: Appearance,
    corruption: Corruption,
    stripping: Stripping | None = None,
    *,
    air: float,
    soft: float = 1.0,
) -> tuple[float, float]:
    """Return an estimate of the mean and standard deviation of a whole scan.

    Parameters
    ----------
    head
        The label map.
    appearance, corruption, stripping
        Parameters of the scan.
    air
        Volume of the air relative to that of the head, before any stripping.
    soft
        Fraction of the soft tissue (face and neck) that lies within the scan.
    """
    tissue = np.array(TISSUE_OF_CLASS)
    means = np.array(appearance.means)[tissue] ** corruption.gamma
    spread = (
        np.array(appearance.white)[tissue] ** 2 * 0.3 + np.array(appearance.smooth)[tissue] ** 2
    )
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
