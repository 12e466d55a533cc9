"""Parsing shared by the text headers of NRRD and MetaImage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError

_LARGEST_HEADER = 1 << 22


def header_lines(stream: BinaryIO, path: Path) -> Iterator[str]:
    """Yield the lines of a text header, stripped; the caller stops after the last one.

    Raises
    ------
    HyperspaceError
        If the header is longer than 4 MB.
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
            found=text,
            expected=f"{count} numbers",
        )
    return np.array(values)
