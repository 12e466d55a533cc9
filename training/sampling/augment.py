"""Random samples at a working spacing: drawn in one place, applied without chance in another.

A sample is made by one interpolation straight from the native grid: working spacing, mirroring,
rotation, scaling, smooth displacement, cropping and padding are one map of coordinates. Where
nothing is bent, that map is separable and the sample is exactly what inference would see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_hyperspace.core.geometry import Grid, Shape, Triple
from napari_hyperspace.core.resample import AxisMatrix, Order, axis_matrix, resample_axes
from training.config.fit import AugmentationSection, SpacingSection
from training.data.base import Case
from training.data.labels import OUTSIDE

_BIAS_CONTROL_POINTS = 4


class HasGrid(Protocol):
    """Anything that lies on a grid in canonical order."""

    @property
    def grid(self) -> Grid:
        """Its native grid."""
        ...


@dataclass(frozen=True)
class Deformation:
    """A rotation with scaling, and a smooth displacement.

    Parameters
    ----------
    matrix
        (3, 3), mm of the sample → mm of the case, both from the center, canonical order.
    displacement_mm
        (3, a, b, c) displacement at control points spread evenly over the sample, or `None`.
    """

    matrix: NDArray[np.float64]
    displacement_mm: NDArray[np.float32] | None


@dataclass(frozen=True)
class Intensities:
    """Changes of the intensities; each neutral value changes nothing.

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
    """Everything that chance decides about one sample besides its spacing.

    Parameters
    ----------
    flips
        Which canonical axes are mirrored.
    position
        Where a crop lies in the room there is, 0 to 1 an axis.
    deformation
        Rotation, scaling and bending, or `None`.
    order
        Interpolation of the image where nothing is bent.
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
    """Draw a working spacing in mm (z, y, x), log-uniform over the range of each axis.

    Or one of the clusters that scans were acquired at, where the configuration lists some.
    """
    if config.clusters_mm:
        return config.clusters_mm[int(rng.integers(len(config.clusters_mm)))]
    if config.thick_slice_probability and rng.random() < config.thick_slice_probability:
        return _draw_thick(rng, config)
    jointly = rng.random() < config.isotropic_probability
    shares = np.full(3, rng.random()) if jointly else rng.random(3)
    low, high = np.log(config.range_mm).T
    z, y, x = np.exp(low + shares * (high - low)).tolist()
    return z, y, x


def _draw_thick(rng: np.random.Generator, config: SpacingSection) -> Triple:
    """Draw thick slices along one axis, with a fine spacing within them alike on both axes."""
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


def draw_sample(
    rng: np.random.Generator,
    spacing: SpacingSection,
    config: AugmentationSection,
    extent_mm: Sequence[float],
) -> SampleParameters:
    """Draw the changes of one sample.

    Parameters
    ----------
    rng
        The generator of this sample.
    spacing, config
        What may happen.
    extent_mm
        Field of view of the sample (z, y, x).
    """
    flips = tuple(bool(hit) for hit in rng.random(3) < config.flip_probability)
    position = tuple(rng.random(3).tolist())
    antialias = bool(rng.random() < spacing.antialias_probability or spacing.clusters_mm)
    order: Order = "cubic" if rng.random() < spacing.cubic_probability else "linear"
    bent = rng.random() < config.deform_probability
    return SampleParameters(
        flips=(flips[0], flips[1], flips[2]),
        position=(position[0], position[1], position[2]),
        deformation=_draw_deformation(rng, config, extent_mm) if bent else None,
        order=order,
        antialias=antialias,
        intensities=_draw_intensities(rng, config),
    )


def _draw_deformation(
    rng: np.random.Generator, config: AugmentationSection, extent_mm: Sequence[float]
) -> Deformation:
    z, y, x = np.deg2rad(rng.uniform(-config.rotation_deg, config.rotation_deg, 3))
    matrix = np.eye(3)
    for first, second, angle in ((1, 2, z), (0, 2, y), (0, 1, x)):
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    limit = np.log(config.scale)
    matrix = matrix * np.exp(rng.uniform(-limit, limit, 3))  # one factor a column
    displacement = None
    if config.elastic_mm:
        points = [
            int(np.clip(np.ceil(extent / config.elastic_control_mm) + 1, 2, 24))
            for extent in extent_mm
        ]
        displacement = rng.standard_normal((3, *points), dtype=np.float32)
        displacement *= np.float32(config.elastic_mm)
    return Deformation(matrix, displacement)


def _draw_intensities(rng: np.random.Generator, config: AugmentationSection) -> Intensities:
    hits = rng.random(6) < config.intensity_probability
    contrast = np.exp(rng.uniform(-1, 1) * np.log(config.contrast))
    brightness = rng.uniform(-1, 1) * config.brightness
    gamma = np.exp(rng.uniform(-1, 1) * np.log(config.gamma))
    bias = rng.standard_normal((_BIAS_CONTROL_POINTS,) * 3, dtype=np.float32)
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


def working_shape(case: HasGrid, spacing_mm: Sequence[float]) -> Shape:
    """Return the shape of a case's working grid at a spacing (mm, canonical order)."""
    return case.grid.with_spacing(spacing_mm).shape


def apply_sample(
    case: Case, spacing_mm: Sequence[float], shape: Shape, draw: SampleParameters
) -> tuple[Tensor, Tensor]:
    """Make a sample.

    Parameters
    ----------
    case
        The case, on its native grid.
    spacing_mm
        Working spacing (z, y, x).
    shape
        Shape of the sample: the case lies in its middle, or the sample at a drawn place within it.
    draw
        What chance decided.

    Returns
    -------
    tuple of Tensor
        Image (C, *shape) float32, and labels (*shape) int16 with `OUTSIDE` beyond the case.
    """
    native = np.array(case.grid.shape)
    step = np.array(spacing_mm) / case.spacing_mm
    room = np.maximum(np.array(working_shape(case, spacing_mm)) - shape, 0)
    # Native index of the sample's center; where it is a crop, somewhere inside the case.
    center = (native - 1) / 2 + (np.array(draw.position) - 0.5) * room * step
    if draw.deformation is None:
        image, labels = _separable(case, step, shape, center, draw)
    else:
        image, labels = _bent(case, step, shape, center, draw)
    return change_intensities(image, spacing_mm, draw.intensities), labels


def bring_to(
    image: Tensor, labels: Tensor, spacing_mm: Sequence[float], target_mm: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Interpolate a sample to another spacing over the same field of view.

    Parameters
    ----------
    image, labels
        (C, D, H, W), cubically, and (D, H, W), to the nearest.
    spacing_mm, target_mm
        Spacing of the sample, and the one to bring it to (z, y, x).
    """
    factors = [new / old for new, old in zip(target_mm, spacing_mm, strict=True)]
    axes = [
        (n, max(1, round(n / factor)), factor, (factor - 1) / 2)
        for n, factor in zip(labels.shape, factors, strict=True)
    ]
    brought = resample_axes(image, [axis_matrix(*axis, order="cubic") for axis in axes])
    z, y, x = (axis_matrix(*axis, order="nearest").indices[:, 0] for axis in axes)
    return brought, labels[z][:, y][:, :, x]


def _separable(
    case: Case,
    step: NDArray[np.float64],
    shape: Shape,
    center: NDArray[np.float64],
    draw: SampleParameters,
) -> tuple[Tensor, Tensor]:
    signed = np.where(draw.flips, -step, step)
    start = center - signed * (np.array(shape) - 1) / 2
    axes = [
        (n_in, n_out, float(a), float(b))
        for n_in, n_out, a, b in zip(case.grid.shape, shape, signed, start, strict=True)
    ]
    image = resample_axes(
        case.image,
        [axis_matrix(*axis, order=draw.order, antialias=draw.antialias) for axis in axes],
    )
    nearest = [axis_matrix(*axis, order="nearest", extend=False) for axis in axes]
    z, y, x = (matrix.indices[:, 0] for matrix in nearest)
    inside_z, inside_y, inside_x = (matrix.weights[:, 0] > 0 for matrix in nearest)
    labels = case.labels[z][:, y][:, :, x]
    inside = inside_z[:, None, None] & inside_y[:, None] & inside_x
    return image, labels.masked_fill(~inside, OUTSIDE)


def _bent(
    case: Case,
    step: NDArray[np.float64],
    shape: Shape,
    center: NDArray[np.float64],
    draw: SampleParameters,
) -> tuple[Tensor, Tensor]:
    assert draw.deformation is not None
    native = np.array(case.grid.shape)
    spacing = np.array(case.spacing_mm)
    # Sample index from the center → mm → deformed mm → native index.
    linear = draw.deformation.matrix * np.where(draw.flips, -1.0, 1.0)
    linear = linear * (step * spacing) / spacing[:, None]  # (native axis, sample axis)
    image = case.image
    if draw.antialias:
        # The interpolation below is a triangle of one voxel; what is missing is smoothed before.
        widths = np.sqrt(np.maximum((linear**2).sum(axis=1) - 1, 0))
        image = resample_axes(
            image,
            [
                axis_matrix(n, n, 1, 0, width=float(width)) if width > 1 else None
                for n, width in zip(native.tolist(), widths, strict=True)
            ],
        )
    # grid_sample wants (x, y, z) coordinates from -1 to 1 between the outer edges of the voxels.
    scale = 2 / native
    middle = (2 * center + 1) / native - 1
    coordinates = torch.empty(*shape, 3)
    ranges = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    terms = (linear * scale[:, None]).astype(np.float32)
    for axis in range(3):
        z, y, x = (float(terms[axis, i]) * ranges[i] for i in range(3))
        coordinates[..., 2 - axis] = z[:, None, None] + y[:, None] + (x + float(middle[axis]))
    if draw.deformation.displacement_mm is not None:
        to_unit = torch.from_numpy((scale / spacing).astype(np.float32))
        control = torch.from_numpy(draw.deformation.displacement_mm) * to_unit[:, None, None, None]
        smooth = resample_axes(
            control, [_spread(n, m) for n, m in zip(control.shape[1:], shape, strict=True)]
        )
        coordinates += smooth.flip(0).movedim(0, -1)
    coordinates = coordinates[None]
    sampled = F.grid_sample(
        image[None], coordinates, mode="bilinear", padding_mode="border", align_corners=False
    )
    labels = F.grid_sample(
        case.labels[None, None].float(),
        coordinates,
        mode="nearest",
        padding_mode="border",
        align_corners=False,
    )
    outside = (coordinates[0].abs() > 1).any(dim=-1)
    return sampled[0], labels[0, 0].to(torch.int16).masked_fill(outside, OUTSIDE)


def change_intensities(image: Tensor, spacing_mm: Sequence[float], change: Intensities) -> Tensor:
    """Change the intensities of an image (C, D, H, W) at a spacing (mm, z, y, x)."""
    if change.blur_mm:
        # A triangle of half width w has the variance w²/6.
        widths = [np.sqrt(6) * change.blur_mm / spacing for spacing in spacing_mm]
        image = resample_axes(
            image,
            [
                axis_matrix(n, n, 1, 0, width=float(width)) if width > 1 else None
                for n, width in zip(image.shape[1:], widths, strict=True)
            ],
        )
    if change.gamma != 1:
        low, high = image.aminmax()
        span = (high - low).clamp(min=1e-6)
        image = ((image - low) / span).pow(change.gamma) * span + low
    if change.log_bias is not None:
        control = torch.from_numpy(change.log_bias)
        field = resample_axes(control, [_spread(_BIAS_CONTROL_POINTS, n) for n in image.shape[1:]])
        image = image * field.exp()
    if change.contrast != 1 or change.brightness:
        image = image * change.contrast + change.brightness
    if change.noise:
        rng = np.random.default_rng(change.noise_seed)
        noise = rng.standard_normal(tuple(image.shape), dtype=np.float32)
        image = image + change.noise * torch.from_numpy(noise)
    return image


def _spread(n_control: int, n: int) -> AxisMatrix:
    """Return the matrix that draws a smooth curve through control points spread over an axis."""
    step = (n_control - 1) / max(n - 1, 1)
    return axis_matrix(n_control, n, step, 0, order="cubic", antialias=False)
