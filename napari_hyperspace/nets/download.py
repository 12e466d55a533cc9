"""Download a file over HTTP, with a checksum; an interrupted download is continued.

pooch transfers and hashes. A transfer with a checksum goes to a partial file that stays when it is
interrupted; the next one asks the server for the rest. The checksum is compared before anything
else happens to the file.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.files import create_folder
from napari_hyperspace.core.format import format_bytes
from napari_hyperspace.core.progress import Progress

if TYPE_CHECKING:
    import requests

__all__ = ["MAX_BYTES", "Source", "download_steps"]

MAX_BYTES = 2 << 30
"""Files larger than this are not downloaded."""

_TIMEOUT_S = (10.0, 20.0)  # to connect, and between two pieces of data
_CHUNK_BYTES = 64 << 10
_POLL_S = 0.1
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Source:
    """An address, and the checksum that the file there must have.

    Parameters
    ----------
    url
        An ``https`` or ``http`` address.
    sha256
        64 hexadecimal digits, with or without ``sha256:`` before them; `None` only for ``https``.

    Raises
    ------
    HyperspaceError
        If the address or the checksum is not valid, or ``http`` has no checksum.
    """

    url: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            valid = False
        if not valid:
            raise HyperspaceError(
                "not an address of a file on the web",
                found=self.shown,
                expected="https://…/NAME.safetensors",
            )
        if self.sha256 is not None:
            match = _SHA256.fullmatch(self.sha256.strip())
            if match is None:
                raise HyperspaceError(
                    "not a SHA-256 checksum",
                    where=self.shown,
                    found=self.sha256,
                    expected="64 hexadecimal digits",
                )
            object.__setattr__(self, "sha256", match[1].lower())
        elif parts.scheme == "http":
            raise _unprotected(self.shown)

    @property
    def shown(self) -> str:
        """The address without user name, password and query."""
        bare = self.url.split("?")[0].split("#")[0]
        return re.sub(r"//[^/]*@", "//", bare)

    @property
    def key(self) -> str:
        """A short name of this address and checksum."""
        return hashlib.sha256(f"{self.url} {self.sha256}".encode()).hexdigest()[:16]


def download_steps(
    source: Source,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, Path]:
    """Download a file and check it, step by step.

    Parameters
    ----------
    source
        The address.
    folder
        Where the partial file is kept.
    max_bytes
        A larger file is refused.
    should_stop
        Called for each piece of data.

    Returns
    -------
    Path
        The complete file, a hidden one in the folder. The caller moves or removes it.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true; the part that was downloaded is kept.
    HyperspaceError
        If the server cannot be reached, refuses, sends too much, or sends a file with another
        checksum, which is removed.
    """
    create_folder(folder)
    partial = folder / f".download-{source.key}.part"
    lock = FileLock(folder / f".download-{source.key}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise HyperspaceError(
            "this file is being downloaded by another process", where=source.shown
        ) from None
    try:
        resumed = source.sha256 is not None and partial.exists()
        if not resumed:
            partial.unlink(missing_ok=True)
        yield from _transfer_steps(source, partial, max_bytes, should_stop)
        if resumed and not _matches(partial, source):  # the file has changed on the server
            partial.unlink()
            yield from _transfer_steps(source, partial, max_bytes, should_stop)
        if not _matches(partial, source):
            found = _digest(partial)
            partial.unlink()
            raise HyperspaceError(
                "the file does not have the expected checksum, and was removed",
                where=source.shown,
                found=f"sha256 {found}",
                expected=f"sha256 {source.sha256}",
                fix="Check the address and the checksum",
            )
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
    return partial


def _transfer_steps(
    source: Source, partial: Path, max_bytes: int, should_stop: ShouldStop | None
) -> Generator[Progress, None, None]:
    """Append what is missing to the partial file, in a thread of its own."""
    with open(partial, "ab") as file:
        sink = _Sink(file, max_bytes, source, should_stop or (lambda: False))
        thread = threading.Thread(target=sink.receive, name="hyperspace-download", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                yield sink.progress()
                thread.join(_POLL_S)
                if should_stop is not None and should_stop():
                    raise Cancelled
        finally:
            sink.stopped = True
    if sink.error is not None:
        if source.sha256 is None or not partial.stat().st_size:
            partial.unlink(missing_ok=True)
        raise sink.error


class _Sink:
    """Receives a file in pieces; pooch writes to it as to an open file.

    Parameters
    ----------
    file
        Open for appending.
    max_bytes
        Largest size of the file.
    source
        Where it comes from.
    should_stop
        Called for each piece.
    """

    def __init__(
        self, file: BinaryIO, max_bytes: int, source: Source, should_stop: ShouldStop
    ) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._source = source
        self._should_stop = should_stop
        self._received = self._before = file.tell()
        self._total = 0
        self._response: requests.Response | None = None
        self.stopped = False
        self.error: HyperspaceError | None = None

    def progress(self) -> Progress:
        """Return how much was received."""
        total = f" of {format_bytes(self._total)}" if self._total else ""
        fraction = min(self._received / self._total, 1.0) if self._total else 0.0
        return Progress(fraction, f"downloaded {format_bytes(self._received)}{total}")

    def receive(self) -> None:
        """Transfer the file; an error is kept in `error`."""
        try:
            self._receive()
        except HyperspaceError as error:
            self.error = error
        except OSError as error:  # of the file, or of the network: requests' errors are `OSError`s
            interrupted = self._received > self._before
            self.error = _readable(error, self._source, interrupted)
        except Exception as error:  # shown to the user
            self.error = HyperspaceError(
                "the download failed", where=self._source.shown, found=type(error).__name__
            )

    def _receive(self) -> None:
        import pooch

        headers = {"Accept-Encoding": "identity"}  # a range of the file itself
        if self._received:
            headers["Range"] = f"bytes={self._received}-"
        downloader = pooch.HTTPDownloader(
            chunk_size=_CHUNK_BYTES,
            timeout=_TIMEOUT_S,
            headers=headers,
            hooks={"response": self._check},
        )
        try:
            downloader(self._source.url, self, None)
        except _Complete:
            return
        finally:
            if self._response is not None:
                self._response.close()  # after an error, nobody else does

    def write(self, data: bytes) -> int:
        """Append a piece."""
        if self.stopped or self._should_stop():
            raise Cancelled
        self._received += len(data)
        self._refuse_more_than(self._received)
        return self._file.write(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is closed."""

    def _check(self, response: requests.Response, *_: object, **__: object) -> None:
        """Check a response, of a redirection too, before its content is read."""
        self._response = response
        if self._source.sha256 is None and urlsplit(response.url).scheme != "https":
            raise _unprotected(self._source.shown)
        if response.is_redirect:
            return
        if response.status_code == 416 and self._received:
            if _size_of_range(response) != self._received:
                self._start_again()
            raise _Complete
        if response.status_code == 200 and self._received:  # the server sends the whole file
            self._start_again()
        length = response.headers.get("Content-Length", "")
        self._total = self._received + int(length) if length.isdecimal() else 0
        self._refuse_more_than(self._total)

    def _start_again(self) -> None:
        self._file.truncate(0)
        self._received = self._before = 0

    def _refuse_more_than(self, size: int) -> None:
        if size > self._max_bytes:
            self._start_again()
            raise HyperspaceError(
                "the file is too large for a model",
                where=self._source.shown,
                found=f"{format_bytes(size)} or more",
                expected=f"at most {format_bytes(self._max_bytes)}",
            )


class _Complete(Exception):
    """The partial file has all that the server has."""


def _size_of_range(response: requests.Response) -> int:
    """Return the size of the file that a server states when it refuses a range; -1: none."""
    size = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(size) if size.isdecimal() else -1


def _matches(path: Path, source: Source) -> bool:
    return source.sha256 is None or _digest(path) == source.sha256


def _digest(path: Path) -> str:
    import pooch

    return str(pooch.file_hash(str(path), alg="sha256"))


def _unprotected(shown: str) -> HyperspaceError:
    return HyperspaceError(
        "a file from an http address can be replaced on its way by anyone",
        where=shown,
        fix="Give its SHA-256 checksum, or an https address",
    )


def _readable(error: OSError, source: Source, interrupted: bool) -> HyperspaceError:
    """Say what went wrong with the network in words of a user."""
    from requests import exceptions

    again = "Try again"
    if source.sha256 is not None:
        again += ": the download continues where it stopped"
    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        problem = "the server refuses the download"
        found: object = f"{error.response.status_code} {error.response.reason}"
        fix = "Check the address"
    elif isinstance(error, exceptions.SSLError):
        problem, found, fix = "the server's certificate is not valid", None, "Check the address"
    elif isinstance(error, exceptions.ChunkedEncodingError) or (
        interrupted and isinstance(error, exceptions.ConnectionError | exceptions.Timeout)
    ):
        problem, found, fix = "the connection was interrupted", None, again
    elif isinstance(error, exceptions.ConnectionError | exceptions.Timeout):
        problem, found = "the server cannot be reached", urlsplit(source.url).hostname
        fix = (
            "Check the network; without one, copy the file from another computer and add it: "
            "hyperspace models add FILE"
        )
    elif isinstance(error, exceptions.RequestException):
        problem, found, fix = "the download failed", type(error).__name__, "Check the address"
    else:
        problem, found = "the downloaded file cannot be written", error.strerror
        fix = "Free some space"
    return HyperspaceError(problem, where=source.shown, found=found, fix=fix)
