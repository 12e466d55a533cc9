"""Files and folders of DICOM as targets of the mutation driver."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.case import Target
from tests.fuzz.readers import ReaderTarget

RLE = "1.2.840.10008.1.2.5"


def dicom_file(k: int = 0, syntax: str = "1.2.840.10008.1.2.1", **tags: Any) -> bytes:
    """Return one slice of a series, with identifiers of its own."""
    import io

    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.{k + 1}"
    data.SeriesInstanceUID, data.SeriesDescription = "1.2.826.0.1", "made up"
    data.Modality, data.PatientName = "MR", "Private^Name"
    data.SeriesNumber, data.SliceThickness = 3, "1.5"
    data.RescaleSlope, data.RescaleIntercept = "2", "-1"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.Rows, data.Columns, data.PixelSpacing = 4, 3, [2.0, 0.5]
    data.ImageOrientationPatient = [0.8, 0.6, 0, 0, 0, -1]
    data.ImagePositionPatient = [10 - 0.9 * k, -20 + 1.2 * k, 30]
    data.PixelData = (np.arange(12, dtype="<i2") + 100 * k).tobytes()
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    if syntax == RLE:
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
        data.compress(RLE, generate_instance_uid=False)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


_SHORT_LENGTHS = ("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO", "LT", "PN")
_SHORT_LENGTHS += ("SH", "SL", "SS", "ST", "TM", "UI", "UL", "US")


def _elements(data: bytes) -> list[tuple[int, int, int]]:
    """Return where the length and the value of each element is, and how long the value is."""
    found, at = [], 132
    while at + 8 <= len(data):
        if data[at + 4 : at + 6].decode("latin-1") in _SHORT_LENGTHS:
            length, start = int.from_bytes(data[at + 6 : at + 8], "little"), at + 8
        else:
            length, start = int.from_bytes(data[at + 8 : at + 12], "little"), at + 12
        if length == 0xFFFFFFFF or start + length > len(data):
            break
        found.append((at, start, length))
        at = start + length
    return found


def damaged_dicom(random: Random, data: bytes) -> bytes:
    """Damage values, lengths, types and order of elements, or any bytes."""
    if random.random() < 0.4:
        return mutations.mutate_bytes(random, data)
    for _ in mutations.changes(random):
        elements = _elements(data)
        if not elements:
            break
        at, start, length = random.choice(elements)
        head, value, rest = data[:at], data[start : start + length], data[start + length :]
        kind = random.randrange(6)
        if kind == 0:  # removed, or written twice
            data = head + rest if random.random() < 0.5 else head + 2 * data[at : start + length]
            data += rest if len(data) > len(head) + len(rest) else b""
        elif kind == 1:  # another type
            types = (b"US", b"OB", b"DS", b"PN", b"SQ", b"UN", b"??", b"\0\0", b"OW", b"UI")
            data = data[: at + 4] + random.choice(types) + data[at + 6 :]
        elif kind == 2:  # another length
            width = 2 if start == at + 8 else 4
            wrong = random.choice(mutations.INTEGERS[:-1]) % (1 << 8 * width)
            data = data[: start - width] + wrong.to_bytes(width, "little") + data[start:]
        else:  # another value, with its length
            text = mutations.encoded(mutations.word(random))[:60_000]
            if kind == 3 and b"\\" in value:
                parts = value.split(b"\\")
                parts[random.randrange(len(parts))] = text[:16]
                text = b"\\".join(parts)
            elif kind == 4:
                text = mutations.packed("<H", random.choice(mutations.INTEGERS[:-1]))
            text += b" " * (len(text) % 2)
            width = 2 if start == at + 8 else 4
            size = (len(text) % (1 << 8 * width)).to_bytes(width, "little")
            data = data[: start - width] + size + text + rest
    return data


class DicomFileTarget(ReaderTarget):
    """One DICOM file: uncompressed in two syntaxes, RLE, and without its preamble."""

    name = "dicom-file"
    share = 1.5
    suffix = ".dcm"

    def prepare(self) -> None:
        """Also import the reader."""
        from napari_hyperspace.io import dicom  # noqa: F401

        super().prepare()

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        contents = (
            dicom_file(),
            dicom_file(syntax="1.2.840.10008.1.2"),
            dicom_file(syntax=RLE, Rows=16, Columns=16, PixelData=bytes(range(256)) * 2),
            dicom_file(
                BitsAllocated=8,
                BitsStored=8,
                HighBit=7,
                PixelRepresentation=0,
                PixelData=bytes(range(12)),
            ),
        )
        return [{"scan.dcm": content} for content in contents]

    def options(self, number: int) -> dict[str, Any]:
        """Return no options."""
        return {}

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage the file."""
        name = next(iter(files))
        files[name] = damaged_dicom(random, files[name])
        return False


class DicomFolderTarget(DicomFileTarget):
    """A folder with a series, some of whose files are damaged, and other files."""

    name = "dicom-folder"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        series = {f"series/{5 - k:03d}.dcm": dicom_file(k) for k in range(5)}
        report = dicom_file(9, SeriesInstanceUID="1.2.3", SeriesDescription="other series")
        both = {**series, "series/other.dcm": report, "series/notes.txt": b"a note"}
        return [series, both]

    def options(self, number: int) -> dict[str, Any]:
        """Return the choice of a series."""
        return {"series": "1.2.826.0.1"} if number else {}

    def entry(self, files: dict[str, bytes]) -> str:
        """Return the folder."""
        return "series"

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage one file or two, remove one, or write one twice."""
        for _ in mutations.changes(random):
            name = random.choice(sorted(files))
            kind = random.random()
            if kind < 0.8:
                files[name] = damaged_dicom(random, files[name])
            elif kind < 0.9 and len(files) > 1:
                del files[name]
            else:
                files[f"series/{random.randrange(99)}.dcm"] = files[name]
        return False


TARGET_TYPES: tuple[type[Target], ...] = (DicomFileTarget, DicomFolderTarget)
