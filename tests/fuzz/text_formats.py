"""Files of NRRD and MetaImage as targets of the mutation driver."""

from __future__ import annotations

import gzip
from random import Random
from typing import Any, ClassVar

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.case import Target
from tests.fuzz.readers import VOXELS, ReaderTarget, damaged_json, described

NRRD = b"""NRRD0005
# by hand
type: short
dimension: 3
space: left-posterior-superior
sizes: 3 4 5
space directions: (0.7,0,0) (0,0.9,0.1) (0,-0.2,3)
kinds: domain domain domain
endian: little
encoding: raw
space origin: (1,-2,3)
"""
_SEGMENTS = b"""Segment0_ID:=Segment_1
Segment0_LabelValue:=1
Segment0_Layer:=0
Segment0_Name:=a name
Segment0_Color:=0.1 0.5 1
Segment1_LabelValue:=2
Segment1_Name:=another
"""
META = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 0.6 0.8 0 -0.8 0.6
Offset = 1 -2 3
ElementSpacing = 0.7 0.9 3
DimSize = 3 4 5
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
DATA = VOXELS.tobytes(order="F")


class TextTarget(ReaderTarget):
    """A format with a text header, in one file or in two."""

    separator: ClassVar[bytes]
    blank: ClassVar[bytes]

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage the header, the voxels or both."""
        names = list(files)
        if len(names) > 1 and random.random() < 0.2:
            name = names[1]
            files[name] = mutations.mutate_bytes(random, files[name])
            if random.random() < 0.2:
                del files[name]
            return False
        header, separator, voxels = self.split(files[names[0]])
        kind = random.random()
        if b'{"format"' in header and random.random() < 0.6:
            header = damaged_json(random, header)
        elif kind < 0.6:
            header = mutations.mutate_lines(random, header, self.separator)
        elif kind < 0.75:
            header = mutations.mutate_bytes(random, header)
        elif kind < 0.85:
            voxels = mutations.mutate_bytes(random, voxels)
        else:
            data = mutations.mutate_bytes(random, files[names[0]])
            files[names[0]] = data
            return False
        files[names[0]] = header + separator + voxels
        return False

    def split(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Return the header, what separates it from the voxels, and these."""
        raise NotImplementedError


class NrrdTarget(TextTarget):
    """NRRD: raw and gzip, with segments, more axes, and other types."""

    name = "nrrd"
    suffix = ".nrrd"
    separator = b":"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        packed = NRRD.replace(b"raw", b"gzip")
        spaced = NRRD.replace(b"space directions: (0.7,0,0) (0,0.9,0.1) (0,-0.2,3)\n", b"")
        spaced = spaced.replace(b"space:", b"spacings: 1 2 3\n#").replace(b"space origin", b"#")
        units = NRRD + b'space units: "cm" "cm" "cm"\nmeasurement frame: (1,0,0) (0,1,0) (0,0,1)\n'
        wide = NRRD.replace(b"type: short", b"type: double").replace(b"little", b"big")
        contents = (
            NRRD + b"\n" + DATA,
            packed + b"\n" + gzip.compress(DATA, mtime=0),
            NRRD + _SEGMENTS + b"\n" + DATA,
            spaced + b"\n" + DATA,
            units + b"\n" + DATA,
            wide + b"\n" + VOXELS.astype(">f8").tobytes(order="F"),
            described(".nrrd"),
        )
        return [{f"scan{self.suffix}": content} for content in contents]

    def split(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Split at the blank line."""
        return data.partition(b"\n\n")


class SegNrrdTarget(NrrdTarget):
    """Segmentations of 3D Slicer, with overlapping segments in several layers."""

    name = "seg-nrrd"
    suffix = ".seg.nrrd"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        layers = NRRD.replace(b"dimension: 3", b"dimension: 4").replace(b"sizes: ", b"sizes: 2 ")
        layers = layers.replace(b"directions: ", b"directions: none ")
        layers = layers.replace(b"kinds: ", b"kinds: list ").replace(b"raw", b"gzip")
        data = gzip.compress(np.stack([VOXELS, VOXELS]).tobytes(order="F"), mtime=0)
        return [
            {"scan.seg.nrrd": layers + _SEGMENTS + b"\n" + data},
            {"scan.seg.nrrd": NRRD + _SEGMENTS + b"\n" + DATA},
        ]

    def options(self, number: int) -> dict[str, Any]:
        """Return the choice of a layer."""
        return {"volume": 1} if number == 0 else {}


class NhdrTarget(NrrdTarget):
    """A header of NRRD with its data in another file."""

    name = "nhdr"
    suffix = ".nhdr"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        raw = NRRD + b"data file: scan.raw\n"
        packed = NRRD.replace(b"raw", b"gzip") + b"data file: data/scan.raw.gz\nbyte skip: 2\n"
        outside = NRRD + b"data file: ../canary.raw\n"
        return [
            {"scan.nhdr": raw + b"\n", "scan.raw": DATA},
            {
                "scan.nhdr": packed + b"\n",
                "data/scan.raw.gz": gzip.compress(b"ab" + DATA, mtime=0),
            },
            {"scan.nhdr": raw + b"\n", "scan.raw": DATA, "other": outside},
        ]


class MhaTarget(TextTarget):
    """MetaImage: raw and compressed, several channels."""

    name = "mha"
    suffix = ".mha"
    separator = b"="

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        packed = META.replace(b"CompressedData = False", b"CompressedData = True")
        channels = META.replace(b"ElementType", b"ElementNumberOfChannels = 2\nElementType")
        both = np.stack([VOXELS, VOXELS]).tobytes(order="F")
        wide = META.replace(b"MET_SHORT", b"MET_FLOAT").replace(b"MSB = False", b"MSB = True")
        contents = (
            META + DATA,
            packed + gzip.zlib.compress(DATA),  # type: ignore[attr-defined]
            channels + both,
            wide + VOXELS.astype(">f4").tobytes(order="F"),
        )
        return [{f"scan{self.suffix}": content} for content in contents]

    def options(self, number: int) -> dict[str, Any]:
        """Return the choice of a channel."""
        return {"volume": 1} if number == 2 else {}

    def split(self, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Split after the name of the data file."""
        header, name, rest = data.partition(b"ElementDataFile")
        line, end, voxels = rest.partition(b"\n")
        return header + name + line, end, voxels


class MhdTarget(MhaTarget):
    """A header of MetaImage with its data in another file."""

    name = "mhd"
    suffix = ".mhd"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        raw = META.replace(b"LOCAL", b"scan.raw")
        packed = META.replace(b"CompressedData = False", b"CompressedData = True")
        packed = packed.replace(b"LOCAL", b"data/scan.zraw")
        skipped = raw.replace(b"NDims", b"HeaderSize = -1\nNDims")
        return [
            {"scan.mhd": raw, "scan.raw": DATA},
            {"scan.mhd": packed, "data/scan.zraw": gzip.zlib.compress(DATA)},  # type: ignore[attr-defined]
            {"scan.mhd": skipped, "scan.raw": b"header" + DATA},
        ]

    def options(self, number: int) -> dict[str, Any]:
        """Return no options."""
        return {}


TARGET_TYPES: tuple[type[Target], ...] = (
    NrrdTarget,
    SegNrrdTarget,
    NhdrTarget,
    MhaTarget,
    MhdTarget,
)
