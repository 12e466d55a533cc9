"""Files that are replaced whole or not at all: the one way to write what users keep."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError

_DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd")


def suffix_of(path: Path) -> str:
    """Return the extension in lower case, ``".nii.gz"`` as one."""
    name = path.name.lower()
    for suffix in _DOUBLE_SUFFIXES:
        if name.endswith(suffix):
            return suffix
    return path.suffix.lower()


def stem_of(path: Path) -> str:
    """Return the file's name without its extension."""
    return path.name[: len(path.name) - len(suffix_of(path))] or path.name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file that takes the place of ``path`` once all went well.

    The file is on the disk (fsync) before it is renamed; after any failure the former file, if
    there was one, is as it was and nothing else is left.
    """
    temporary = path.with_name(f".{secrets.token_hex(6)}{suffix_of(path)}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise HyperspaceError(
            "the file cannot be written",
            where=path,
            found=error.strerror or str(error),
            fix="Make room, or choose another folder",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":
        _sync(path.parent)  # the rename itself


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all; line ends are written as they are."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
