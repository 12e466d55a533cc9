"""Plain files: opened with a check that they stay as they are, and replaced whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_bytes
from napari_hyperspace.core.memory import available_host_bytes

_DEFLATE_LIMIT = 1032  # no deflate stream grows by more


def look_up(path: Path) -> os.stat_result | None:
    """Return the status of a file or folder; `None` if there is none.

    Raises
    ------
    HyperspaceError
        If that cannot be told: the name is too long, or a folder on the way may not be entered.
    """
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HyperspaceError(
            "there can be no such file, or it is out of reach",
            where=path,
            found=error.strerror or str(error),
            fix="Choose another name or folder",
        ) from error


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; raises as `look_up` does."""
    status = look_up(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


@contextmanager
def open_unchanged(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading; on leaving, refuse what was read if the file has changed since.

    Raises
    ------
    HyperspaceError
        If the file is missing, unreadable, a folder or empty, or was changed meanwhile.
    """
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
    """Return what changes when a file is written to or replaced."""
    return _fingerprint(os.stat(path))


def _fingerprint(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def companion(header: Path, name: str, field: str) -> Path:
    """Return the data file that a detached header names: in the header's own folder or below it.

    Raises
    ------
    HyperspaceError
        If the name leads out of the folder, or stands for several files.
    """
    if name.upper().startswith("LIST") or "%" in name:
        raise HyperspaceError(
            "data spread over several files are not read",
            where=header,
            field=field,
            found=name,
            fix="Save it as one file",
        )
    folder = header.parent.resolve()
    target = (folder / name.replace("\0", "")).resolve()
    if "\0" in name or Path(name).is_absolute() or not target.is_relative_to(folder):
        raise HyperspaceError(
            "the header points to a data file outside its own folder",
            where=header,
            field=field,
            found=name,
            expected="a file beside the header",
        )
    return target


def check_claim(n_bytes: int, available: int, where: Path, *, compressed: bool = False) -> None:
    """Refuse a header that claims more voxels than the file can hold.

    Parameters
    ----------
    n_bytes
        What the header says the voxels take.
    available
        Bytes of the file that can hold them.
    compressed
        Whether these bytes are a deflate stream.
    """
    most = available * _DEFLATE_LIMIT if compressed else available
    if n_bytes > most:
        raise HyperspaceError(
            "the header claims more voxels than the file holds",
            where=where,
            found=f"{available} bytes" + (" compressed" if compressed else ""),
            expected=f"{n_bytes} bytes",
            fix="The file is cut short or its header is damaged: get it again",
        )


def check_memory(n_bytes: int, where: Path) -> None:
    """Refuse voxels that need more than the free memory."""
    free = available_host_bytes()
    if n_bytes > free:
        raise HyperspaceError(
            "the voxels do not fit into the memory",
            where=where,
            found=f"{format_bytes(free)} free",
            expected=format_bytes(n_bytes),
        )
