"""Opening files for reading, with checks of their existence, size and modification."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import resolved
from napari_hyperspace.core.format import format_bytes
from napari_hyperspace.core.memory import available_host_bytes

MEMORY_PROBLEM = "the voxels do not fit into the memory"
MEMORY_FIX = "Close other programs, or use a computer with more memory"
_DEFLATE_LIMIT = 1032  # largest compression factor of a deflate stream

_MOST_SHOWN = 200  # characters of a name in a header


def look_up(path: Path) -> os.stat_result | None:
    """Return the status of a file or folder; `None` if it does not exist.

    Raises
    ------
    HyperspaceError
        If that cannot be found out: the name is too long, or a parent folder is not accessible.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else None
        raise HyperspaceError(
            "the path is not valid or not accessible",
            where=path,
            found=reason or str(error),
            fix="Choose another name or folder",
        ) from error


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; errors as in `look_up`."""
    status = look_up(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


@contextmanager
def open_unchanged(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; on exit, raise an error if the file has changed since.

    Raises
    ------
    HyperspaceError
        If the file is missing, unreadable, not a regular file or empty, or has changed.
    """
    status = look_up(path)
    # Opening a named pipe would wait for a writer, and a device may have no end.
    if status is not None and not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise HyperspaceError(
            "this is neither a file nor a folder, but a pipe or a device",
            where=path,
            fix="Copy its content to a file",
        )
    try:
        with path.open("rb") as stream:
            before = os.fstat(stream.fileno())
            if before.st_size == 0:
                raise HyperspaceError("the file is empty", where=path)
            yield stream
            after = os.stat(path)
    except OSError as error:
        raise HyperspaceError(
            "the file cannot be read", where=path, found=error.strerror or str(error)
        ) from error
    if _fingerprint(before) != _fingerprint(after):
        raise HyperspaceError(
            "the file changed while it was being read",
            where=path,
            fix="Wait until it is written and read it again",
        )


def fingerprint(path: Path) -> tuple[int, ...]:
    """Return numbers that change when a file is modified or replaced.

    Raises
    ------
    HyperspaceError
        If the file does not exist any more.
    """
    status = look_up(path)
    if status is None:
        raise HyperspaceError("the file does not exist any more", where=path)
    return _fingerprint(status)


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def companion(header: Path, name: str, field: str) -> Path:
    """Return the data file that a detached header names, in the header's folder or below it.

    Raises
    ------
    HyperspaceError
        If the name points outside the folder, or to several files.
    """
    if name.upper().startswith("LIST") or "%" in name:
        raise HyperspaceError(
            "data in several files are not supported",
            where=header,
            field=field,
            found=name[:_MOST_SHOWN],
            fix="Save it as one file",
        )
    folder = resolved(header.parent)
    target = resolved(folder / name.replace("\0", ""))
    if "\0" in name or Path(name).is_absolute() or not target.is_relative_to(folder):
        raise HyperspaceError(
            "the header points to a data file outside its folder",
            where=header,
            field=field,
            found=name[:_MOST_SHOWN],
            expected="a file in the folder of the header",
        )
    return target


def check_claim(n_bytes: int, available: int, where: Path, *, compressed: bool = False) -> None:
    """Raise an error if a header states more voxels than the file can contain.

    Parameters
    ----------
    n_bytes
        Size of the voxels by the header.
    available
        Number of bytes in the file after the header.
    compressed
        Whether these bytes are a deflate stream.
    """
    most = available * _DEFLATE_LIMIT if compressed else available
    if n_bytes > most:
        raise HyperspaceError(
            "the header states more voxels than the file contains",
            where=where,
            found=f"{available} bytes" + (" compressed" if compressed else ""),
            expected=f"{n_bytes} bytes",
            fix="The file is truncated or its header is damaged: get it again",
        )


def check_memory(n_bytes: int, where: Path) -> None:
    """Raise an error if voxels need more than the free memory."""
    free = available_host_bytes()
    if n_bytes > free:
        raise HyperspaceError(
            MEMORY_PROBLEM,
            where=where,
            found=f"{format_bytes(free)} free",
            expected=format_bytes(n_bytes),
            fix=MEMORY_FIX,
        )


@contextmanager
def declared_memory(where: Path) -> Iterator[None]:
    """Context manager: raise a `HyperspaceError` if an allocation fails.

    The checks before each allocation ask for the free memory, but a limit of the process or another
    process may leave less.
    """
    try:
        yield
    except MemoryError as error:
        raise HyperspaceError(MEMORY_PROBLEM, where=where, fix=MEMORY_FIX) from error
