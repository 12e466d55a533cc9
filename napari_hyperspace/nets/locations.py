"""Where model files are: those of the package, the user's own, and further folders.

The user's own models are in one folder. It also has the list of further folders, whose models are
found by name as well but are never changed. Of several models with one name the first counts, in
this order, so that no file hides a bundled model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path

from napari_hyperspace._resources import resource_path
from napari_hyperspace.core.errors import HyperspaceError

__all__ = [
    "FOLDERS_FILE",
    "FOLDER_VARIABLE",
    "InstalledModel",
    "Origin",
    "bundled_models",
    "find_model",
    "further_folders",
    "installed_models",
    "own_folder",
]

FOLDER_VARIABLE = "HYPERSPACE_MODELS"
"""Environment variable: the folder of the user's own models."""

FOLDERS_FILE = "folders.json"

Origin = Literal["bundled", "own", "folder"]
"""Where a model is: in the package, in the user's own folder, or in a further folder."""

_PATTERN = "*.safetensors"


@dataclass(frozen=True)
class InstalledModel:
    """A model that is found by its name."""

    name: str
    path: Path
    origin: Origin


def own_folder() -> Path:
    """Return the folder of the user's own models, which need not exist.

    It is `HYPERSPACE_MODELS` if that is set, else one in the user's data folder.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else user_data_path("napari-hyperspace") / "models"


def further_folders() -> list[Path]:
    """Return the further folders with models; none if their list is not readable."""
    with suppress(OSError, ValueError, RecursionError):
        listed = json.loads((own_folder() / FOLDERS_FILE).read_text(encoding="utf-8"))
        if isinstance(listed, list):
            return [Path(each) for each in listed if isinstance(each, str) and each]
    return []


def bundled_models() -> dict[str, Path]:
    """Return name and path of the model files that ship with the package."""
    return {path.stem: path for path in _files(resource_path("models"))}


def installed_models() -> dict[str, InstalledModel]:
    """Return the models that are found by name, bundled ones first."""
    found: dict[str, InstalledModel] = {}
    places: list[tuple[Origin, Path]] = [
        ("bundled", resource_path("models")),
        ("own", own_folder()),
        *(("folder", folder) for folder in further_folders()),
    ]
    for origin, folder in places:
        for path in _files(folder):
            found.setdefault(path.stem, InstalledModel(path.stem, path, origin))
    return found


def find_model(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the path of a model file, given that path or the name of an installed model.

    Raises
    ------
    HyperspaceError
        If there is no such file and no such model.
    """
    path = Path(name_or_path)
    with suppress(OSError, ValueError):  # the name is too long for a file, or not valid
        if path.is_file():
            return path
    installed = installed_models()
    if str(name_or_path) in installed:
        return installed[str(name_or_path)].path
    raise HyperspaceError(
        "there is no such model",
        where=path,
        expected=f"a model file, or one of {', '.join(installed) or '(none installed)'}",
    )


def _files(folder: Path) -> Iterator[Path]:
    """Yield the model files of a folder in the order of their names; hidden ones are left out."""
    with suppress(OSError, ValueError):
        for path in sorted(folder.glob(_PATTERN)):
            if not path.name.startswith(".") and path.is_file():
                yield path
