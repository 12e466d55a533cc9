"""Random parameters of the samples that are made from scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.separable import Order
from training.config.fit import AugmentationSection
from training.config.spacing import SpacingSection
from training.synthesis.rotation import rotation_matrix

BIAS_CONTROL_POINTS = 4  # per axis


@dataclass(frozen=True)
class Deformation:
    """Rotation with scaling, and a smooth displacement.

    Parameters
    ----------
    matrix
        (3, 3) linear map from mm of the sample to mm of the case, both relative to the center, in
        canonical order.
    displacement_mm
        (3, a, b, c) displacement at control points that are evenly spread over the sample, or
        `None`.
    """

    matrix: NDArray[np.float64]
    displacement_mm: NDArray[np.float32] | None


@dataclass(frozen=True)
class Intensities:
    """Changes of the intensities; the default values change nothing.

    Parameters
    ----------
    contrast, brightness, gamma
        Factor, shift and exponent.
    log_bias
        (4, 4, 4) logarithm of the bias field at control points, or `None`.
    noise
        Standard deviation of white noise.
    noise_seed
        Seed of that noise.
    blur_mm
        Standard deviation of an additional blur.
    """

    contrast: float = 1.0
    brightness: float = 0.0
    gamma: float = 1.0
    log_bias: NDArray[np.float32] | None = None
    noise: float = 0.0
    noise_seed: int = 0
    blur_mm: float = 0.0


@dataclass(frozen=True)
class SampleParameters:
    """All random parameters of one sample except its spacing.

    Parameters
    ----------
    flips
        Whether each canonical axis is mirrored.
    position
        Position of a crop within the case, from 0 to 1 for each axis.
    deformation
        Rotation, scaling and displacement, or `None`.
    order
        Interpolation of the image without a deformation.
    antialias
        Whether the image is averaged over voxels larger than its own.
    intensities
        Changes of the intensities.
    """

    flips: tuple[bool, bool, bool]
    position: Triple
    deformation: Deformation | None
    order: Order
    antialias: bool
    intensities: Intensities


def sample_spacing(rng: np.random.Generator, config: SpacingSection) -> Triple:
    """Sample a working spacing in mm (z, y, x).

    One of the configuration's clusters if it lists any, otherwise log-uniform over the range of
    each axis.
    """
    if config.clusters_mm:
        return config.clusters_mm[int(rng.integers(len(config.clusters_mm)))]
    if config.thick_slice_probability and rng.random() < config.thick_slice_probability:
        return _sample_thick_slices(rng, config)
    jointly = rng.random() < config.isotropic_probability
    shares = np.full(3, rng.random()) if jointly else rng.random(3)
    low, high = np.log(config.range_mm).T
    z, y, x = np.exp(low + shares * (high - low)).tolist()
    return z, y, x


def _sample_thick_slices(rng: np.random.Generator, config: SpacingSection) -> Triple:
    """Sample thick slices along one axis, with the same fine spacing on the two others."""
    low, high = np.array(config.range_mm).T
    axis, (thick, fine) = int(rng.integers(3)), rng.random(2)
    shares = [
        np.log(np.clip(bounds, low[i], high[i]))
        for i in range(3)
        for bounds in (config.thick_mm if i == axis else config.fine_mm,)
    ]
    z, y, x = (
        float(np.exp(a + (thick if i == axis else fine) * (b - a)))
        for i, (a, b) in enumerate(shares)
    )
    return z, y, x


def sample_parameters(
    rng: np.random.Generator,
    spacing: SpacingSection,
    config: AugmentationSection,
    extent_mm: Sequence[float],
) -> SampleParameters:
    """Sample the parameters of one sample.

    Parameters
    ----------
    rng
        Random generator of this sample.
    spacing, config
        Ranges of the random parameters.
    extent_mm
        Field of view of the sample (z, y, x).
    """
    flips = tuple(bool(hit) for hit in rng.random(3) < config.flip_probability)
    position = tuple(rng.random(3).tolist())
    antialias = bool(rng.random() < spacing.antialias_probability or spacing.clusters_mm)
    order: Order = "cubic" if rng.random() < spacing.cubic_probability else "linear"
    deformed = rng.random() < config.deform_probability
    return SampleParameters(
        flips=(flips[0], flips[1], flips[2]),
        position=(position[0], position[1], position[2]),
        deformation=_sample_deformation(rng, config, extent_mm) if deformed else None,
        order=order,
        antialias=antialias,
        intensities=_sample_intensities(rng, config),
    )


def _sample_deformation(
    rng: np.random.Generator, config: AugmentationSection, extent_mm: Sequence[float]
) -> Deformation:
    angles = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg, 3))
    matrix = rotation_matrix(angles.tolist())
    limit = np.log(config.scale)
    matrix = matrix * np.exp(rng.uniform(-limit, limit, 3))  # one factor per column
    displacement = None
    if config.elastic_mm:
        points = [
            int(np.clip(np.ceil(extent / config.elastic_control_mm) + 1, 2, 24))
            for extent in extent_mm
        ]
        displacement = rng.standard_normal((3, *points), dtype=np.float32)
        displacement *= np.float32(config.elastic_mm)
    return Deformation(matrix, displacement)


def _sample_intensities(rng: np.random.Generator, config: AugmentationSection) -> Intensities:
    hits = rng.random(6) < config.intensity_probability
    contrast = np.exp(rng.uniform(-1, 1) * np.log(config.contrast))
    brightness = rng.uniform(-1, 1) * config.brightness
    gamma = np.exp(rng.uniform(-1, 1) * np.log(config.gamma))
    bias = rng.standard_normal((BIAS_CONTROL_POINTS,) * 3, dtype=np.float32)
    noise, blur_mm = rng.random() * config.noise, rng.random() * config.blur_mm
    return Intensities(
        contrast=float(contrast) if hits[0] else 1.0,
        brightness=float(brightness) if hits[1] else 0.0,
        gamma=float(gamma) if hits[2] else 1.0,
        log_bias=bias * np.float32(config.bias) if hits[3] and config.bias else None,
        noise=float(noise) if hits[4] else 0.0,
        noise_seed=int(rng.integers(1 << 62)),
        blur_mm=float(blur_mm) if hits[5] else 0.0,
    )
