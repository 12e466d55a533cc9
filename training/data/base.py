"""What every data set offers, and the cases that come out of it."""

from __future__ import annotations

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.intensity import Normalisation
from napari_hyperspace.core.resample import grid_matrices, resample_axes, resample_to_grid
from napari_hyperspace.core.volume import Volume


@dataclass(frozen=True)
class CaseFiles:
    """Where a case lies.

    Parameters
    ----------
    name
        What splits, logs and errors call it.
    images
        (file, volume in it or `None`) of each channel.
    label
        File of the label map.
    """

    name: str
    images: tuple[tuple[Path, int | None], ...]
    label: Path


@dataclass(frozen=True)
class Case:
    """A case in memory, in canonical order (z, y, x), normalised on its native grid.

    Parameters
    ----------
    name
        As in `CaseFiles`.
    image
        (C, D, H, W) float32.
    labels
        (D, H, W) int16, output channel of the network at each voxel; 0 is the background.
    grid
        Native grid in canonical order.
    """

    name: str
    image: Tensor
    labels: Tensor
    grid: Grid

    @property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centres, in mm (z, y, x)."""
        return self.grid.spacing_mm

    def at_spacing(self, spacing_mm: Sequence[float]) -> Case:
        """Return this case on the working grid of a spacing (mm, canonical order)."""
        grid = self.grid.with_spacing(spacing_mm)
        image = resample_axes(self.image, grid_matrices(self.grid, grid))
        labels = resample_to_grid(Volume(self.labels.numpy(), self.grid), grid, order="nearest")
        return Case(self.name, image.contiguous(), torch.from_numpy(labels.array.copy()), grid)


class DataSet(ABC):
    """A data set: its cases, its classes, its channels. A new layout is a subclass."""

    name: str
    """What to call it."""
    label_names: Mapping[int, str]
    """Name of each label value, the background (0) left out."""
    channel_names: tuple[str, ...]
    """Name of each input channel."""
    licence: str = ""
    """Licence of the data, as far as the data set states it."""

    @abstractmethod
    def cases(self) -> Sequence[CaseFiles]:
        """List the labelled cases, in a fixed order."""

    def load(self, names: Sequence[str], normalisation: Normalisation) -> list[Case]:
        """Read cases into memory.

        Raises
        ------
        HyperspaceError
            If a name is unknown, or image and label do not fit each other.
        """
        known = {case.name: case for case in self.cases()}
        missing = [name for name in names if name not in known]
        if missing:
            raise HyperspaceError(
                "the data set has no such case",
                where=self.name,
                found=", ".join(missing[:10]) + (" …" if len(missing) > 10 else ""),
                fix="Correct the split file",
            )
        return [self._load_case(known[name], normalisation) for name in names]

    def _load_case(self, files: CaseFiles, normalisation: Normalisation) -> Case:
        try:
            from napari_hyperspace.io import read
        except ImportError:
            import nibabel

            def read(path, volume=None):
                image = nibabel.load(path)
                from napari_hyperspace.core.geometry import Grid as G

                return Volume(np.asarray(image.dataobj), G(image.shape, image.affine))

        volumes = [read(path, volume=index).canonical() for path, index in files.images]
        label = read(files.label).canonical()
        for path, volume in zip((path for path, _ in files.images), volumes, strict=True):
            if not volume.grid.is_close(label.grid):
                apart = volume.grid.corner_distance_mm(label.grid)
                raise HyperspaceError(
                    "label map and image are not on the same grid",
                    where=files.label,
                    found=f"shape {label.shape}, corners up to {apart:.3g} mm apart",
                    expected=f"the grid of {path.name}, shape {volume.shape}",
                )
        image = np.stack([normalisation.apply(volume.array) for volume in volumes])
        return Case(
            files.name,
            torch.from_numpy(np.ascontiguousarray(image)),
            torch.from_numpy(self._channels(label.array, files.label)),
            volumes[0].grid,
        )

    def _channels(self, values: np.ndarray, path: Path) -> np.ndarray:
        """Turn label values into the output channel of each."""
        known = np.array([0, *sorted(self.label_names)])
        present, counts = np.unique(values, return_counts=True)
        strange = [
            f"{value:g} ({count} voxels)"
            for value, count in zip(present, counts, strict=True)
            if value not in known
        ]
        if strange:
            raise HyperspaceError(
                "the label map holds values that the data set does not name",
                where=path,
                found=", ".join(strange[:10]),
                expected=", ".join(str(value) for value in known),
            )
        if len(present) == 1 and present[0] == 0:
            warnings.warn(f"{path}: the label map is all background", HyperspaceWarning, 2)
        return np.searchsorted(known, values).astype(np.int16)


def digest(cases: Sequence[Case]) -> str:
    """Return a fingerprint of cases: names, grids and voxels."""
    total = hashlib.blake2b(digest_size=16)
    for case in cases:
        total.update(case.name.encode())
        total.update(case.grid.affine.tobytes())
        total.update(case.image.numpy().tobytes())
        total.update(case.labels.numpy().tobytes())
    return total.hexdigest()
