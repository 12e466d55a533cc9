"""Reading voxels from byte streams; compressed streams are verified to their end."""

from __future__ import annotations

import io
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError, OptionNeededError
from napari_hyperspace.io.base.files import check_claim, check_memory

_CHUNK = 1 << 20
_AUTO = 47  # zlib's code for "gzip or zlib, detected from the stream"


class InflateStream(io.RawIOBase):
    """Decompressed bytes of a gzip or zlib stream; checksum and length are verified at its end.

    A flipped bit in a deflate stream usually decodes to other voxels without an error. Only the
    checksum after the last voxel reveals it, so callers must read to the end.

    Parameters
    ----------
    raw
        The compressed bytes, from the current position.
    where
        The file, for errors.

    Attributes
    ----------
    trailing
        Number of bytes after the end of the stream that belong to no other gzip member; set once
        the stream is read to its end.
    """

    def __init__(self, raw: BinaryIO, where: Path) -> None:
        self._raw = raw
        self._where = where
        self._inflater = zlib.decompressobj(_AUTO)
        self.trailing = 0

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the start of a buffer; return the number of bytes, 0 at the end of the stream."""
        view = memoryview(buffer).cast("B")
        rest = b""
        while True:
            if self._inflater.eof:
                rest = self._next_member()
                if not rest:
                    return 0
            data = rest or self._inflater.unconsumed_tail or self._raw.read(_CHUNK)
            rest = b""
            try:
                out = self._inflater.decompress(data, min(len(view), 4 * _CHUNK))
            except zlib.error as error:
                raise HyperspaceError(
                    "the compressed data are damaged",
                    where=self._where,
                    found=str(error),
                    fix="Get the file again",
                ) from error
            if out:
                view[: len(out)] = out
                return len(out)
            if not data and not self._inflater.eof:
                raise HyperspaceError(
                    "the compressed data end before their checksum",
                    where=self._where,
                    fix="The file is truncated: get it again",
                )

    def _next_member(self) -> bytes:
        """Start the next gzip member, if there is one, and return its first bytes."""
        if self.trailing:
            return b""
        rest = self._inflater.unused_data
        while True:  # a gzip file may be padded with zeros
            rest = (rest or self._raw.read(_CHUNK)).lstrip(b"\0")
            if rest:
                break
            if not (rest := self._raw.read(_CHUNK)):
                return b""
        if len(rest) < 2:
            rest += self._raw.read(_CHUNK)
        if rest[:2] == b"\x1f\x8b":
            self._inflater = zlib.decompressobj(_AUTO)
            return rest
        while rest:
            self.trailing += len(rest)
            rest = self._raw.read(_CHUNK)
        return b""


@dataclass(frozen=True)
class Layout:
    """How voxels are stored in a file.

    Parameters
    ----------
    shape
        All sizes, the axis that varies fastest first: the spatial ones, then any others (time,
        components). With ``interleaved``, one other axis comes first.
    dtype
        With the file's byte order.
    interleaved
        Whether the components of each voxel are adjacent.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    interleaved: bool = False

    @property
    def n_bytes(self) -> int:
        """Size of all voxels in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def spatial(self) -> tuple[int, ...]:
        """The spatial sizes, at most three."""
        return self.shape[1:] if self.interleaved else self.shape[:3]

    @property
    def n_blocks(self) -> int:
        """Number of 3-D volumes."""
        return self.shape[0] if self.interleaved else math.prod(self.shape[3:])


def choose_block(layout: Layout, volume: int | None, where: Path) -> int:
    """Return the index of the 3-D volume to read.

    Raises
    ------
    OptionNeededError
        If the file is not three-dimensional and ``volume`` is not given.
    HyperspaceError
        If the file has no such volume.
    """
    flat = len(layout.spatial) < 3
    if volume is None and (flat or layout.n_blocks > 1):
        raise OptionNeededError(
            "the file contains a 2-D image"
            if flat
            else "the file contains more than one 3-D volume",
            option="volume",
            n_volumes=layout.n_blocks,
            where=where,
            field="shape",
            found="×".join(map(str, layout.shape)),
            expected="three axes",
            fix="Choose volume=0 to take it as one slice"
            if layout.n_blocks == 1
            else f"Choose one with volume=0 … {layout.n_blocks - 1}",
        )
    chosen = volume or 0
    if not 0 <= chosen < layout.n_blocks:
        raise HyperspaceError(
            "there is no such volume in the file",
            where=where,
            field="volume",
            found=chosen,
            expected=f"0 … {layout.n_blocks - 1}",
        )
    return chosen


def read_voxels(
    stream: BinaryIO, layout: Layout, where: Path, *, volume: int | None
) -> tuple[NDArray[Any], int]:
    """Read one 3-D volume, and the rest of the stream to verify it.

    Parameters
    ----------
    stream
        At the first voxel; a file, or the buffered reader of an `InflateStream`.
    layout
        As in the header, checked by `check_layout`.

    Returns
    -------
    array
        (i, j, k), in native byte order, Fortran-contiguous.
    trailing
        Number of bytes after the last voxel.
    """
    chosen = choose_block(layout, volume, where)
    a, b, c = (*layout.spatial, 1)[:3]
    if layout.interleaved:
        everything = np.empty(layout.shape, layout.dtype, order="F")
        _fill(stream, everything, where)
        array = np.asfortranarray(everything[chosen]).reshape((a, b, c), order="F")
    else:
        array = np.empty((a, b, c), layout.dtype, order="F")
        skip(stream, chosen * array.nbytes, where)
        _fill(stream, array, where)
        skip(stream, (layout.n_blocks - 1 - chosen) * array.nbytes, where)
    trailing = _drain(stream)
    return array.astype(layout.dtype.newbyteorder("="), copy=False), trailing


def read_data(
    stream: BinaryIO,
    layout: Layout,
    where: Path,
    *,
    volume: int | None,
    compressed: bool,
    skipped: int = 0,
) -> tuple[NDArray[Any], int]:
    """Check a layout against the size of the file, and read one 3-D volume.

    Parameters
    ----------
    stream
        A file at the end of the header, or at the start of its own data file.
    skipped
        Bytes before the first voxel; -1: the voxels are the last bytes of the file.

    Returns
    -------
    array, trailing
        As of `read_voxels`.

    Raises
    ------
    HyperspaceError
        If that number of bytes cannot be skipped, or the voxels do not fit after them.
    """
    if skipped < (0 if compressed else -1):
        raise HyperspaceError(
            "this number of bytes cannot be skipped",
            where=where,
            field="bytes before the voxels",
            found=skipped,
            expected="0 or more" if compressed else "-1 (the voxels come last), 0 or more",
        )
    start = stream.tell() + (0 if compressed else max(skipped, 0))
    size = os.fstat(stream.fileno()).st_size
    check_layout(layout, where, size - start, compressed=compressed)
    stream.seek(size - layout.n_bytes if skipped == -1 else start)
    if not compressed:
        return read_voxels(stream, layout, where, volume=volume)
    inflated = InflateStream(stream, where)
    inner = cast(BinaryIO, io.BufferedReader(inflated))
    skip(inner, skipped, where)
    array, trailing = read_voxels(inner, layout, where, volume=volume)
    return array, trailing + inflated.trailing


def check_layout(layout: Layout, where: Path, available: int, *, compressed: bool) -> None:
    """Raise an error for invalid sizes and pixel types, before voxels are allocated."""
    if any(size < 1 for size in layout.shape):
        raise HyperspaceError(
            "a size in the header is not positive",
            where=where,
            field="shape",
            found="×".join(map(str, layout.shape)),
        )
    if layout.dtype.kind not in "iuf":
        images = {"c": "complex images", "V": "color images"}.get(layout.dtype.kind, "such images")
        raise HyperspaceError(
            f"{images} cannot be segmented",
            where=where,
            field="pixel type",
            found="/".join(layout.dtype.names or (layout.dtype.name,)),
            expected="one integer or real number per voxel",
            fix="Save one of its components",
        )
    check_claim(layout.n_bytes, available, where, compressed=compressed)
    check_memory(layout.n_bytes // (1 if layout.interleaved else layout.n_blocks), where)


def _fill(stream: BinaryIO, array: NDArray[Any], where: Path) -> None:
    view = array.reshape(-1, order="F").view(np.uint8).data
    done = 0
    while done < len(view):
        got = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not got:
            raise _short(where)
        done += got


def skip(stream: BinaryIO, n_bytes: int, where: Path) -> None:
    """Skip bytes of a stream, seekable or not."""
    if n_bytes and stream.seekable():
        stream.seek(n_bytes, io.SEEK_CUR)
    else:
        while n_bytes > 0:
            got = len(stream.read(min(n_bytes, _CHUNK)))
            if not got:
                raise _short(where)
            n_bytes -= got


def _drain(stream: BinaryIO) -> int:
    if stream.seekable():
        here = stream.tell()
        return stream.seek(0, io.SEEK_END) - here
    count = 0
    while got := len(stream.read(_CHUNK)):
        count += got
    return count


def _short(where: Path) -> HyperspaceError:
    return HyperspaceError(
        "the header states more voxels than the file contains",
        where=where,
        fix="The file is truncated or its header is damaged: get it again",
    )
