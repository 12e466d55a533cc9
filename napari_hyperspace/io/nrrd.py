"""Reading NRRD (.nrrd, and .nhdr with a data file), raw or gzip.

ITK is not used: here the affine is exactly the one in the header, a missing spacing is not taken
for 1 mm, a data file outside the folder is not opened, and the checksum is verified.

Source: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import stem_of
from napari_hyperspace.io.base.decoded import (
    UNIT_MM,
    Decoded,
    affine_from,
    missing_spacing,
    override_spacing,
    spacing_needed,
)
from napari_hyperspace.io.base.files import companion, open_unchanged
from napari_hyperspace.io.base.streams import Layout, read_data
from napari_hyperspace.io.base.text import (
    MOST_AXES,
    check_axes,
    check_misspelled,
    header_lines,
    integers,
    numbers,
    shortened,
    stray_line,
)
from napari_hyperspace.io.record import DESCRIPTION_KEY, labels_described

_WORLDS = {
    "right-anterior-superior": "RAS",
    "left-anterior-superior": "LAS",
    "left-posterior-superior": "LPS",
}
_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "signed short", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
_UNITS = {
    **UNIT_MM,
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres", ""), 1.0),
    **dict.fromkeys(("µm", "μm", "micron", "microns", "micrometer", "micrometers"), 1e-3),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), 1000.0),
}
_COLOR_KINDS = ("color", "complex", "quaternion")
_USED = (  # fields that decide how the voxels are read and where they are
    *("space", "space directions", "space origin", "space units", "spacings", "units", "kinds"),
    *("type", "dimension", "sizes", "endian", "encoding", "byte skip", "line skip", "data file"),
)
_KNOWN = {
    *(*_USED, "content", "number", "block size", "blocksize", "space dimension", "thicknesses"),
    *("axis mins", "axismins", "axis maxs", "axismaxs", "centers", "centerings", "labels"),
    *("min", "max", "old min", "oldmin", "old max", "oldmax", "sample units", "sampleunits"),
    "measurement frame",
}
_NEVER_PAIRS = ("space directions", "space origin", "space units", "spacings")
_SYNONYMS = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}
_PARALLEL = 1e-6  # sine of the angle below which two axes are parallel
_ESCAPED = re.compile(r"\\([n\\])")  # in the value of a key
_UNESCAPED = {"n": "\n", "\\": "\\"}
_SEGMENT = re.compile(r"Segment(\d+)_(LabelValue|Layer|Name|Color)")


@dataclass
class _Header:
    """Fields (names in lower case) and key/value pairs of a file."""

    path: Path
    fields: dict[str, str] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)

    def need(self, name: str) -> str:
        """Return a required field."""
        if not self.fields.get(name):
            raise HyperspaceError("the header lacks a field", where=self.path, field=name)
        return self.fields[name]

    def integers(self, name: str) -> tuple[int, ...]:
        """Return a required field of whole numbers."""
        return integers(self.need(name), self.path, name)


def decode(
    path: Path, *, volume: int | None = None, spacing_mm: Sequence[float] | None = None
) -> Decoded:
    """Read a file; for the parameters see `napari_hyperspace.io.read`."""
    with open_unchanged(path) as stream:
        header = _Header(path)
        _parse(header, header_lines(stream, path))
        axes = _axes(header)
        layout = _layout(header, axes)
        name = header.fields.get("data file")
        arguments: dict[str, Any] = {
            "volume": volume,
            "compressed": _is_gzip(header),
            "skipped": _byte_skip(header),
        }
        if name is None:
            array, trailing = read_data(stream, layout, path, **arguments)
        else:
            with open_unchanged(companion(path, name, "data file")) as data:
                array, trailing = read_data(data, layout, path, **arguments)
    affine, known = _affine(header, axes, spacing_mm)
    notes = [] if known else ["the orientation is unknown: the header lacks space or directions"]
    if trailing:
        notes.append(f"{trailing} bytes after the voxels were ignored")
    names, colors = _segments(header, volume or 0)
    return Decoded(
        array,
        affine,
        path,
        "nrrd",
        stem_of(path),
        notes=notes,
        orientation_unknown=not known,
        label_names=names,
        label_colors=colors,
        described=labels_described(unquote_to_bytes(header.pairs.get(DESCRIPTION_KEY, ""))),
    )


def _parse(header: _Header, lines: Iterator[str]) -> None:
    """Read the fields, up to the blank line after them."""
    path = header.path
    next(lines, "")  # the format and its version
    for line in lines:
        if not line:
            break
        if line.startswith("#"):
            continue
        if ":=" in line:
            key, _, value = line.partition(":=")
            header.pairs[key] = _ESCAPED.sub(lambda match: _UNESCAPED[match[1]], value)
        elif ":" in line:
            key, _, value = line.partition(":")
            key = key.strip().lower()
            header.fields[_SYNONYMS.get(key, key)] = value.strip()
            if header.fields.get("data file", "").upper().startswith("LIST"):
                break  # names of files follow; such data are refused below
        else:
            raise stray_line(line, path)
    unknown = [name for name in header.fields if name not in _KNOWN]
    unknown += [name for name in _NEVER_PAIRS if name in header.pairs]
    check_misspelled(header.fields, unknown, _USED, path)


def _axes(header: _Header) -> list[int]:
    """Return the spatial axes: by directions, else by kinds, else the first three."""
    dimension = check_axes(header.integers("dimension")[0], header.path, "dimension")
    directions = header.fields.get("space directions")
    if directions is not None:
        parts = _vectors(directions, header.path)
        axes = [i for i, part in enumerate(parts) if part != "none"]
    else:
        kinds = header.fields.get("kinds", "").split()[:dimension]
        axes = [i for i, kind in enumerate(kinds) if kind in ("domain", "space")][:3]
        axes = axes or list(range(min(dimension, 3)))
        parts = [""] * dimension
    others = [i for i in range(dimension) if i not in axes]
    in_order = axes == list(range(axes[0], axes[0] + len(axes))) if axes else False
    first = not others or others[0] == len(axes) or (others == [0])
    flat = len(axes) == 2 and not others
    if len(parts) != dimension or not in_order or not first or not (len(axes) == 3 or flat):
        raise HyperspaceError(
            "unsupported axis layout",
            where=header.path,
            field="space directions" if directions is not None else "kinds",
            found=shortened(directions or header.fields.get("kinds", "")),
            expected="two or three adjacent spatial axes, other axes before or after them",
        )
    return axes


def _vectors(text: str, path: Path) -> list[str]:
    """Split "(1,0,0) none (0, 1, 0)" into its parts."""
    parts: list[str] = []
    rest = " ".join(text.split())
    while rest and len(parts) <= MOST_AXES:
        if rest.startswith("("):
            vector, closed, rest = rest[1:].partition(")")
            if not closed:
                raise HyperspaceError(
                    "a bracket is not closed",
                    where=path,
                    field="space directions",
                    found=shortened(text),
                )
            parts.append(vector)
        else:
            part, _, rest = rest.replace("(", " (", 1).partition(" ")
            parts.append(part)
        rest = rest.lstrip()
    return parts


def _layout(header: _Header, axes: list[int]) -> Layout:
    name = " ".join(header.need("type").lower().split())
    if name.endswith(("short int", "long int")):
        name = name.removesuffix(" int")
    if name not in _TYPES:
        raise HyperspaceError(
            "the pixel type cannot be segmented",
            where=header.path,
            field="type",
            found=shortened(header.need("type")),
            expected="one integer or real number per voxel",
        )
    for kind in header.fields.get("kinds", "").split():
        if any(word in kind.lower() for word in _COLOR_KINDS):
            raise HyperspaceError(
                "color and complex images cannot be segmented",
                where=header.path,
                field="kinds",
                found=f"{shortened(kind)} of {header.need('type')}",
                fix="Save one of its components",
            )
    sizes = header.integers("sizes")
    if len(sizes) != header.integers("dimension")[0]:
        raise HyperspaceError(
            "there must be one size per axis",
            where=header.path,
            field="sizes",
            found=shortened(header.fields["sizes"]),
            expected=f"{header.fields['dimension']} numbers",
        )
    dtype = np.dtype(_byte_order(header) + _TYPES[name])
    if dtype.itemsize > 1:
        header.need("endian")
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    return Layout(sizes, dtype, interleaved=axes[0] == 1)


def _byte_order(header: _Header) -> str:
    endian = header.fields.get("endian", "little").lower()
    if endian not in ("little", "big"):
        raise HyperspaceError(
            "the byte order is unknown",
            where=header.path,
            field="endian",
            found=shortened(endian),
            expected="little or big",
        )
    return ">" if endian == "big" else "<"


def _is_gzip(header: _Header) -> bool:
    encoding = header.need("encoding").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise HyperspaceError(
            "unsupported encoding",
            where=header.path,
            field="encoding",
            found=shortened(encoding),
            expected="raw or gzip",
            fix="Save it again as raw or gzip",
        )
    return encoding != "raw"


def _byte_skip(header: _Header) -> int:
    if "line skip" in header.fields and header.integers("line skip") != (0,):
        raise HyperspaceError("lines to skip are not supported", where=header.path)
    return header.integers("byte skip")[0] if "byte skip" in header.fields else 0


def _affine(
    header: _Header, axes: list[int], spacing_mm: Sequence[float] | None
) -> tuple[NDArray[np.float64], bool]:
    """Return the affine in mm and whether the header states the orientation."""
    space = header.fields.get("space", "").lower().removesuffix("-time")
    world = _WORLDS.get(space, space.upper())
    known = world in _WORLDS.values() and "space directions" in header.fields
    if not known:
        world = "LPS"
    units = _unit_factors(header, axes, overridden=spacing_mm is not None)
    columns = _steps(header, axes) * units[:, None]
    if not columns.any(axis=0).all():
        if spacing_mm is None:
            field = "space directions" if "space directions" in header.fields else "spacings"
            raise missing_spacing(header.path, field, header.fields.get(field))
        sizes = [header.integers("sizes")[axis] for axis in axes]
        columns, certain = _completed(columns, (*sizes, 1))
        known = known and certain
    origin = np.zeros(3)
    if "space origin" in header.fields:
        origin = numbers(header.fields["space origin"], 3, header.path, "space origin")
    affine = affine_from(columns, origin * units, world=world)
    return (affine if spacing_mm is None else override_spacing(affine, spacing_mm)), known


def _steps(header: _Header, axes: list[int]) -> NDArray[np.float64]:
    """Return the steps along the spatial axes, one per column; zero for a missing one."""
    columns = np.zeros((3, 3))
    if "space directions" in header.fields:
        vectors = _vectors(header.fields["space directions"], header.path)
        for i, axis in enumerate(axes):
            columns[:, i] = numbers(vectors[axis], 3, header.path, "space directions")
    elif "spacings" in header.fields:
        given = header.fields["spacings"].split()[axes[0] : axes[-1] + 1]
        spacing = numbers(" ".join(given), len(axes), header.path, "spacings")
        columns[: len(axes), : len(axes)] = np.diag(np.maximum(spacing, 0))
    return columns


def _completed(
    columns: NDArray[np.float64], sizes: tuple[int, ...]
) -> tuple[NDArray[np.float64], bool]:
    """Set the axis without a step to the normal of the two others.

    Returns
    -------
    columns
        Of any lengths; the identity if the two others are parallel.
    certain
        Whether no direction is a guess: the sign of the normal is one, unless the axis has a single
        voxel.
    """
    i = np.flatnonzero(~columns.any(axis=0))[0]
    a, b = (columns[:, k] / (np.linalg.norm(columns[:, k]) or 1) for k in (i - 2, i - 1))
    normal = np.cross(a, b)
    if np.linalg.norm(normal) < _PARALLEL:
        return np.eye(3), False
    completed = columns.copy()
    completed[:, i] = normal
    return completed, sizes[i] == 1


def _unit_factors(header: _Header, axes: list[int], *, overridden: bool) -> NDArray[np.float64]:
    """Return mm per unit of the three world axes, or of the array axes without directions."""
    name = "space units" if "space units" in header.fields else "units"
    units = header.fields.get(name, "").split('"')[1::2]  # each in quotation marks
    if name == "units":
        units = units[axes[0] : axes[-1] + 1]
    unknown = [unit for unit in units if unit.lower() not in _UNITS]
    if unknown and not overridden:
        raise spacing_needed(
            "the unit of length is unknown",
            where=header.path,
            field=name,
            found=shortened(", ".join(unknown)),
            expected='"mm", "cm", "m" or "um"',
        )
    return np.array((*(_UNITS.get(unit.lower(), 1.0) for unit in units), 1.0, 1.0, 1.0)[:3])


def _segments(header: _Header, layer: int) -> tuple[dict[int, str], dict[int, str]]:
    """Return names and colors of labels, if the header has them as 3D Slicer stores them.

    Overlapping segments are in several layers, one per 3-D volume, each with labels from 1.
    """
    found: dict[str, dict[str, str]] = {}
    for key, value in header.pairs.items():
        if match := _SEGMENT.fullmatch(key):
            found.setdefault(match[1], {})[match[2]] = value.strip()
    names: dict[int, str] = {}
    colors: dict[int, str] = {}
    for segment in found.values():
        label = segment.get("LabelValue", "")
        if not re.fullmatch("[0-9]{1,18}", label) or segment.get("Layer", "0") != str(layer):
            continue
        if "Name" in segment:
            names[int(label)] = segment["Name"]
        try:
            red, green, blue = (
                min(max(round(255 * float(part)), 0), 255) for part in segment["Color"].split()
            )
        except (KeyError, ValueError, OverflowError):
            continue
        colors[int(label)] = f"#{red:02x}{green:02x}{blue:02x}"
    return names, colors
