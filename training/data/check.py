"""Check a data set, and report all problems at once."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import check_pair, read
from training.config.data import load_data_section
from training.config.paths import resolve_path
from training.data import dataset_at
from training.data.base import DataSet
from training.data.labels import OUTSIDE
from training.data.listing import CaseFiles, Listing, Problem, Severity
from training.data.splits import read_split

_LARGEST_UINT8 = 255
_PLAIN_WIDTH = 160  # of a table that is not printed to a terminal


@dataclass(frozen=True)
class DataReport:
    """Result of a check.

    Parameters
    ----------
    data
        Name of the data set.
    folder
        Folder of the data set.
    cases
        Number of cases without missing files.
    voxels
        Number of voxels of each label, by name, over all cases that could be read.
    problems
        All problems.
    """

    data: str
    folder: Path
    cases: int
    voxels: dict[str, int]
    problems: tuple[Problem, ...]

    def count(self, severity: Severity) -> int:
        """Return the number of problems of a severity."""
        return sum(problem.severity == severity for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "data": self.data,
            "folder": str(self.folder),
            "cases": self.cases,
            "voxels": self.voxels,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "problems": [asdict(problem) for problem in self.problems],
        }


def check(
    path: str | os.PathLike[str],
    *,
    show: ReportProgress = lambda fraction, message: None,
) -> DataReport:
    """Check a data set: its description, its list of cases, its split and every file.

    Parameters
    ----------
    path
        A folder or a YAML file; see `training.data.dataset_at`.
    show
        Called with the progress.

    Raises
    ------
    HyperspaceError
        If the data set cannot be opened.
    """
    data = dataset_at(path)
    found = Listing(problems=list(data.listing.problems))
    if not data.listing.cases:
        found.error("missing", "no labeled case was found", where=data.folder)
    section = data.section
    for key, values in (
        ("names", section.names),
        ("colors", section.colors),
        ("paired", section.paired),
    ):
        for value in sorted(set(values) - set(data.label_names)):
            found.error("configuration", f"data.{key}: the label value {value} does not exist")
    if max(data.label_names) > _LARGEST_UINT8:
        text = f"label values above {_LARGEST_UINT8} need files of 16 bits: {max(data.label_names)}"
        found.warning("labels", text)
    _check_split(Path(path), data, found)
    voxels = dict.fromkeys(data.label_names.values(), 0)
    seen: dict[bytes, str] = {}
    for number, case in enumerate(data.listing.cases):
        show(number / len(data.listing.cases), case.name)
        _check_case(data, case, found, voxels, seen)
    show(1.0, "done")
    for name, count in voxels.items():
        if not count and data.listing.cases:
            found.warning("labels", f"the label {name!r} does not occur in any case")
    return DataReport(
        data.name, data.folder, len(data.listing.cases), voxels, tuple(found.problems)
    )


def _check_case(
    data: DataSet,
    files: CaseFiles,
    found: Listing,
    voxels: dict[str, int],
    seen: dict[bytes, str],
) -> None:
    """Add all problems with the files of a case."""
    images: list[Volume] = []
    for path, index in files.images:
        with _noting(found, "image", files.name, path):
            images.append(read(path, volume=index))
    truth = None
    with _noting(found, "labels", files.name, files.label):
        truth = read(files.label)
    for image in images:
        with _noting(found, "image", files.name, image.metadata.get("path", "")):
            _check_image(image)
        if truth is not None:
            with _noting(found, "grid", files.name, files.label):
                check_pair(image, truth)
    if truth is not None:
        truth = _without_fractions(data, files, truth, found)
        with _noting(found, "labels", files.name, files.label):
            channels = data.rule.channels(data.rule.check(truth))
            counts = np.bincount(channels[channels > 0], minlength=len(voxels) + 1)[1:]
            for value, count in zip(sorted(data.label_names), counts.tolist(), strict=True):
                voxels[data.label_names[value]] += count
            if (channels == OUTSIDE).all():
                found.error("labels", "all labels are unknown", files.name, files.label)
    if images and len(images) == len(files.images):
        _check_copy(files, images, found, seen)


def _without_fractions(data: DataSet, files: CaseFiles, truth: Volume, found: Listing) -> Volume:
    """Add an error for fractional ids, and remove them so that unknown ids are found too."""
    if truth.dtype.kind != "f" or not (fractional := truth.array != np.round(truth.array)).any():
        return truth
    with _noting(found, "labels", files.name, files.label):
        data.rule.check(truth)
    return truth.with_array(np.where(fractional, 0, truth.array))


def _check_image(image: Volume) -> None:
    if image.array.min() == image.array.max():
        warnings.warn("all voxels are equal", HyperspaceWarning, stacklevel=2)


def _check_copy(
    files: CaseFiles, images: list[Volume], found: Listing, seen: dict[bytes, str]
) -> None:
    """Add a warning for an image that another case has too.

    Such cases may be in both parts of a split.
    """
    total = hashlib.blake2b(digest_size=16)
    for image in images:
        total.update(np.ascontiguousarray(image.array).data)
    first = seen.setdefault(total.digest(), files.name)
    if first != files.name:
        text = f"has the same voxels as {first}"
        found.warning("duplicate", text, files.name, files.images[0][0])


def _check_split(path: Path, data: DataSet, found: Listing) -> None:
    if data.section.split is None:
        return
    with _noting(found, "split", "", path):
        _, base = load_data_section(path)
        file = resolve_path(data.section.split, base, field="data.split")
        split = read_split(file)
        known = {case.name: case.subject for case in data.listing.cases}
        listed = [*split.training, *split.validation]
        for name in sorted(set(listed) - set(known)):
            found.error("split", "the split lists a case that does not exist", name, file)
        for name in sorted({name for name in listed if listed.count(name) > 1}):
            found.error("split", "the split lists a case twice", name, file)
        left = sorted(set(known) - set(listed))
        if left:
            found.warning("split", f"cases that are not in the split: {', '.join(left)}", "", file)
        training = {known.get(name) for name in split.training}
        for name in split.validation:
            if name in known and known[name] in training:
                text = f"its subject {known[name]} is in both parts of the split"
                found.warning("split", text, name, file)


@contextmanager
def _noting(found: Listing, kind: str, case: str, where: str | os.PathLike[str]) -> Iterator[None]:
    """Add errors and warnings for users to a listing instead of raising them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HyperspaceWarning)
        try:
            yield
        except HyperspaceError as error:
            problem = Problem.of(error, kind, case)
            found.problems.append(
                problem if problem.where else replace(problem, where=os.fspath(where))
            )
    for warning in caught:
        if issubclass(warning.category, HyperspaceWarning):
            text = str(warning.message).removeprefix(f"{where}: ")
            found.warning(kind, text, case, os.fspath(where))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


def describe(report: DataReport) -> str:
    """Return a report as text: a table of the problems, errors first, and a summary."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_PLAIN_WIDTH)
    with console.capture() as capture:
        if report.problems:
            table = Table("", "case", "file", "problem", box=box.SIMPLE_HEAD, pad_edge=False)
            for problem in sorted(report.problems, key=lambda problem: problem.severity):
                style = "bold red" if problem.severity == "error" else "yellow"
                table.add_row(
                    Text(problem.severity, style),
                    Text(problem.case),
                    Text(_relative(problem.where, report.folder)),
                    Text(_relative(problem.text, report.folder)),
                )
            console.print(table)
        console.print(Text(_summary(report)), soft_wrap=True)
    return capture.get().rstrip("\n")


def _summary(report: DataReport) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in report.voxels.items())
    return (
        f"{report.data}: {_number(report.cases, 'case')}, "
        f"{_number(report.count('error'), 'error')}, "
        f"{_number(report.count('warning'), 'warning')}; voxels: {shown}"
    )


def _number(count: int, word: str) -> str:
    return f"{count} {word}" + ("" if count == 1 else "s")


def _relative(text: str, root: Path) -> str:
    return text.replace(f"{root}{os.sep}", "")
