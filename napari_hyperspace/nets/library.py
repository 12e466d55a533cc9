"""Add models to the user's own and remove them: files, folders, and files from the web.

A model file is loaded before it is added, so that everything that is installed is a valid model.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Generator
from contextlib import suppress
from filecmp import cmp
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.files import create_folder, replacing, resolved, write_text
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.nets.download import Source, download_steps
from napari_hyperspace.nets.locations import (
    FOLDERS_FILE,
    InstalledModel,
    further_folders,
    installed_models,
    own_folder,
)
from napari_hyperspace.nets.model_file import load_model

__all__ = ["add_folder", "add_from_web_steps", "add_model", "remove_folder", "remove_model"]

_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,99}")


def add_model(path: str | os.PathLike[str], name: str | None = None) -> InstalledModel:
    """Copy a model file to the user's own models.

    Parameters
    ----------
    path
        The model file.
    name
        What to call it; `None`: as the file.

    Raises
    ------
    HyperspaceError
        If it is not a valid model, the name is not valid, or another model has it.
    """
    source = resolved(path)
    load_model(source)
    return _install(source, name or source.stem)


def add_from_web_steps(
    source: Source, name: str | None = None, *, should_stop: ShouldStop | None = None
) -> Generator[Progress, None, InstalledModel]:
    """Download a model file to the user's own models, step by step.

    Parameters
    ----------
    source
        The address, and the checksum that the file must have.
    name
        What to call it; `None`: as the file in the address.
    should_stop
        Called for each piece of data.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        As `add_model` and `napari_hyperspace.nets.download.download_steps`.
    """
    name = _checked(name or PurePosixPath(unquote(urlsplit(source.url).path)).stem)
    downloaded = yield from download_steps(source, own_folder(), should_stop=should_stop)
    try:
        yield Progress(1.0, "checking the model")
        try:
            load_model(downloaded)
        except HyperspaceError as error:
            raise error.replace(where=source.shown) from error
        return _install(downloaded, name)
    finally:
        downloaded.unlink(missing_ok=True)


def remove_model(name: str) -> InstalledModel:
    """Delete one of the user's own model files and return what it was.

    Raises
    ------
    HyperspaceError
        If there is no such model, it is not in the user's own folder, or it cannot be deleted.
    """
    found = installed_models().get(name)
    if found is None or found.origin != "own":
        where = {"bundled": "it is bundled", "folder": "it is in a folder that was added"}
        raise HyperspaceError(
            "only models that were added can be removed",
            where=name,
            found="no such model" if found is None else where[found.origin],
            expected=", ".join(m.name for m in installed_models().values() if m.origin == "own")
            or "no model was added",
        )
    try:
        found.path.unlink()
    except OSError as error:
        raise HyperspaceError(
            "the model file cannot be deleted", where=found.path, found=error.strerror
        ) from error
    return found


def add_folder(path: str | os.PathLike[str]) -> list[InstalledModel]:
    """Let the models of a folder be found by name; the folder itself is not changed.

    Returns
    -------
    list
        The models that are found there now.

    Raises
    ------
    HyperspaceError
        If there is no such folder, it contains no model files, or the list cannot be written.
    """
    folder = resolved(path)
    if not os.path.isdir(folder):  # false for a name that is too long, too
        raise HyperspaceError("no such folder", where=folder)
    if not any(folder.glob(f"*{_SUFFIX}")):
        raise HyperspaceError(f"no {_SUFFIX} file in this folder", where=folder)
    folders = further_folders()
    if folder not in folders and folder != resolved(own_folder()):
        _write_folders([*folders, folder])
    return [each for each in installed_models().values() if each.path.parent == folder]


def remove_folder(path: str | os.PathLike[str]) -> None:
    """No longer find the models of a folder; the folder itself is not changed.

    Raises
    ------
    HyperspaceError
        If it is not among the further folders, or the list cannot be written.
    """
    folder, folders = resolved(path), further_folders()
    if folder not in folders:
        raise HyperspaceError(
            "not a folder that was added",
            where=folder,
            expected=", ".join(map(str, folders)) or "no folder was added",
        )
    _write_folders([each for each in folders if each != folder])


def _write_folders(folders: list[Path]) -> None:
    create_folder(own_folder())
    write_text(own_folder() / FOLDERS_FILE, json.dumps([str(each) for each in folders], indent=1))


def _checked(name: str) -> str:
    """Return a valid name of a model, without the extension; refuse another one."""
    name = name.removesuffix(_SUFFIX)
    if not _NAME.fullmatch(name):
        raise HyperspaceError(
            "not a valid name of a model",
            found=repr(name),
            expected="letters, digits, blanks and . _ + -, at most 100",
            fix="Give another name",
        )
    return name


def _install(source: Path, name: str) -> InstalledModel:
    """Copy a valid model file to the user's own folder."""
    target = own_folder() / f"{_checked(name)}{_SUFFIX}"
    existing = installed_models().get(target.stem)
    if existing is not None:
        with suppress(OSError):
            if cmp(existing.path, source, shallow=False):
                return existing
        raise HyperspaceError(
            "another model has this name",
            where=target.stem,
            found=f"a model of origin {existing.origin!r}",
            fix="Give another name, or remove that model first",
        )
    create_folder(target.parent)
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    return InstalledModel(target.stem, target, "own")
