"""The base class of data sets, and their cases."""

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

_TOLERANCE = 1e-4  # of a fraction of a voxel


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
        (D, H, W) int16, output channel of the network for each voxel; 0 is the background, and
        `training.data.labels.OUTSIDE` means that the label is unknown.
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
        """Return the cases to score at a spacing: this case on that working grid."""
        return [self.at_spacing(spacing_mm)]

    def parts(self) -> Iterator[bytes]:
        """Return the data that identifies this case: name, grid and voxels."""
        yield self.name.encode()
        yield self.grid.affine.tobytes()
        yield self.image.numpy().tobytes()
        yield self.labels.numpy().tobytes()

    def at_spacing(self, spacing_mm: Sequence[float]) -> Case:
        """Return this case on the working grid of a spacing (mm, canonical order).

        Each voxel gets the label that covers most of it. The label of the nearest voxel would be
        displaced by up to half a native voxel, which reduces the Dice of a perfect prediction by
        several hundredths. For partially known labels, see `resample_known`.
        """
        grid = self.grid.with_spacing(spacing_mm)
        image = resample_axes(self.image, grid_matrices(self.grid, grid))
        truth = Volume(self.labels.numpy(), self.grid)
        complete = truth.array.min() > OUTSIDE
        labels = resample_labels(truth, grid) if complete else resample_known(truth, grid)
        return Case(self.name, image.contiguous(), torch.from_numpy(labels.array.copy()), grid)


def resample_known(labels: Volume, grid: Grid) -> Volume:
    """Resample partially known labels to another grid.

    A new voxel gets the label that covers most of its known part. Its label is known if the known
    part covers at least half of the smaller one of the old and the new voxel along each axis, so
    that a single labeled slice that is thinner than the new voxels stays labeled.

    Parameters
    ----------
    labels
        Channels in canonical order, `OUTSIDE` where the label is unknown.
    grid
        The new grid, with the same axes.
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
    """Channels and labels of a data set, as stated by its files or defined by its layout.

    Parameters
    ----------
    channel_names
        Name of each input channel.
    label_names
        Name of each label value, without the background (0).
    labels
        Ids of each label value; `None`: each value is its own id.
    ignore
        Ids of voxels whose label is unknown.
    name
        Name of the data set; empty: the name of its folder.
    license
        License of the data; empty if the data set does not state it.
    """

    channel_names: tuple[str, ...]
    label_names: Mapping[int, str]
    labels: Mapping[int, Sequence[int]] | None = None
    ignore: tuple[int, ...] = ()
    name: str = ""
    license: str = ""


class DataSet(ABC):
    """A data set: its cases, labels and channels. Each layout is a subclass.

    Subclasses implement `recognizes`, `describe` and `find`. The latter two depend only on `folder`
    and `section`; a file that both need is read by a cached property.

    Parameters
    ----------
    folder
        Folder of the data set.
    section
        Its configuration; `None`: the defaults of the layout.

    Attributes
    ----------
    name
        Name of the data set.
    label_names
        Name of each label value, without the background (0).
    channel_names
        Name of each input channel.
    license
        License of the data; empty if the data set does not state it.
    rule
        Meaning of the ids in label maps.
    listing
        The cases, and the problems found when they were listed.

    Raises
    ------
    HyperspaceError
        If the description of the data set is missing or not valid. Problems with single cases are
        in `listing`.
    """

    section_type: ClassVar[type[DataSection]]
    section: DataSection

    def __init__(self, folder: str | os.PathLike[str], section: DataSection | None = None) -> None:
        self.folder = Path(folder)
        if not os.path.isdir(self.folder):  # false for a name that is too long, too
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
        """Whether a folder has this layout."""

    @abstractmethod
    def describe(self) -> Description:
        """Return the channels and labels of the data set."""

    @abstractmethod
    def find(self) -> Listing:
        """Return the labeled cases in a fixed order, and all problems with their files."""

    def cases(self) -> Sequence[CaseFiles]:
        """Return the labeled cases, in a fixed order.

        Raises
        ------
        HyperspaceError
            If there are none, or files are missing or listed twice; all of these are named.
        """
        errors = [problem for problem in self.listing.problems if problem.severity == "error"]
        if errors:
            raise HyperspaceError(
                "the list of cases is not valid:\n  " + "\n  ".join(map(str, errors)),
                where=self.folder,
                fix="Correct it, or leave these cases out with data.exclude",
            )
        if not self.listing.cases:
            raise HyperspaceError("no labeled case was found", where=self.folder)
        return self.listing.cases

    def load(self, names: Sequence[str], normalization: Normalization) -> list[Case]:
        """Read cases into memory.

        Raises
        ------
        HyperspaceError
            If a name is unknown, or an image and its label map are not on the same grid.
        """
        return [self._load_case(files, normalization) for files in self._named(names)]

    def _named(self, names: Sequence[str]) -> list[CaseFiles]:
        """Return the files of the cases of these names."""
        known = {case.name: case for case in self.cases()}
        missing = [name for name in names if name not in known]
        if missing:
            raise HyperspaceError(
                "the data set does not have these cases",
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
        canonical = [volume.canonical() for volume in volumes]
        image = np.stack([normalization.apply(volume.array) for volume in canonical])
        channels = torch.from_numpy(self.rule.channels(labels))
        return Case(files.name, torch.from_numpy(image), channels, canonical[0].grid)


def _rule(section: DataSection, about: Description, folder: Path) -> LabelRule:
    """Combine the labels of the configuration with those of the data set."""
    ids = section.labels or about.labels or one_to_one(about.label_names or section.names)
    names = {value: name for value, name in about.label_names.items() if value in ids}
    # A name for a label value that does not exist is refused when the run is checked.
    names |= {value: name for value, name in section.names.items() if value in ids}
    try:
        return LabelRule(names, ids, (*about.ignore, *section.ignore), section.sparse)
    except HyperspaceError as error:
        raise error.replace(where=folder) from error


def _without(patterns: Sequence[str], listing: Listing) -> Listing:
    """Remove the cases, and their problems, whose names match a pattern."""

    def left_out(name: str) -> bool:
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    named = {case.name for case in listing.cases} | {p.case for p in listing.problems}
    kept = Listing(
        [case for case in listing.cases if not left_out(case.name)],
        [problem for problem in listing.problems if not (problem.case and left_out(problem.case))],
    )
    for pattern in patterns:
        if not fnmatch.filter(named, pattern):
            kept.warning("configuration", f"data.exclude: no case matches {pattern}")
    return kept


class Fingerprinted(Protocol):
    """Training data or validation data of a run."""

    def parts(self) -> Iterator[bytes]:
        """Return the data that identifies it."""
        ...


def digest(cases: Iterable[Fingerprinted]) -> str:
    """Return a hash of cases."""
    total = hashlib.blake2b(digest_size=16)
    for case in cases:
        for part in case.parts():
            total.update(part)
    return total.hexdigest()
