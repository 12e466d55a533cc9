"""The cases found in the folder of a data set, and problems with their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_hyperspace.core.errors import HyperspaceError

Severity = Literal["error", "warning"]
Found = Iterable[tuple[str, Path]]  # name of a case, and one of its files


@dataclass(frozen=True)
class CaseFiles:
    """The files of a case.

    Parameters
    ----------
    name
        Name of the case in splits, logs and errors.
    images
        File of each channel, and the index of the volume in it or `None`.
    label
        File of the label map.
    subject
        The person scanned; a random split does not separate the cases of a subject.
    """

    name: str
    images: tuple[tuple[Path, int | None], ...]
    label: Path
    subject: str = ""

    def __post_init__(self) -> None:
        if not self.subject:
            object.__setattr__(self, "subject", self.name)


@dataclass(frozen=True)
class Problem:
    """A problem with a data set.

    Parameters
    ----------
    severity
        With an error, the case cannot be used; a warning needs the judgment of a person.
    kind
        Category, one word.
    text
        The problem, the value found and expected, and what to do.
    case
        Name of the case; empty: the whole data set.
    where
        File with the problem; empty: none.
    """

    severity: Severity
    kind: str
    text: str
    case: str = ""
    where: str = ""

    @classmethod
    def of(cls, error: HyperspaceError, kind: str, case: str = "") -> Problem:
        """Convert an error."""
        text = HyperspaceError(
            error.problem,
            field=error.field,
            found=error.found,
            expected=error.expected,
            fix=error.fix,
        )
        return cls("error", kind, str(text), case, error.where or "")

    def __str__(self) -> str:
        return ": ".join(part for part in (self.case, self.text, self.where) if part)


@dataclass
class Listing:
    """The cases of a data set in a fixed order, and the problems found when they were listed."""

    cases: list[CaseFiles] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def error(self, kind: str, text: str, case: str = "", where: str | Path = "") -> None:
        """Add an error."""
        self.problems.append(Problem("error", kind, text, case, os.fspath(where)))

    def warning(self, kind: str, text: str, case: str = "", where: str | Path = "") -> None:
        """Add a warning."""
        self.problems.append(Problem("warning", kind, text, case, os.fspath(where)))

    def add(self, case: CaseFiles) -> None:
        """Add a case; missing files are added as errors instead."""
        files = dict.fromkeys([path for path, _ in case.images] + [case.label])
        # Unlike `Path.is_file`, false for a name that is too long or not valid.
        missing = [path for path in files if not os.path.isfile(path)]
        for path in missing:
            self.error("missing", "a file is missing", case.name, path)
        if not missing:
            self.cases.append(case)

    def find_duplicates(self) -> None:
        """Add errors for names and files that occur twice; keep the first case of each name."""
        by_name: dict[str, list[CaseFiles]] = {}
        by_file: dict[Path, list[str]] = {}
        for case in self.cases:
            by_name.setdefault(case.name, []).append(case)
            for path in dict.fromkeys([*(path for path, _ in case.images), case.label]):
                by_file.setdefault(path, []).append(case.name)
        for name, cases in by_name.items():
            if len(cases) > 1:
                self.error("duplicate", f"listed {len(cases)} times: {name}", name)
        for path, names in by_file.items():
            if len(set(names)) > 1:
                self.error(
                    "duplicate",
                    f"the file belongs to several cases: {', '.join(names)}",
                    names[0],
                    path,
                )
        self.cases = [cases[0] for cases in by_name.values()]


def match_files(
    channels: Sequence[Found],
    labels: Found,
    channel_names: Sequence[str] = ("",),
    subject: Callable[[str], str] = str,
) -> Listing:
    """Match images and label maps by the names of their cases.

    Parameters
    ----------
    channels
        The images found of each channel.
    labels
        The label maps found.
    channel_names
        Name of each channel, for messages; empty if there is only one.
    subject
        Returns the person scanned, given the name of a case.

    Returns
    -------
    Listing
        Cases ordered by name. Missing and duplicate files are problems.
    """
    listing = Listing()
    words = [f"image ({name})" if name else "image" for name in channel_names]
    *images, truths = (
        _by_name(found, what, listing)
        for found, what in zip((*channels, labels), (*words, "label map"), strict=True)
    )
    for name in sorted({*truths, *(name for found in images for name in found)}):
        present = [found.get(name) for found in (*images, truths)]
        files = [path for path in present if path is not None]
        for what, path in zip((*words, "label map"), present, strict=True):
            if path is None:
                listing.error("missing", f"no {what} of this case", name, files[0])
        if len(files) == len(present):
            case = CaseFiles(name, tuple((f, None) for f in files[:-1]), files[-1], subject(name))
            listing.cases.append(case)
    return listing


def _by_name(found: Found, what: str, listing: Listing) -> dict[str, Path]:
    files: dict[str, list[Path]] = {}
    for name, path in sorted(found):
        files.setdefault(name, []).append(path)
    for name, paths in files.items():
        if len(paths) > 1:
            others = ", ".join(path.name for path in paths)
            listing.error("duplicate", f"{len(paths)} files instead of one {what}: {others}", name)
    return {name: paths[0] for name, paths in files.items()}
