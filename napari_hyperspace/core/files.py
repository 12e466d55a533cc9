"""Atomic writing of the files that users keep: replaced completely, or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from napari_hyperspace.core.errors import HyperspaceError

__all__ = [
    "check_regular",
    "create_folder",
    "parse_json",
    "read_json",
    "read_text",
    "remove_stale",
    "replacing",
    "resolved",
    "stem_of",
    "suffix_of",
    "write_bytes",
    "write_text",
]

_DOUBLE_SUFFIXES = (".nii.gz", ".seg.nrrd")
_STALE_AFTER_S = 24 * 3600  # for files of other computers, whose processes are not known here
_CLOCK_TOLERANCE_S = 60  # between starts of processes and time stamps of files
_LONGEST_SUFFIX = 16


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


def resolved(path: str | os.PathLike[str]) -> Path:
    """Return an absolute path without symbolic links.

    Raises
    ------
    HyperspaceError
        If the path contains a null character or its links form a loop.
    """
    try:
        return Path(path).resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise _invalid(path, error) from error


def _invalid(path: str | os.PathLike[str], error: Exception) -> HyperspaceError:
    reason = error.strerror if isinstance(error, OSError) else None
    return HyperspaceError(
        "the path is not valid or not accessible",
        where=path,
        found=reason or str(error),
        fix="Choose another name or folder",
    )


def create_folder(path: Path) -> None:
    """Create a folder and its parents, if they do not exist.

    Raises
    ------
    HyperspaceError
        If there is a file of this name, or the folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise HyperspaceError(
            "the folder cannot be created",
            where=path,
            found=reason or str(error),
            fix="Choose another folder",
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Context manager: yield the name of a temporary file, which replaces ``path`` on success.

    The temporary file is synchronized (fsync) before it is renamed, and gets the permissions of the
    file that it replaces. After a failure it is removed, and an existing file is unchanged.
    Temporary files for the same path that a killed process left are removed first.

    Raises
    ------
    HyperspaceError
        If the file cannot be written, or ``path`` is a folder or a device.
    """
    try:
        mode = _mode(path)
        temporary = _temporary(path)
    except ValueError as error:
        raise _invalid(path, error) from error
    except OSError as error:
        raise _unwritable(path, error) from error
    remove_stale(path)
    try:
        yield temporary
        _sync(temporary)
        if mode is not None:
            with suppress(OSError):  # some file systems have no permissions
                os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # it must not hide the error above
            temporary.unlink(missing_ok=True)
    if os.name == "posix":
        with suppress(OSError):  # some file systems cannot synchronize a folder
            _sync(path.parent)  # the rename itself


def remove_stale(path: Path) -> None:
    """Remove the temporary files that killed processes left while they wrote this file.

    Files of running processes are kept. Files of another computer, on a shared file system, are
    removed once they are a day old.
    """
    prefix = _temporary_prefix(path)
    with suppress(OSError, ValueError), os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix):
                with suppress(OSError):
                    if _is_stale(entry.name[len(prefix) :], entry.stat(follow_symlinks=False)):
                        os.unlink(entry.path)


def _is_stale(identity: str, status: os.stat_result) -> bool:
    """Whether the process of a temporary file (host, process, random part) has ended."""
    host, _, rest = identity.partition("-")
    process = rest.partition("-")[0]
    if not stat.S_ISREG(status.st_mode) or not (process.isascii() and process.isdecimal()):
        return False
    if time.time() - status.st_mtime > _STALE_AFTER_S:
        return True
    if host != _host():
        return False
    try:
        started = psutil.Process(int(process)).create_time()
    except psutil.NoSuchProcess:
        return True
    except (psutil.Error, OverflowError):
        return False
    return started > status.st_mtime + _CLOCK_TOLERANCE_S  # the number was given to another process


def _temporary(path: Path) -> Path:
    """Return a new name beside a file, hidden and with its extension, that tells who wrote it."""
    suffix = suffix_of(path)
    if len(suffix) > _LONGEST_SUFFIX:
        suffix = ""
    identity = f"{_host()}-{os.getpid()}-{secrets.token_hex(6)}"
    return path.with_name(f"{_temporary_prefix(path)}{identity}{suffix}")


def _temporary_prefix(path: Path) -> str:
    """Return how the names of temporary files for a path start; short for any length of name."""
    digest = hashlib.sha256(path.name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f".hyperspace-{digest}-"


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _mode(path: Path) -> int | None:
    """Return the permissions of the file to replace, if any; refuse folders and devices."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):  # to rename onto a device would remove it
        raise HyperspaceError(
            "only a regular file can be replaced", where=path, fix="Choose another name"
        )
    return stat.S_IMODE(status.st_mode) & 0o777


def _unwritable(path: Path, error: OSError) -> HyperspaceError:
    return HyperspaceError(
        "the file cannot be written",
        where=path,
        found=error.strerror or str(error),
        fix="Free some space, or choose another folder",
    )


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() or os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def parse_json(text: str, where: str | os.PathLike[str] | None = None) -> object:
    """Parse JSON.

    Raises
    ------
    HyperspaceError
        If it is not JSON, is nested too deeply, or has a number with more digits than Python
        converts, or half of a character.
    """
    try:
        value: object = json.loads(text)
        if "\\u" in text:  # half of a surrogate pair cannot be written again
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise HyperspaceError("the values are nested too deeply", where=where) from error
    except ValueError as error:
        raise HyperspaceError("not valid JSON", where=where, found=error) from error
    return value


def read_json(path: Path, what: str = "file") -> object:
    """Read a JSON file.

    Parameters
    ----------
    path
        The file.
    what
        What it is, for errors: "split".

    Raises
    ------
    HyperspaceError
        If it cannot be read, or `parse_json` refuses it.
    """
    try:
        text = read_text(path)
    except OSError as error:
        raise HyperspaceError(
            f"the {what} cannot be read", where=path, found=error.strerror or str(error)
        ) from error
    except ValueError as error:  # not UTF-8, or a null character in the path
        raise HyperspaceError(
            f"the {what} cannot be read", where=path, found=error, expected="text in UTF-8"
        ) from error
    return parse_json(text, path)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse to open what is neither a file nor a folder: a pipe waits for a writer.

    Raises
    ------
    OSError
        If the path does not exist, or is a pipe, a socket or a device.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "this is a pipe or a device, not a file", os.fspath(path))


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8") -> str:
    """Read a text file; pipes and devices are refused.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not text of this encoding.
    """
    check_regular(path)
    return Path(path).read_text(encoding=encoding)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 atomically, without converting line ends."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a binary file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
