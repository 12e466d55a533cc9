"""Render the image and the labels of a pair from its parameters, without randomness.

Tissues are painted on a grid finer than that of the scan, with classes from the upsampled map. The
result is averaged over the slice profiles onto the grid of the scan, corrupted there as by a
scanner, and resampled to the working grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.separable import AxisMatrix, Order, axis_matrix, resample_axes
from training.synthesis.heads import Head
from training.synthesis.parameters import PairParameters, Stripping
from training.synthesis.sampling_grid import SamplingGrid, fine_grid, scan_grid
from training.synthesis.tissues import EXTERNAL_CSF, IDS, MIRROR, TISSUE_OF_CLASS

_GAUSS = 2 * math.sqrt(2 * math.log(2))  # full width at half maximum of a unit Gaussian
_TISSUES = torch.tensor(TISSUE_OF_CLASS)
_STRIP_CONTROL_MM = 12.0
_PART_MM = 1.0  # largest distance of the points at which labels of a voxel are counted
_WEIGHTS_AT_ONCE = 1 << 22  # most entries of a dense matrix, in float64


def render(
    head: Head,
    parameters: PairParameters,
    targets: Tensor,
    *,
    margin: Sequence[int] = (0, 0, 0),
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Render a pair.

    Parameters
    ----------
    head
        The label map.
    parameters
        Parameters of the pair.
    targets
        (classes,) int16, output channel of the network for each generation class.
    margin
        Voxels on each side by which the labels exceed the image.
    device
        Device to compute on.

    Returns
    -------
    tuple of Tensor
        Image (1, *shape) float32 and labels (*shape + 2 margin) int16.
    """
    working = SamplingGrid(parameters.shape, parameters.spacing_mm)
    scan, fine = _grids(parameters)
    deformed = _DeformedHead(head, parameters, fine, torch.device(device))
    image = _paint(deformed, parameters, fine)
    image = resample_axes(image, [_profile(parameters, fine, scan, i) for i in range(3)])
    image = _corrupt(image, parameters)
    image = resample_axes(image, [_to_working(parameters, scan, working, i) for i in range(3)])
    z, y, x = (n + 2 * m for n, m in zip(parameters.shape, margin, strict=True))
    around = SamplingGrid((z, y, x), parameters.spacing_mm)
    labels = _labels(deformed, parameters, around, targets)
    if parameters.cut is not None:
        image[_outside(parameters.cut, parameters.shape)] = 0
        labels[_outside(parameters.cut, parameters.shape, margin)] = 0
    image = image.sub_(parameters.mean).div_(parameters.scale)
    return image[None], labels


def covering_labels(head: Head, parameters: PairParameters, targets: Tensor) -> Tensor:
    """Return the channel that covers most of each voxel of the working grid.

    These are the reference labels for scores. `render` returns the channel at the center of each
    voxel, which networks are trained with.

    Parameters
    ----------
    head, parameters, targets
        As for `render`.

    Returns
    -------
    Tensor
        (*shape) int16.
    """
    parts = [math.ceil(step / _PART_MM - 1e-6) for step in parameters.spacing_mm]
    shape = [n * part for n, part in zip(parameters.shape, parts, strict=True)]
    steps = [step / part for step, part in zip(parameters.spacing_mm, parts, strict=True)]
    split = SamplingGrid((shape[0], shape[1], shape[2]), (steps[0], steps[1], steps[2]))
    _, fine = _grids(parameters)
    deformed = _DeformedHead(head, parameters, fine, torch.device("cpu"))
    labels = _labels(deformed, parameters, split, targets)
    blocks = labels.view(
        [size for pair in zip(parameters.shape, parts, strict=True) for size in pair]
    )
    winner = torch.zeros(parameters.shape, dtype=torch.int16)
    best = torch.zeros(parameters.shape, dtype=torch.int32)
    for value in torch.unique(labels):
        count = (blocks == value).sum(dim=(1, 3, 5), dtype=torch.int32)
        winner[count > best] = value
        best = torch.maximum(best, count)
    if parameters.cut is not None:
        winner[_outside(parameters.cut, parameters.shape)] = 0
    return winner


def _grids(parameters: PairParameters) -> tuple[SamplingGrid, SamplingGrid]:
    """Return the grid of the scan and the fine grid."""
    acquisition = parameters.acquisition
    scan = scan_grid(parameters.shape, parameters.spacing_mm, acquisition.spacing_mm)
    return scan, fine_grid(scan, acquisition.parts, acquisition.width_mm)


def _outside(
    cut: tuple[int, int, float], shape: Sequence[int], margin: Sequence[int] = (0, 0, 0)
) -> tuple[slice, ...]:
    """Return the index of the voxels that lie outside of the field of view."""
    axis, side, fraction = cut
    count = round(fraction * shape[axis]) + margin[axis]
    size = shape[axis] + 2 * margin[axis]
    outside = slice(0, count) if side == 0 else slice(size - count, None)
    return (*(slice(None),) * axis, outside)


def _profile(
    parameters: PairParameters, fine: SamplingGrid, scan: SamplingGrid, axis: int
) -> AxisMatrix | None:
    """Return the matrix that averages the fine grid over the slice profile along an axis.

    `None` if it is the identity.
    """
    positions, n_in = scan.axis(axis), fine.shape[axis]
    rows = max(1, _WEIGHTS_AT_ONCE // n_in)
    bands = [
        _band(_weights(parameters, positions[start : start + rows], fine, axis))
        for start in range(0, len(positions), rows)
    ]
    taps = max(values.shape[1] for _, values in bands)
    first = np.concatenate([each for each, _ in bands])
    if taps == 1 and np.array_equal(first, np.arange(n_in)):  # each row sums to 1
        return None
    values = np.concatenate(
        [np.pad(values, ((0, 0), (0, taps - values.shape[1]))) for _, values in bands]
    )
    # What lies beyond the last point is padding, and has the weight 0.
    indices = np.minimum(first[:, None] + np.arange(taps), n_in - 1)
    return AxisMatrix(torch.from_numpy(indices), torch.from_numpy(values), n_in)


def _weights(
    parameters: PairParameters, positions: NDArray[np.float64], fine: SamplingGrid, axis: int
) -> NDArray[np.float64]:
    """Return the weight of each point of the fine grid at positions along an axis."""
    width, step = parameters.acquisition.width_mm[axis], fine.spacing_mm[axis]
    distance = np.abs(positions[:, None] - fine.axis(axis)[None])
    kind = parameters.acquisition.profile[axis]
    width = max(width, step)
    if kind == "box":
        weights = np.clip((width + step) / 2 - distance, 0, min(step, width))
    elif kind == "triangle":
        weights = np.clip(width - distance, 0, None)
    else:
        weights = np.exp(-0.5 * (distance * _GAUSS / width) ** 2)
        weights[weights < 1e-3] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _band(weights: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nonzero entries of a banded matrix, and the column of the first of each row."""
    taps = int((weights > 0).sum(axis=1).max())
    first = np.minimum((weights > 0).argmax(axis=1), weights.shape[1] - taps)
    values = np.take_along_axis(weights, first[:, None] + np.arange(taps), axis=1)
    return first, values.astype(np.float32)


def _to_working(
    parameters: PairParameters, scan: SamplingGrid, working: SamplingGrid, axis: int
) -> AxisMatrix | None:
    """Return the matrix from the grid of the scan to the working grid along an axis.

    `None` if both have the same spacing, and are then the same grid.
    """
    if scan.spacing_mm[axis] == working.spacing_mm[axis]:
        return None
    n_in, n_out = scan.shape[axis], working.shape[axis]
    step = working.spacing_mm[axis] / scan.spacing_mm[axis]
    start = (n_in - 1) / 2 - (n_out - 1) / 2 * step
    order: Order = "cubic" if parameters.acquisition.cubic else "linear"
    return axis_matrix(n_in, n_out, step, start, order=order)


class _DeformedHead:
    """A head with its deformation: positions of grid points in its label map.

    Parameters
    ----------
    head
        The label map.
    parameters
        Parameters of the pair.
    box
        Grid that the control points of random fields are spread over.
    device
        Device to compute on.
    """

    def __init__(
        self, head: Head, parameters: PairParameters, box: SamplingGrid, device: torch.device
    ) -> None:
        self.head, self.parameters, self.box, self.device = head, parameters, box, device
        geometry = parameters.geometry
        self.control: Tensor | None = None
        if geometry.elastic_mm:
            noise = _normal(geometry.elastic_seed, (3, *geometry.elastic_points))
            self.control = (noise * geometry.elastic_mm).to(device)

    def field(self, control: Tensor, grid: SamplingGrid) -> Tensor:
        """Interpolate control points, which are spread over the box, at the points of a grid."""
        matrices = []
        for i, n in enumerate(control.shape[-3:]):
            extent = self.box.spacing_mm[i] * max(self.box.shape[i] - 1, 1)
            step = grid.spacing_mm[i] * (n - 1) / extent
            size = grid.shape[i]
            start = (n - 1) / 2 - (size - 1) / 2 * step
            matrices.append(axis_matrix(n, size, step, start, order="cubic", antialias=False))
        return resample_axes(control, matrices)

    def voxels(self, grid: SamplingGrid, parts: int) -> list[Tensor]:
        """Return the nearest voxel of each point, in the head's map or in an upsampled one.

        Parameters
        ----------
        grid
            The points.
        parts
            Upsampling factor of the map: 1 for the head's own, 2 for `Head.fine`.

        Returns
        -------
        list of Tensor
            Index along each axis (*grid.shape) int32, within the map.
        """
        geometry = self.parameters.geometry
        axes = [torch.from_numpy(grid.axis(i)) for i in range(3)]
        if geometry.flip:
            axes[2] = -axes[2]
        found = []
        for i in range(3):
            scale = parts / self.head.spacing_mm[i]
            start = geometry.center_mm[i] * scale + (parts - 1) / 2 + 0.5
            z, y, x = (
                (axis * geometry.matrix[i][j] * scale).float().to(self.device)
                for j, axis in enumerate(axes)
            )
            plane = z[:, None] + y + start
            if self.control is None:
                position = plane[..., None] + x
            else:
                position = self.field(self.control[i] * scale, grid)
                position += plane[..., None]
                position += x
            # `start` includes one half, so that floor() rounds; ties go to the upper voxel, as with
            # the order `nearest`.
            position = position.floor_().clamp_(0, self.head.shape[i] * parts - 1)
            found.append(position.int())
        return found

    def look_up(self, table: Tensor, voxels: list[Tensor]) -> Tensor:
        """Return the values of a map at voxels."""
        z, y, x = voxels
        flat = (z * table.shape[1] + y).mul_(table.shape[2]).add_(x)
        return table.view(-1).to(self.device).index_select(0, flat.view(-1)).view(flat.shape)

    def kept(self, stripping: Stripping, voxels: list[Tensor], grid: SamplingGrid) -> Tensor:
        """Return a mask of what stripping keeps; `voxels` are those of the head's own map."""
        depth = self.look_up(self.head.depth, voxels).float()
        if stripping.wobble:
            extent = np.array(self.box.spacing_mm) * self.box.shape
            points = np.clip(np.ceil(extent / _STRIP_CONTROL_MM).astype(int) + 1, 2, 24).tolist()
            control = _normal(stripping.wobble_seed, points).to(self.device)
            depth -= self.field(control * stripping.wobble, grid)
        return depth <= stripping.margin


def _normal(seed: int, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    rng = torch.Generator(device).manual_seed(seed)
    return torch.randn(tuple(shape), generator=rng, device=device)


def _paint(deformed: _DeformedHead, parameters: PairParameters, fine: SamplingGrid) -> Tensor:
    """Return the intensities on the fine grid."""
    appearance, device = parameters.appearance, deformed.device
    voxels = deformed.voxels(fine, 2)
    classes = deformed.look_up(deformed.head.fine, voxels).int().view(-1)

    def painted(values: Sequence[float], keep_csf: bool = True) -> Tensor:
        table = torch.tensor(values, dtype=torch.float32)[_TISSUES]
        if not keep_csf:
            table[IDS.index(EXTERNAL_CSF)] = 0
        return table.to(device).index_select(0, classes).view(fine.shape)

    keep_csf = parameters.stripping is None or parameters.stripping.keep_csf
    image = painted(appearance.means, keep_csf)
    if any(appearance.smooth):
        points = [
            max(2, math.ceil(n * step / appearance.smooth_mm) + 1)
            for n, step in zip(fine.shape, fine.spacing_mm, strict=True)
        ]
        control = _normal(parameters.corruption.noise_seed + 1, points, device)
        matrices = [
            axis_matrix(n, size, (n - 1) / max(size - 1, 1), 0, antialias=False)
            for n, size in zip(points, fine.shape, strict=True)
        ]
        # Linear interpolation between control points reduces the variance to 2/3 per axis.
        image.addcmul_(
            resample_axes(control, matrices), painted(appearance.smooth, keep_csf), value=1.5**1.5
        )
    if any(appearance.white):
        noise = _normal(parameters.corruption.noise_seed + 2, fine.shape, device)
        image.addcmul_(noise, painted(appearance.white, keep_csf))
    if parameters.stripping is not None:
        native = [v.div_(2, rounding_mode="floor") for v in voxels]
        image.mul_(deformed.kept(parameters.stripping, native, fine))
    return image.clamp_(min=0)


def _corrupt(image: Tensor, parameters: PairParameters) -> Tensor:
    """Apply gamma, bias field and noise to a scan."""
    change = parameters.corruption
    if change.gamma != 1:
        image = image.pow_(change.gamma)
    if change.bias:
        control = _normal(change.bias_seed, change.bias_points).to(image.device) * change.bias
        matrices = [
            axis_matrix(n, size, (n - 1) / max(size - 1, 1), 0, order="cubic", antialias=False)
            for n, size in zip(change.bias_points, image.shape, strict=True)
        ]
        image = image * resample_axes(control, matrices).exp_()
    if change.noise:
        noise = _normal(change.noise_seed, image.shape, image.device)
        image = image.add(noise, alpha=change.noise)
        if change.rician:
            other = _normal(change.noise_seed + 3, image.shape, image.device)
            image = torch.hypot(image, other.mul_(change.noise))
    return image


def _labels(
    deformed: _DeformedHead, parameters: PairParameters, working: SamplingGrid, targets: Tensor
) -> Tensor:
    """Return the model's channel at each voxel center of the working grid."""
    head = deformed.head
    # On a grid that is not finer than the map, the map itself is used: a pair at the spacing of the
    # map has exactly its labels.
    coarse = all(s > 0.999 * n for s, n in zip(working.spacing_mm, head.spacing_mm, strict=True))
    voxels = deformed.voxels(working, 1 if coarse else 2)
    classes = deformed.look_up(head.classes if coarse else head.fine, voxels)
    table = targets[torch.tensor(MIRROR)] if parameters.geometry.flip else targets
    labels = table.to(deformed.device).index_select(0, classes.int().view(-1)).view(working.shape)
    if parameters.stripping is not None:
        native = voxels if coarse else [v.div_(2, rounding_mode="floor") for v in voxels]
        labels.mul_(deformed.kept(parameters.stripping, native, working))
    return labels
