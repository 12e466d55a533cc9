"""The file `dataset.json` of the Decathlon and of nnU-Net, and paths in lists of cases."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import read_json

FILE = "dataset.json"
_NUMBER = re.compile("0|[1-9][0-9]{0,8}")


def read_description(folder: Path) -> dict[str, Any]:
    """Read `dataset.json`.

    Raises
    ------
    HyperspaceError
        If it is missing or is not a JSON mapping.
    """
    path = folder / FILE
    if not path.is_file():
        raise HyperspaceError(
            "the data set has no description",
            where=path,
            fix="Choose a folder in the layout of the Medical Segmentation Decathlon or of nnU-Net",
        )
    description = read_json(path, "description of the data set")
    if not isinstance(description, dict):
        raise HyperspaceError("a mapping is expected", where=path)
    return description


def has_key(folder: Path, key: str) -> bool:
    """Whether a folder contains a `dataset.json` with a key."""
    try:
        return key in read_description(folder)
    except HyperspaceError:
        return False


def numbered(description: dict[str, Any], key: str, folder: Path) -> dict[int, str]:
    """Return a mapping of numbers to names, ordered by number.

    Raises
    ------
    HyperspaceError
        If it is not such a mapping, or is empty.
    """
    part = description.get(key)
    if not isinstance(part, dict) or not part or not all(map(_NUMBER.fullmatch, part)):
        raise HyperspaceError(
            'a mapping of numbers to names is expected, such as {"0": "background"}',
            where=folder / FILE,
            field=key,
            found=part,
        )
    return {int(number): str(part[number]) for number in sorted(part, key=int)}


def license_of(description: dict[str, Any]) -> str:
    """Return the license; both spellings of the key occur."""
    return str(description.get("licence") or description.get("license") or "")


def inside(folder: Path, text: str, listed_in: Path) -> Path:
    """Resolve a path in a data set's list of cases.

    Raises
    ------
    HyperspaceError
        If it is outside of the data set's folder.
    """
    path = Path(os.path.normpath(folder / text))
    if not path.is_relative_to(os.path.normpath(folder)):
        raise HyperspaceError(
            "a file is outside of the data set's folder", where=listed_in, found=text
        )
    return path


def case_name(path: Path) -> str:
    """Return a file's name without its extension; `.nii.gz` is one extension."""
    return path.name.removesuffix(".gz").removesuffix(".nii") if _nifti(path) else path.stem


def _nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz"))
