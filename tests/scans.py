"""Small scans for tests of the engine, and an oracle for their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.separable import grid_matrices, resample_axes
from napari_hyperspace.core.volume import Volume
from tests.models import FakeModel

EPS = float(np.finfo(np.float32).eps)
INTERPOLATION_ERROR = 16 * EPS  # of three float32 interpolations, relative to the largest logit


def rotated_affine(spacing_mm, order=(2, 0, 1), flips=(1, -1, -1), angle=0.2):
    """An oblique affine whose array axes are permuted and flipped."""
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[:, list(order)] * flips * spacing_mm
    affine[:3, 3] = (-31.5, 12.25, 7)
    return affine


def scan(shape=(19, 14, 23), spacing_mm=(1.1, 2.3, 0.9), seed=0, **axes) -> Volume:
    """Smooth noise on an oblique grid; ``axes`` as in `rotated_affine`."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    image = (100 + 40 * gaussian_filter(noise, 1)).astype(np.float32)
    grid = Grid(shape, rotated_affine(spacing_mm, **axes))
    return Volume(image, grid, "scan", {"path": "scan.nii"})


def interpolated(logits: np.ndarray, working: Grid, native: Grid) -> np.ndarray:
    """Each channel at each native voxel, linearly interpolated through the affines, float64."""
    index = np.stack(np.meshgrid(*map(np.arange, native.shape), indexing="ij"), axis=-1)
    at = np.moveaxis(working.mm_to_index(native.index_to_mm(index)), -1, 0)
    channels = logits.astype(np.float64)
    return np.stack([map_coordinates(c, at, order=1, mode="nearest") for c in channels])


def labels_and_gap(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of the largest logit, and by how much it exceeds the second largest."""
    ordered = np.sort(logits, axis=0)
    return np.argmax(logits, axis=0), ordered[-1] - ordered[-2]


def oracle(
    volumes: Sequence[Volume], model: FakeModel, spacing_mm=None
) -> tuple[np.ndarray, np.ndarray]:
    """Labels in float64, all channels at native size, in the array order of the scan.

    Returns
    -------
    tuple
        The labels, and where they are clear: where the logits of two classes differ by more than
        float32 may change them. That is four times the float32 error of the same reference, for
        each of the two classes, and the error of interpolating logits in float32.
    """
    canonical = [v.canonical() for v in volumes]
    native = canonical[0].grid
    working = native.with_spacing(spacing_mm or native.spacing_mm)
    matrices = grid_matrices(native, working)
    network = model.network(working.spacing_mm)
    logits = {}
    for dtype in (torch.float64, torch.float32):
        channels = []
        for volume in canonical:
            array = volume.array.astype(np.float64)
            normalized = torch.from_numpy((array - array.mean()) / array.std()).to(dtype)
            channels.append(resample_axes(normalized, matrices))
        with torch.no_grad():
            logits[dtype] = network.to(dtype)(torch.stack(channels)[None])[0].double().numpy()
    reference = logits[torch.float64]
    error = 4 * np.abs(logits[torch.float32] - reference).max()
    error += INTERPOLATION_ERROR * np.abs(reference).max()
    labels, gap = labels_and_gap(interpolated(reference, working, native))
    values = np.array(model.label_values)[labels]
    orientation = volumes[0].grid.orientation
    return orientation.from_canonical(values), orientation.from_canonical(gap > 2 * error)


def peak_growth(work) -> int:
    """By how many bytes the resident memory of this process grows in a call, at its peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak that the kernel records
        before = _memory_status("VmRSS")
    except OSError:
        pytest.skip("this system does not record the peak of resident memory")
    work()
    return _memory_status("VmHWM") - before


def _memory_status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))
