"""From a draw to a pair: an image and its labels, without chance.

Tissues are painted on a grid finer than the scan's (labels looked up in the map of half the
spacing), averaged over the slice profile onto the scan's grid, corrupted there as a scanner would,
and brought to the working grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_hyperspace.core.resample import AxisMatrix, axis_matrix, resample_axes
from training.synthesis.heads import Head
from training.synthesis.parameters import PairParameters, Stripping
from training.synthesis.sampling_grid import SamplingGrid, fine_grid, scan_grid
from training.synthesis.tissues import EXTERNAL_CSF, IDS, MIRROR, TISSUE_OF_CLASS

_GAUSS = 2 * math.sqrt(2 * math.log(2))  # full width at half maximum of a unit Gaussian
_TISSUES = torch.tensor(TISSUE_OF_CLASS)
_STRIP_CONTROL_MM = 12.0
_PART_MM = 1.0  # of a voxel whose largest share of labels is looked for


def render(
    head: Head,
    draw: PairParameters,
    targets: Tensor,
    *,
    device: torch.device | str = "cpu",
) -> tuple[Tensor, Tensor]:
    """Make a pair.

    Parameters
    ----------
    head
        The label map.
    draw
        What chance decided.
    targets
        (classes,) int16, the model's channel of each generation class.
    device
        Where to compute.

    Returns
    -------
    tuple of Tensor
        Image (1, *shape) float32 and labels (*shape) int16.
    """
    working = SamplingGrid(draw.shape, draw.spacing_mm)
    taken = draw.acquisition
    scan = scan_grid(draw.shape, draw.spacing_mm, taken.spacing_mm)
    fine = fine_grid(scan, taken.parts, taken.width_mm)
    space = _Space(head, draw, fine, torch.device(device))
    image = _paint(space, draw, fine)
    image = resample_axes(image, [_profile(draw, fine, scan, i) for i in range(3)])
    image = _corrupt(image, draw)
    image = resample_axes(image, [_to_working(draw, scan, working, i) for i in range(3)])
    labels = _labels(space, draw, working, targets)
    if draw.cut is not None:
        gone = _beyond(draw.cut, draw.shape)
        image[gone], labels[gone] = 0, 0
    image = image.sub_(draw.mean).div_(draw.scale)
    return image[None], labels


def covering_labels(head: Head, draw: PairParameters, targets: Tensor) -> Tensor:
    """Return the channel that covers most of each voxel of the working grid.

    The truth to score against; `render` gives the one at the voxel's center, which is what a
    network learns from.

    Parameters
    ----------
    head, draw, targets
        As for `render`.

    Returns
    -------
    Tensor
        (*shape) int16.
    """
    parts = [math.ceil(step / _PART_MM - 1e-6) for step in draw.spacing_mm]
    shape = [n * part for n, part in zip(draw.shape, parts, strict=True)]
    steps = [step / part for step, part in zip(draw.spacing_mm, parts, strict=True)]
    split = SamplingGrid((shape[0], shape[1], shape[2]), (steps[0], steps[1], steps[2]))
    taken = draw.acquisition
    scan = scan_grid(draw.shape, draw.spacing_mm, taken.spacing_mm)
    fine = fine_grid(scan, taken.parts, taken.width_mm)
    labels = _labels(_Space(head, draw, fine, torch.device("cpu")), draw, split, targets)
    blocks = labels.view([size for pair in zip(draw.shape, parts, strict=True) for size in pair])
    winner = torch.zeros(draw.shape, dtype=torch.int16)
    best = torch.zeros(draw.shape, dtype=torch.int32)
    for value in torch.unique(labels):
        count = (blocks == value).sum(dim=(1, 3, 5), dtype=torch.int32)
        winner[count > best] = value
        best = torch.maximum(best, count)
    if draw.cut is not None:
        winner[_beyond(draw.cut, draw.shape)] = 0
    return winner


def _beyond(cut: tuple[int, int, float], shape: Sequence[int]) -> tuple[slice, ...]:
    """Return the index of what the field of view leaves out."""
    axis, side, share = cut
    lost = round(share * shape[axis])
    gone = slice(0, lost) if side == 0 else slice(shape[axis] - lost, None)
    return (*(slice(None),) * axis, gone)


def _profile(
    draw: PairParameters, fine: SamplingGrid, scan: SamplingGrid, axis: int
) -> AxisMatrix | None:
    """Return the matrix that averages the fine grid over the slice profile along an axis."""
    width, step = draw.acquisition.width_mm[axis], fine.spacing_mm[axis]
    distance = np.abs(scan.axis(axis)[:, None] - fine.axis(axis)[None])
    kind = draw.acquisition.profile[axis]
    width = max(width, step)
    if kind == "box":
        weights = np.clip((width + step) / 2 - distance, 0, min(step, width))
    elif kind == "triangle":
        weights = np.clip(width - distance, 0, None)
    else:
        weights = np.exp(-0.5 * (distance * _GAUSS / width) ** 2)
        weights[weights < 1e-3] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    if weights.shape[0] == weights.shape[1] and np.array_equal(weights, np.eye(len(weights))):
        return None
    return _as_matrix(weights)


def _as_matrix(weights: NDArray[np.float64]) -> AxisMatrix:
    """Return a banded matrix as taps."""
    taps = int((weights > 0).sum(axis=1).max())
    first = np.minimum((weights > 0).argmax(axis=1), weights.shape[1] - taps)
    indices = first[:, None] + np.arange(taps)
    values = np.take_along_axis(weights, indices, axis=1).astype(np.float32)
    return AxisMatrix(torch.from_numpy(indices), torch.from_numpy(values), weights.shape[1])


def _to_working(
    draw: PairParameters, scan: SamplingGrid, working: SamplingGrid, axis: int
) -> AxisMatrix | None:
    if scan.spacing_mm[axis] == working.spacing_mm[axis]:
        return None
    n_in, n_out = scan.shape[axis], working.shape[axis]
    step = working.spacing_mm[axis] / scan.spacing_mm[axis]
    start = (n_in - 1) / 2 - (n_out - 1) / 2 * step
    order = "cubic" if draw.acquisition.cubic else "linear"
    return axis_matrix(n_in, n_out, step, start, order=order)  # type: ignore[arg-type]


class _Space:
    """Positions of lattices in the bent head; the bend is a field on the fine grid's box."""

    def __init__(
        self, head: Head, draw: PairParameters, box: SamplingGrid, device: torch.device
    ) -> None:
        self.head, self.draw, self.box, self.device = head, draw, box, device
        bend = draw.geometry
        self.control: Tensor | None = None
        if bend.elastic_mm:
            noise = _normal(bend.elastic_seed, (3, *bend.elastic_points))
            self.control = (noise * bend.elastic_mm).to(device)

    def field(self, control: Tensor, lattice: SamplingGrid) -> Tensor:
        """Draw a smooth field through control points that are spread over the box."""
        matrices = []
        for i, n in enumerate(control.shape[-3:]):
            extent = self.box.spacing_mm[i] * max(self.box.shape[i] - 1, 1)
            step = lattice.spacing_mm[i] * (n - 1) / extent
            size = lattice.shape[i]
            start = (n - 1) / 2 - (size - 1) / 2 * step
            matrices.append(axis_matrix(n, size, step, start, order="cubic", antialias=False))
        return resample_axes(control, matrices)

    def voxels(self, lattice: SamplingGrid, parts: int) -> list[Tensor]:
        """Return the nearest voxel of each point in the head's map, or in a finer one.

        Parameters
        ----------
        lattice
            The points.
        parts
            How many voxels of the map looked up make one of the head's.

        Returns
        -------
        list of Tensor
            Index along each axis (*lattice.shape) int32, within the map.
        """
        bend = self.draw.geometry
        axes = [torch.from_numpy(lattice.axis(i)) for i in range(3)]
        if bend.flip:
            axes[2] = -axes[2]
        found = []
        for i in range(3):
            scale = parts / self.head.spacing_mm[i]
            start = bend.center_mm[i] * scale + (parts - 1) / 2 + 0.5
            z, y, x = (
                (axis * bend.matrix[i][j] * scale).float().to(self.device)
                for j, axis in enumerate(axes)
            )
            plane = z[:, None] + y + start
            if self.control is None:
                position = plane[..., None] + x
            else:
                position = self.field(self.control[i] * scale, lattice)
                position += plane[..., None]
                position += x
            # Half was added: what lies between two voxels goes to the upper one, as in `nearest`.
            position = position.floor_().clamp_(0, self.head.shape[i] * parts - 1)
            found.append(position.int())
        return found

    def look_up(self, table: Tensor, voxels: list[Tensor]) -> Tensor:
        """Take the values of a map at voxels."""
        z, y, x = voxels
        flat = (z * table.shape[1] + y).mul_(table.shape[2]).add_(x)
        return table.view(-1).to(self.device).index_select(0, flat.view(-1)).view(flat.shape)

    def shown(self, stripping: Stripping, voxels: list[Tensor], lattice: SamplingGrid) -> Tensor:
        """Return where something is left of the head; ``voxels`` are the head's own."""
        depth = self.look_up(self.head.depth, voxels).float()
        if stripping.wobble:
            extent = np.array(self.box.spacing_mm) * self.box.shape
            points = np.clip(np.ceil(extent / _STRIP_CONTROL_MM).astype(int) + 1, 2, 24).tolist()
            control = _normal(stripping.wobble_seed, points).to(self.device)
            depth -= self.field(control * stripping.wobble, lattice)
        return depth <= stripping.margin


def _normal(seed: int, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    source = torch.Generator(device).manual_seed(seed)
    return torch.randn(tuple(shape), generator=source, device=device)


def _paint(space: _Space, draw: PairParameters, fine: SamplingGrid) -> Tensor:
    """Return the intensities on the fine grid."""
    looks, device = draw.looks, space.device
    voxels = space.voxels(fine, 2)
    classes = space.look_up(space.head.fine, voxels).int().view(-1)

    def painted(values: Sequence[float], keep_csf: bool = True) -> Tensor:
        table = torch.tensor(values, dtype=torch.float32)[_TISSUES]
        if not keep_csf:
            table[IDS.index(EXTERNAL_CSF)] = 0
        return table.to(device).index_select(0, classes).view(fine.shape)

    keep_csf = draw.stripping is None or draw.stripping.keep_csf
    image = painted(looks.means, keep_csf)
    if any(looks.smooth):
        points = [
            max(2, math.ceil(n * step / looks.smooth_mm) + 1)
            for n, step in zip(fine.shape, fine.spacing_mm, strict=True)
        ]
        control = _normal(draw.corruption.noise_seed + 1, points, device)
        matrices = [
            axis_matrix(n, size, (n - 1) / max(size - 1, 1), 0, antialias=False)
            for n, size in zip(points, fine.shape, strict=True)
        ]
        # Between control points a linear mixture varies less: 2/3 of the variance an axis.
        image.addcmul_(
            resample_axes(control, matrices), painted(looks.smooth, keep_csf), value=1.5**1.5
        )
    if any(looks.white):
        noise = _normal(draw.corruption.noise_seed + 2, fine.shape, device)
        image.addcmul_(noise, painted(looks.white, keep_csf))
    if draw.stripping is not None:
        native = [v.div_(2, rounding_mode="floor") for v in voxels]
        image.mul_(space.shown(draw.stripping, native, fine))
    return image.clamp_(min=0)


def _corrupt(image: Tensor, draw: PairParameters) -> Tensor:
    """Do to a scan what scanners do: gamma, bias field, noise."""
    change = draw.corruption
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


def _labels(space: _Space, draw: PairParameters, working: SamplingGrid, targets: Tensor) -> Tensor:
    """Return the model's channel at each voxel center of the working grid."""
    head = space.head
    # The map itself where the grid is no finer: a pair at its own spacing shows it as it is.
    coarse = all(s > 0.999 * n for s, n in zip(working.spacing_mm, head.spacing_mm, strict=True))
    voxels = space.voxels(working, 1 if coarse else 2)
    classes = space.look_up(head.classes if coarse else head.fine, voxels)
    table = targets[torch.tensor(MIRROR)] if draw.geometry.flip else targets
    labels = table.to(space.device).index_select(0, classes.int().view(-1)).view(working.shape)
    if draw.stripping is not None:
        native = voxels if coarse else [v.div_(2, rounding_mode="floor") for v in voxels]
        labels.mul_(space.shown(draw.stripping, native, working))
    return labels
