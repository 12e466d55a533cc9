"""What every data set offers, and the cases that come out of it."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.resample import resample_labels, resample_to_grid
from napari_hyperspace.core.separable import grid_matrices, resample_axes
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import check_pair, read
from training.config.data import DataSection
from training.data.labels import OUTSIDE, LabelRule, one_to_one
from training.data.listing import CaseFiles, Listing
from training.synthesis.labeled_head import LabeledHead

_TOLERANCE = 1e-4  # of a share of a voxel


@dataclass(frozen=True)
class Case:
    """A case in memory, in canonical order (z, y, x), normalized on its native grid.

    Parameters
    ----------
    name
        As in `CaseFiles`.
    image
        (C, D, H, W) float32.
    labels
        (D, H, W) int16, output channel of the network at each voxel; 0 is the background,
        `training.data.labels.OUTSIDE` where the label is not known.
    grid
        Native grid in canonical order.
    """

    name: str
    image: Tensor
    labels: Tensor
    grid: Grid

    @property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centers, in mm (z, y, x)."""
        return self.grid.spacing_mm

    def scans_at(self, spacing_mm: Sequence[float]) -> list[Case]:
        """Return what is scored of this case at a spacing: the case itself there."""
        return [self.at_spacing(spacing_mm)]

    def parts(self) -> Iterator[bytes]:
        """Return what makes this case differ from others: name, grid and voxels."""
        yield self.name.encode()
        yield self.grid.affine.tobytes()
        yield self.image.numpy().tobytes()
        yield self.labels.numpy().tobytes()

    def at_spacing(self, spacing_mm: Sequence[float]) -> Case:
        """Return this case on the working grid of a spacing (mm, canonical order).

        Each voxel has the label that covers most of it: the nearest voxel's label would be off by
        up to half a native voxel, which costs a perfect answer several hundredths of Dice. Where
        not all labels are known, see `resample_known`.
        """
        grid = self.grid.with_spacing(spacing_mm)
        image = resample_axes(self.image, grid_matrices(self.grid, grid))
        truth = Volume(self.labels.numpy(), self.grid)
        whole = truth.array.min() > OUTSIDE
        labels = resample_labels(truth, grid) if whole else resample_known(truth, grid)
        return Case(self.name, image.contiguous(), torch.from_numpy(labels.array.copy()), grid)


def resample_known(labels: Volume, grid: Grid) -> Volume:
    """Bring labels that are known in part to another grid.

    A new voxel takes the label that covers most of its known part. Its label is known if what is
    known covers at least half of the old voxel or of the new one along each axis, whichever is
    smaller: a labeled slice thinner than the new voxels stays one.

    Parameters
    ----------
    labels
        Channels, `OUTSIDE` where nothing is known, in canonical order.
    grid
        The grid to fill, with the same axes.
    """
    best = np.full(grid.shape, -1, np.float32)
    winner = np.full(grid.shape, OUTSIDE, labels.dtype)
    known = np.zeros(grid.shape, np.float32)
    for value in np.unique(labels.array[labels.array > OUTSIDE]):
        indicator = labels.with_array(labels.array == value)
        share = resample_to_grid(indicator, grid, order="overlap").array
        winner[share > best + _TOLERANCE] = value
        np.maximum(best, share, out=best)
        known += share
    steps = np.array(labels.spacing_mm) / grid.spacing_mm
    winner[known < 0.5 * min(1.0, float(steps.min())) - _TOLERANCE] = OUTSIDE
    return Volume(winner, grid, labels.name)


Source = Case | LabeledHead
"""Source of training samples: a scan with its labels, or a label map alone."""


@dataclass(frozen=True)
class Description:
    """What a data set says of itself, in its files or by its layout.

    Parameters
    ----------
    channel_names
        Name of each input channel.
    label_names
        Name of each label value, the background (0) left out.
    labels
        Ids of each label value; `None`: each value is its own id.
    ignore
        Ids of voxels whose label is not known.
    name
        What to call it; empty: as its folder.
    license
        License of the data, as far as the data set states it.
    """

    channel_names: tuple[str, ...]
    label_names: Mapping[int, str]
    labels: Mapping[int, Sequence[int]] | None = None
    ignore: tuple[int, ...] = ()
    name: str = ""
    license: str = ""


class DataSet(ABC):
    """A data set: its cases, its classes, its channels. A new layout is a subclass.

    Parameters
    ----------
    folder
        Where it lies.
    section
        Its configuration; `None`: what its layout says.

    Attributes
    ----------
    name
        What to call it.
    label_names
        Name of each label value, the background (0) left out.
    channel_names
        Name of each input channel.
    license
        License of the data, as far as the data set states it.
    rule
        What the ids in the files of labels mean.
    listing
        Its cases, and what was wrong when they were listed.

    Raises
    ------
    HyperspaceError
        If its description is missing or broken. Broken cases are in `listing`.
    """

    section_type: ClassVar[type[DataSection]]

    def __init__(self, folder: str | os.PathLike[str], section: DataSection | None = None) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise HyperspaceError("the folder of the data set does not exist", where=self.folder)
        self.section = section or self.section_type(folder=os.fspath(folder))
        about = self.describe()
        self.name = about.name or self.folder.resolve().name
        self.license = about.license
        self.channel_names = about.channel_names
        self.rule = _rule(self.section, about, self.folder)
        self.label_names = self.rule.names
        self.listing = _without(self.section.exclude, self.find())

    @classmethod
    @abstractmethod
    def recognizes(cls, folder: Path) -> bool:
        """Whether a folder looks like this layout."""

    @abstractmethod
    def describe(self) -> Description:
        """Say what the data set holds; called first."""

    @abstractmethod
    def find(self) -> Listing:
        """List the labeled cases, in a fixed order, and all that is wrong with them."""

    def cases(self) -> Sequence[CaseFiles]:
        """Return the labeled cases, in a fixed order.

        Raises
        ------
        HyperspaceError
            If there is none, or files are missing or listed twice; all of them are named.
        """
        errors = [problem for problem in self.listing.problems if problem.severity == "error"]
        if errors:
            raise HyperspaceError(
                "the list of cases is broken:\n  " + "\n  ".join(map(str, errors)),
                where=self.folder,
                fix="Mend it, or leave these cases out with data.exclude",
            )
        if not self.listing.cases:
            raise HyperspaceError("no labeled case was found", where=self.folder)
        return self.listing.cases

    def load(self, names: Sequence[str], normalization: Normalization) -> list[Case]:
        """Read cases into memory.

        Raises
        ------
        HyperspaceError
            If a name is unknown, or image and label do not fit each other.
        """
        return [self._load_case(files, normalization) for files in self._named(names)]

    def _named(self, names: Sequence[str]) -> list[CaseFiles]:
        """Return the files of the cases of these names."""
        known = {case.name: case for case in self.cases()}
        missing = [name for name in names if name not in known]
        if missing:
            raise HyperspaceError(
                "the data set has no such case",
                where=self.name,
                found=", ".join(missing[:10]) + (" …" if len(missing) > 10 else ""),
                fix="Correct the split file",
            )
        return [known[name] for name in names]

    def sources(self, names: Sequence[str], normalization: Normalization) -> Sequence[Source]:
        """Read the sources of training samples: here, the cases.

        Raises
        ------
        HyperspaceError
            As `load` does.
        """
        return self.load(names, normalization)

    def _load_case(self, files: CaseFiles, normalization: Normalization) -> Case:
        volumes = [read(path, volume=index) for path, index in files.images]
        labels = self.rule.check(read(files.label))
        for volume in volumes:
            check_pair(volume, labels)
        turned = [volume.canonical() for volume in volumes]
        image = np.stack([normalization.apply(volume.array) for volume in turned])
        channels = torch.from_numpy(self.rule.channels(labels))
        return Case(files.name, torch.from_numpy(image), channels, turned[0].grid)


def _rule(section: DataSection, about: Description, folder: Path) -> LabelRule:
    """Merge what the configuration says of the labels into what the data set does."""
    ids = section.labels or about.labels or one_to_one(about.label_names or section.names)
    names = {value: name for value, name in about.label_names.items() if value in ids}
    # A name for a label that there is not is refused where the run is checked.
    names |= {value: name for value, name in section.names.items() if value in ids}
    try:
        return LabelRule(names, ids, (*about.ignore, *section.ignore), section.sparse)
    except HyperspaceError as error:
        raise error.replace(where=folder) from error


def _without(patterns: Sequence[str], listing: Listing) -> Listing:
    """Leave out the cases, and their problems, whose names match a pattern."""

    def left_out(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    named = {case.name for case in listing.cases} | {p.case for p in listing.problems}
    kept = Listing(
        [case for case in listing.cases if not left_out(case.name)],
        [problem for problem in listing.problems if not (problem.case and left_out(problem.case))],
    )
    for pattern in patterns:
        if not fnmatch.filter(named, pattern):
            kept.warning("configuration", f"data.exclude: no case is called {pattern}")
    return kept


class Fingerprinted(Protocol):
    """What a run can be trained on or judged by."""

    def parts(self) -> Iterator[bytes]:
        """Return what makes it differ from others."""
        ...


def digest(cases: Iterable[Fingerprinted]) -> str:
    """Return a fingerprint of cases."""
    total = hashlib.blake2b(digest_size=16)
    for case in cases:
        for part in case.parts():
            total.update(part)
    return total.hexdigest()
