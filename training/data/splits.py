"""Splits of the cases into training and validation, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import read_json
from training.seeding import generator

_PARTS = ("training", "validation")


@dataclass(frozen=True)
class Split:
    """Names of the cases of each part; the parts are disjoint."""

    training: tuple[str, ...]
    validation: tuple[str, ...]

    def to_json(self) -> str:
        """Return the text of a split file."""
        parts = {"training": self.training, "validation": self.validation}
        return json.dumps(parts, indent=1) + "\n"


def random_split(
    names: Sequence[str],
    n_validation: int,
    seed: int,
    subjects: Mapping[str, str] | None = None,
) -> Split:
    """Choose random validation cases, which depend only on the names and the seed.

    Parameters
    ----------
    names
        Names of all cases.
    n_validation
        Number of validation cases. There are more if the cases of a subject would be separated
        otherwise.
    seed
        Seed of the choice.
    subjects
        The person scanned in each case; `None`: a different one in each.

    Raises
    ------
    HyperspaceError
        If no case is left for training.
    """
    if n_validation >= len(names):
        raise HyperspaceError(
            "no case is left for training",
            field="data.validation_cases",
            found=n_validation,
            expected=f"fewer than the {len(names)} cases of the data set",
        )
    chosen = generator(seed, "split").choice(len(names), n_validation, replace=False)
    ordered = [sorted(names)[i] for i in chosen]
    validation = _whole_subjects(ordered, names, subjects or {name: name for name in names})
    if len(validation) == len(names):
        raise HyperspaceError(
            "no case is left for training, because the cases of a subject stay together",
            field="data.validation_cases",
            found=n_validation,
        )
    return Split(
        tuple(sorted(set(names) - validation)),
        tuple(sorted(validation)),
    )


def _whole_subjects(
    chosen: Sequence[str], names: Sequence[str], subjects: Mapping[str, str]
) -> set[str]:
    """Take all cases of one subject after the other, in the order of the chosen cases."""
    taken: set[str] = set()
    for name in chosen:
        if len(taken) < len(chosen):
            taken |= {other for other in names if subjects[other] == subjects[name]}
    return taken


def read_split(path: Path) -> Split:
    """Read a split file: JSON with the lists `training` and `validation`.

    Raises
    ------
    HyperspaceError
        If it cannot be read, a list is missing or empty, or both contain the same case.
    """
    parts = read_json(path, "split")
    lists = [parts.get(key) if isinstance(parts, dict) else None for key in _PARTS]
    if not all(isinstance(names, list) for names in lists):
        raise HyperspaceError(
            "a split must be JSON with the lists training and validation", where=path
        )
    training, validation = (tuple(map(str, names or ())) for names in lists)
    both = sorted(set(training) & set(validation))
    if both or not training or not validation:
        raise HyperspaceError(
            "the two parts of a split must be disjoint and not empty",
            where=path,
            found=f"{len(training)} and {len(validation)} cases, shared: {', '.join(both) or '-'}",
        )
    return Split(training, validation)
