"""Parsing shared by the text headers of NRRD and MetaImage."""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import suffix_of
from napari_hyperspace.io.base.files import companion, open_unchanged

MOST_AXES = 16  # as in the library of the NRRD format
_LARGEST_HEADER = 1 << 20
_LONGEST_FIELD = 1 << 14  # 256 numbers (a matrix of 16 axes) of 64 characters
_MOST_SHOWN = 200  # characters of a damaged field
_MOST_COMPARED = 1000  # unknown fields that are compared with known ones, which takes time
_DATA_FILE = {":": ("data file", "datafile"), "=": ("elementdatafile",)}  # by separator
_ALIKE = 0.8  # similarity, 0 to 1, of two names of fields of which one is probably misspelled


def header_lines(stream: BinaryIO, path: Path) -> Iterator[str]:
    """Yield the lines of a text header, stripped; the caller stops after the last one.

    Raises
    ------
    HyperspaceError
        If the header is longer than 1 MB.
    """
    while stream.tell() < _LARGEST_HEADER:
        line = stream.readline(_LARGEST_HEADER)
        if not line:
            return
        yield line.decode("utf-8", errors="replace").strip()
    raise HyperspaceError("the header has no end", where=path)


def numbers(text: str, count: int, path: Path, field: str) -> NDArray[np.float64]:
    """Return the numbers in a text, separated by spaces, commas or brackets.

    Raises
    ------
    HyperspaceError
        If there are not ``count`` finite numbers.
    """
    values: list[float] = []
    if len(text) <= _LONGEST_FIELD and "_" not in text:  # Python reads 1_0 as 10
        parts = text.translate(str.maketrans("(),", "   ")).split()
        try:
            values = [float(part) for part in parts]
        except ValueError:
            values = []
    if len(values) != count or not all(map(math.isfinite, values)):
        raise HyperspaceError(
            "the field must be finite numbers",
            where=path,
            field=field,
            found=shortened(text),
            expected=f"{count} numbers",
        )
    return np.array(values)


def integers(text: str, path: Path, field: str) -> tuple[int, ...]:
    """Return the whole numbers in a text, separated by spaces.

    Raises
    ------
    HyperspaceError
        If there is anything else, or a number of more than 64 bits.
    """
    values: tuple[int, ...] = ()
    if len(text) <= _LONGEST_FIELD and "_" not in text:
        try:
            values = tuple(int(part) for part in text.split())
        except ValueError:
            values = ()
    if not values or any(not -(1 << 63) <= value < 1 << 63 for value in values):
        raise HyperspaceError(
            "the field must be whole numbers", where=path, field=field, found=shortened(text)
        )
    return values


def files_of(source: Path) -> list[Path]:
    """Return the files that a scan is read from: the data file of a header, too."""
    detached = suffix_of(source) in (".nrrd", ".nhdr", ".seg.nrrd", ".mha", ".mhd")
    data = _data_file(source) if detached else None
    return [source] if data is None else [source, data]


def _data_file(path: Path) -> Path | None:
    """Return the data file that a header of NRRD or MetaImage names.

    `None` if the voxels are in the same file, or the header is not valid, as its reader explains.
    """
    try:
        with open_unchanged(path) as stream:
            for line in header_lines(stream, path):
                for separator, keys in _DATA_FILE.items():
                    key, found, value = line.partition(separator)
                    if found and key.strip().lower() in keys and value.strip().upper() != "LOCAL":
                        return companion(path, value.strip(), key)
                if not line or line.startswith("ElementDataFile"):
                    return None
    except HyperspaceError:
        return None
    return None


def check_axes(count: int, path: Path, field: str) -> int:
    """Return the number of axes of a header; raise an error if no image has as many."""
    if not 1 <= count <= MOST_AXES:
        raise HyperspaceError(
            "the number of axes is not valid",
            where=path,
            field=field,
            found=count,
            expected=f"1 … {MOST_AXES}",
        )
    return count


def check_misspelled(
    fields: Container[str], unknown: Collection[str], used: Collection[str], path: Path
) -> None:
    """Raise an error if an unknown field is probably a misspelled one that is missing.

    Otherwise one damaged character would silently remove the origin, say, from the geometry.

    Parameters
    ----------
    fields
        Names in the header.
    unknown
        Those of them that the format does not define.
    used
        Names of the fields that decide how the voxels are read and where they are.
    """
    candidates = [name for name in used if name not in fields]
    by_lower = {name.lower(): name for name in candidates}
    for name in list(unknown)[:_MOST_COMPARED]:
        close = get_close_matches(name[:64].lower(), by_lower, n=1, cutoff=_ALIKE)
        if close:
            raise HyperspaceError(
                "the header has an unknown field, which is probably misspelled",
                where=path,
                field=name[:64],
                expected=by_lower[close[0]],
                fix="Correct the name of the field in the header",
            )


def stray_line(line: str, path: Path) -> HyperspaceError:
    """Return the error for a line of a header that is no field."""
    return HyperspaceError(
        "the header has a line that is not a field", where=path, found=shortened(line)
    )


def itk_reason(error: RuntimeError) -> str:
    """Return what an error of ITK says in one line, without places in its source code.

    Its text has several lines: where it was raised, the problem with the address of an object, and
    often a reason.
    """
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception thrown")]
    for line in lines:
        if line.startswith("Reason: "):
            return shortened(line.removeprefix("Reason: "))
    first = lines[0] if lines else "no reason is given"
    if first.startswith(("ITK ERROR: ", "sitk::ERROR: ")):
        first = first.partition("ERROR: ")[2]
        first = first.partition("): ")[2] or first
    return shortened(first.rstrip(":"))


def shortened(text: str) -> str:
    """Return the start of a text of any length, for messages."""
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} …"
