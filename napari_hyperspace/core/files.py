"""Atomic writing of the files that users keep: replaced completely, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError

__all__ = ["replacing", "stem_of", "suffix_of", "write_bytes", "write_text"]

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
    """Context manager: yield the name of a temporary file, which replaces ``path`` on success.

    The temporary file is synchronized (fsync) before it is renamed. After a failure it is removed,
    and an existing file is unchanged.

    Raises
    ------
    HyperspaceError
        If the file cannot be written, or ``path`` is a folder or a device.
    """
    temporary = path.with_name(f".{secrets.token_hex(6)}{suffix_of(path)}")
    try:
        if path.exists() and not path.is_file():  # to rename onto a device would remove it
            raise HyperspaceError(
                "only a regular file can be replaced", where=path, fix="Choose another name"
            )
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise HyperspaceError(
            "the file cannot be written",
            where=path,
            found=error.strerror or str(error),
            fix="Free some space, or choose another folder",
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
    """Write a text file in UTF-8 atomically, without converting line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
