"""Apply random parameters to a case: a function of its arguments, without randomness.

A sample is interpolated once, directly from the native grid: working spacing, mirroring, rotation,
scaling, smooth displacement, cropping and padding are combined into one map of coordinates. Without
a deformation that map is separable, and the sample is exactly the input of the network in
inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_hyperspace.core.geometry import Grid, Shape
from napari_hyperspace.core.separable import AxisMatrix, axis_matrix, resample_axes
from training.data.base import Case
from training.data.labels import OUTSIDE
from training.sampling.parameters import BIAS_CONTROL_POINTS, Intensities, SampleParameters


class HasGrid(Protocol):
    """Anything with a grid in canonical order."""

    @property
    def grid(self) -> Grid:
        """Native grid."""
        ...


def working_shape(case: HasGrid, spacing_mm: Sequence[float]) -> Shape:
    """Return the shape of a case's working grid at a spacing (mm, canonical order)."""
    return case.grid.with_spacing(spacing_mm).shape


def apply_sample(
    case: Case,
    spacing_mm: Sequence[float],
    shape: Shape,
    parameters: SampleParameters,
    *,
    classes: int | None = None,
    margin: Shape = (0, 0, 0),
) -> tuple[Tensor, Tensor]:
    """Return a sample of a case.

    Parameters
    ----------
    case
        The case, on its native grid.
    spacing_mm
        Working spacing (z, y, x).
    shape
        Shape of the sample. Along axes on which it exceeds the case, the case is centered in it; on
        the others, the sample is a crop at the position given by the parameters.
    parameters
        Random parameters of the sample.
    classes
        Number K of classes, background included, of soft labels; `None`: hard labels.
    margin
        Voxels on each side by which the labels exceed the image.

    Returns
    -------
    tuple of Tensor
        Image (C, *shape) float32, and hard labels (*shape) int16, those of the nearest voxel,
        `OUTSIDE` outside of the case; or soft labels (K, *shape) float32, the fraction of each
        voxel that each class covers, all 0 where the hard label is unknown. With a margin, the
        shape of the labels is shape + 2 margin.
    """
    native = np.array(case.grid.shape)
    step = np.array(spacing_mm) / case.spacing_mm
    room = np.maximum(np.array(working_shape(case, spacing_mm)) - shape, 0)
    # Native index of the sample's center.
    center = (native - 1) / 2 + (np.array(parameters.position) - 0.5) * room * step
    one_hot = None if classes is None else _one_hot(case.labels, classes)
    z, y, x = (n + 2 * m for n, m in zip(shape, margin, strict=True))
    make = _separable if parameters.deformation is None else _deformed
    image, labels, fractions = make(case, one_hot, step, (z, y, x), center, parameters)
    crop = (slice(m, m + n) for n, m in zip(shape, margin, strict=True))
    image = image[(slice(None), *crop)].contiguous()
    image = change_intensities(image, spacing_mm, parameters.intensities)
    return image, labels if fractions is None else _normalized(fractions, labels)


def _one_hot(labels: Tensor, classes: int) -> Tensor:
    """Return labels (D, H, W) as float32 (K, D, H, W), all 0 where the label is unknown."""
    return torch.stack([labels == k for k in range(classes)]).float()


def _normalized(fractions: Tensor, labels: Tensor) -> Tensor:
    """Return fractions (K, D, H, W) that sum to 1 in each voxel with a known hard label."""
    known = labels != OUTSIDE
    total = fractions.sum(dim=0)
    # Where rounding or a border leaves nothing, the hard label covers the voxel.
    empty = known & (total < 1e-3)
    fractions = torch.where(empty, _one_hot(labels, len(fractions)), fractions)
    return fractions / total.where(known & ~empty, torch.ones(())) * known


def bring_to(
    image: Tensor, labels: Tensor, spacing_mm: Sequence[float], target_mm: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Interpolate a sample to another spacing over the same field of view.

    Parameters
    ----------
    image, labels
        (C, D, H, W), interpolated by cubic kernels, and (D, H, W), to the nearest voxel.
    spacing_mm, target_mm
        Spacing of the sample, and the one to interpolate it to (z, y, x).
    """
    factors = [new / old for new, old in zip(target_mm, spacing_mm, strict=True)]
    axes = [
        (n, max(1, round(n / factor)), factor, (factor - 1) / 2)
        for n, factor in zip(labels.shape, factors, strict=True)
    ]
    resampled = resample_axes(image, [axis_matrix(*axis, order="cubic") for axis in axes])
    z, y, x = (axis_matrix(*axis, order="nearest").indices[:, 0] for axis in axes)
    return resampled, labels[z][:, y][:, :, x]


def _separable(
    case: Case,
    one_hot: Tensor | None,
    step: NDArray[np.float64],
    shape: Shape,
    center: NDArray[np.float64],
    parameters: SampleParameters,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return a sample without deformation, as a separable interpolation."""
    signed = np.where(parameters.flips, -step, step)
    start = center - signed * (np.array(shape) - 1) / 2
    axes = [
        (n_in, n_out, float(a), float(b))
        for n_in, n_out, a, b in zip(case.grid.shape, shape, signed, start, strict=True)
    ]
    image = resample_axes(
        case.image,
        [
            axis_matrix(*axis, order=parameters.order, antialias=parameters.antialias)
            for axis in axes
        ],
    )
    nearest = [axis_matrix(*axis, order="nearest", extend=False) for axis in axes]
    z, y, x = (matrix.indices[:, 0] for matrix in nearest)
    inside_z, inside_y, inside_x = (matrix.weights[:, 0] > 0 for matrix in nearest)
    labels = case.labels[z][:, y][:, :, x]
    inside = inside_z[:, None, None] & inside_y[:, None] & inside_x
    fractions = one_hot
    if fractions is not None:
        # The overlap with voxels of the native size or larger: at smaller ones it would have steps.
        matrices = [
            axis_matrix(*axis, order="overlap" if abs(axis[2]) >= 1 else "linear") for axis in axes
        ]
        fractions = resample_axes(fractions, matrices)
    return image, labels.masked_fill(~inside, OUTSIDE), fractions


def _deformed(
    case: Case,
    one_hot: Tensor | None,
    step: NDArray[np.float64],
    shape: Shape,
    center: NDArray[np.float64],
    parameters: SampleParameters,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return a sample with a deformation, interpolated linearly."""
    assert parameters.deformation is not None
    native = np.array(case.grid.shape)
    spacing = np.array(case.spacing_mm)
    # Sample index relative to the center → mm → deformed mm → native index.
    linear = parameters.deformation.matrix * np.where(parameters.flips, -1.0, 1.0)
    linear = linear * (step * spacing) / spacing[:, None]  # (native axis, sample axis)
    # The linear interpolation below averages over a triangle of one voxel; the rest of the
    # smoothing is applied here.
    widths = np.sqrt(np.maximum((linear**2).sum(axis=1) - 1, 0))
    smoothing = [
        axis_matrix(n, n, 1, 0, width=float(width)) if width > 1 else None
        for n, width in zip(native.tolist(), widths, strict=True)
    ]
    image = resample_axes(case.image, smoothing) if parameters.antialias else case.image
    # grid_sample expects (x, y, z) coordinates from -1 to 1 between the outer edges of the voxels.
    scale = 2 / native
    middle = (2 * center + 1) / native - 1
    coordinates = torch.empty(*shape, 3)
    ranges = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    terms = (linear * scale[:, None]).astype(np.float32)
    for axis in range(3):
        z, y, x = (float(terms[axis, i]) * ranges[i] for i in range(3))
        coordinates[..., 2 - axis] = z[:, None, None] + y[:, None] + (x + float(middle[axis]))
    if parameters.deformation.displacement_mm is not None:
        to_unit = torch.from_numpy((scale / spacing).astype(np.float32))
        control = (
            torch.from_numpy(parameters.deformation.displacement_mm) * to_unit[:, None, None, None]
        )
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
    fractions = one_hot
    if fractions is not None:
        fractions = F.grid_sample(
            resample_axes(fractions, smoothing)[None],
            coordinates,
            mode="bilinear",
            padding_mode="border",
            align_corners=False,
        )[0]
    return sampled[0], labels[0, 0].to(torch.int16).masked_fill(outside, OUTSIDE), fractions


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
        field = resample_axes(control, [_spread(BIAS_CONTROL_POINTS, n) for n in image.shape[1:]])
        image = image * field.exp()
    if change.contrast != 1 or change.brightness:
        image = image * change.contrast + change.brightness
    if change.noise:
        rng = np.random.default_rng(change.noise_seed)
        noise = rng.standard_normal(tuple(image.shape), dtype=np.float32)
        image = image + change.noise * torch.from_numpy(noise)
    return image


def _spread(n_control: int, n: int) -> AxisMatrix:
    """Return the matrix that interpolates `n_control` points spread over an axis of `n` voxels."""
    step = (n_control - 1) / max(n - 1, 1)
    return axis_matrix(n_control, n, step, 0, order="cubic", antialias=False)
