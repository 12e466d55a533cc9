"""What every data set offers, and the cases that come out of it."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.intensity import Normalisation
from napari_hyperspace.core.resample import grid_matrices, resample_axes, resample_labels
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import check_labels, check_pair, read


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
        """Return this case on the working grid of a spacing (mm, canonical order).

        Each voxel has the label that covers most of it: the nearest voxel's label would be off by
        up to half a native voxel, which costs a perfect answer several hundredths of Dice.
        """
        grid = self.grid.with_spacing(spacing_mm)
        image = resample_axes(self.image, grid_matrices(self.grid, grid))
        labels = resample_labels(Volume(self.labels.numpy(), self.grid), grid)
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
        volumes = [read(path, volume=index) for path, index in files.images]
        labels = check_labels(read(files.label), self.label_names)
        for volume in volumes:
            check_pair(volume, labels)
        turned = [volume.canonical() for volume in volumes]
        image = np.stack([normalisation.apply(volume.array) for volume in turned])
        values = np.array([0, *sorted(self.label_names)])
        channels = np.searchsorted(values, labels.canonical().array).astype(np.int16)
        return Case(files.name, torch.from_numpy(image), torch.from_numpy(channels), turned[0].grid)


def digest(cases: Sequence[Case]) -> str:
    """Return a fingerprint of cases: names, grids and voxels."""
    total = hashlib.blake2b(digest_size=16)
    for case in cases:
        total.update(case.name.encode())
        total.update(case.grid.affine.tobytes())
        total.update(case.image.numpy().tobytes())
        total.update(case.labels.numpy().tobytes())
    return total.hexdigest()
