"""NRRD and MetaImage files written by hand, with any field replaced."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io import read

VOXELS = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)

NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "3 4 5",
    "space directions": "(0.7,0,0) (0,0.9,0.1) (0,-0.2,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,-2,3)",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 0.6 0.8 0 -0.8 0.6",
    "Offset": "1 -2 3",
    "ElementSpacing": "0.7 0.9 3",
    "DimSize": "3 4 5",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def data_of(array: np.ndarray[Any, Any]) -> bytes:
    return array.tobytes(order="F")


def nrrd(
    folder: Path, data: bytes | None = None, name: str = "a.nrrd", tail: str = "", **changes: Any
) -> Path:
    """Write an NRRD file; None removes a field, ``space_origin`` stands for "space origin"."""
    fields = NRRD | {key.replace("_", " "): value for key, value in changes.items()}
    text = "".join(f"{key}: {value}\n" for key, value in fields.items() if value is not None)
    path = folder / name
    data = data_of(VOXELS) if data is None else data
    path.write_bytes(b"NRRD0005\n# by hand\n" + text.encode() + tail.encode() + b"\n" + data)
    return path


def meta(folder: Path, data: bytes | None = None, name: str = "a.mha", **changes: Any) -> Path:
    """Write a MetaImage file; None removes a field."""
    fields = META | changes
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # must come last
    text = "".join(f"{key} = {value}\n" for key, value in fields.items() if value is not None)
    path = folder / name
    path.write_bytes(text.encode() + (data_of(VOXELS) if data is None else data))
    return path


def refused(path: Path, words: str, **options: Any) -> HyperspaceError:
    """Read a file, and return the error, whose text contains the words without the file's path."""
    with pytest.raises(HyperspaceError) as caught:
        read(path, **options)
    # The temporary folder has the name of the test: it must not match.
    text = str(caught.value.replace(where=None))
    assert re.search(words, text), text
    return caught.value
