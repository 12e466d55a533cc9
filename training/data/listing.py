"""What is found in a data set's folder: its cases, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from napari_hyperspace.core.errors import HyperspaceError

Severity = Literal["error", "warning"]
Found = Iterable[tuple[str, Path]]  # name of a case, and a file of it


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
    subject
        Who was scanned; a subject's cases are never parted by a split that is drawn.
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
    """Something wrong with a data set.

    Parameters
    ----------
    severity
        An error makes the case useless, a warning is for people to judge.
    kind
        In one word: what it concerns.
    text
        What is wrong, what was found, what was expected, the way out.
    case
        Name of the case; empty: the whole data set.
    where
        File, if it is about one.
    """

    severity: Severity
    kind: str
    text: str
    case: str = ""
    where: str = ""

    @classmethod
    def of(cls, error: HyperspaceError, kind: str, case: str = "") -> Problem:
        """Make one of an error."""
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
    """The cases of a data set in a fixed order, and the problems met when they were listed."""

    cases: list[CaseFiles] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def error(self, kind: str, text: str, case: str = "", where: str | Path = "") -> None:
        """Note an error."""
        self.problems.append(Problem("error", kind, text, case, os.fspath(where)))

    def warning(self, kind: str, text: str, case: str = "", where: str | Path = "") -> None:
        """Note a warning."""
        self.problems.append(Problem("warning", kind, text, case, os.fspath(where)))

    def add(self, case: CaseFiles) -> None:
        """Add a case that a list names; its files must exist and its name be new."""
        files = dict.fromkeys([path for path, _ in case.images] + [case.label])
        missing = [path for path in files if not path.is_file()]
        for path in missing:
            self.error("missing", "a file is missing", case.name, path)
        if not missing:
            self.cases.append(case)

    def find_duplicates(self) -> None:
        """Note names and files that are listed more than once, and keep the first case of each."""
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
                    "duplicate", f"a file of several cases: {', '.join(names)}", names[0], path
                )
        self.cases = [cases[0] for cases in by_name.values()]


def pair(
    channels: Sequence[Found],
    labels: Found,
    channel_names: Sequence[str] = ("",),
    subject: Callable[[str], str] = str,
) -> Listing:
    """Bring images and label maps together by the names of their cases.

    Parameters
    ----------
    channels
        The images found of each channel.
    labels
        The label maps found.
    channel_names
        Name of each channel, for messages; empty where there is one only.
    subject
        Tells who was scanned from the name of a case.

    Returns
    -------
    Listing
        Cases ordered by name. Those without a partner and files too many are problems.
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
            listing.error(
                "duplicate", f"{len(paths)} files where one {what} is wanted: {others}", name
            )
    return {name: paths[0] for name, paths in files.items()}
