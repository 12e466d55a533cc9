"""Readers of scans as targets of the mutation driver."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.case import Case, Target, Wrong

SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
AFFINE = np.array([[-0.7, 0, 0, 1], [0, 0.9, 0.1, -2], [0, -0.2, 3, 3], [0, 0, 0, 1.0]])
_WRITTEN = "written"
_CANARY = 0x5A  # the bytes of a file outside of the folder that no header may name


def check_volume(volume: Any) -> None:
    """Raise `Wrong` if a volume contradicts itself."""
    array, grid = volume.array, volume.grid
    if array.ndim != 3 or array.shape != grid.shape:
        raise Wrong(f"array {array.shape}, grid {grid.shape}")
    if not np.isfinite(grid.affine).all() or not abs(np.linalg.det(grid.affine[:3, :3])) > 0:
        raise Wrong(f"affine {grid.affine.tolist()}")
    if not all(np.isfinite(step) and step > 0 for step in grid.spacing_mm):
        raise Wrong(f"spacing {grid.spacing_mm}")
    if array.dtype.kind not in "iufb" or not array.dtype.isnative:
        raise Wrong(f"type {array.dtype!r}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Wrong("voxels that are not finite")
    if array.size >= 8 and {*array.tobytes()} == {_CANARY}:
        raise Wrong("voxels of a file outside of the folder")


class ReaderTarget(Target):
    """A format: damaged files are refused, or read to a volume that does not contradict itself."""

    may_write: ClassVar[tuple[str, ...]] = (f"{_WRITTEN}.*",)
    suffix: ClassVar[str]

    def __init__(self) -> None:
        self.samples: list[dict[str, bytes]] = []
        self.arrays: list[Any] = []

    def prepare(self) -> None:
        """Make the sound files."""
        from napari_hyperspace.io import metaimage, nifti, nrrd, read  # noqa: F401

        self.samples = self.make()
        self.n_sound = len(self.samples)

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files: the content of each by its name; the first is the header."""
        raise NotImplementedError

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage files in place; return whether an accepted file must have the same voxels."""
        raise NotImplementedError

    def options(self, number: int) -> dict[str, Any]:
        """Return what a sound file needs to be read."""
        return {}

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        files = self.samples[index]
        return Case(dict(files), self.entry(files), self.options(index))

    def entry(self, files: dict[str, bytes]) -> str:
        """Return what is read."""
        return next(iter(files))

    def mutated(self, random: Random) -> Case:
        """Return a damaged case, now and then read with options."""
        number = random.randrange(len(self.samples))
        files = dict(self.samples[number])
        same = self.damage(random, files)
        options = self.options(number)
        for name, value in (
            ("volume", random.choice((0, 1, -1, 10**30))),
            ("spacing_mm", random.choice(((1, 1, 1), (0.5, 2.0, 3.0), (1e-9, 1, 1e9), (1, 0, 1)))),
            ("fill", random.choice((0.0, 1e300, float("nan")))),
        ):
            if random.random() < 0.1:
                options[name] = value
        options["write"] = random.choice((*[""] * 8, ".nii", ".nii.gz", ".nrrd", ".mha"))
        expected = self.samples[number] if same and not options.keys() & {"spacing_mm"} else None
        return Case(files, self.entry(files), options, expected)

    def run(self, folder: Path, case: Case) -> None:
        """Read, and now and then write what was read."""
        from napari_hyperspace.io import read, write

        (folder.parent / "canary.raw").write_bytes(bytes([_CANARY]) * 4096)
        options = {**case.options}
        suffix = options.pop("write", "")
        volume = read(folder / case.entry, **options)
        check_volume(volume)
        if isinstance(case.expected, dict):
            self.compare(volume, case.expected, options, folder)
        if suffix:
            write(volume, folder / f"{_WRITTEN}{suffix}")

    def compare(
        self, volume: Any, sound: dict[str, bytes], options: dict[str, Any], folder: Path
    ) -> None:
        """Raise `Wrong` if the voxels or the affine are not those of the sound file."""
        from napari_hyperspace.io import read

        with tempfile.TemporaryDirectory(dir=folder.parent) as other:
            write_files(Path(other), sound)
            wanted = read(Path(other, self.entry(sound)), **options)
        if not np.array_equal(volume.array, wanted.array):
            raise Wrong("other voxels, although the checksum of the stream is right")
        if not np.array_equal(volume.affine, wanted.affine):
            raise Wrong("another affine, although the checksum of the stream is right")


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files to a folder, with the folders that they are in."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _nifti(array: Any, *, two: bool = False, big: bool = False, **fields: Any) -> bytes:
    """Return a NIfTI file, with some fields of its header replaced."""
    import nibabel as nib

    kind, image = (
        (nib.Nifti2Header, nib.Nifti2Image) if two else (nib.Nifti1Header, nib.Nifti1Image)
    )
    header = kind(endianness=">" if big else "<")
    header.set_data_dtype(array.dtype)
    made = image(array, AFFINE, header)
    made.set_qform(AFFINE, 1, strip_shears=True)
    made.set_sform(AFFINE, 1)
    made.header.set_xyzt_units("mm")
    data = bytearray(made.to_bytes())
    for name, value in fields.items():
        dtype, offset = kind.template_dtype.fields[name][:2]
        order = dtype.newbyteorder(">" if big else "<")
        data[offset : offset + dtype.itemsize] = np.array(value, order).tobytes()
    return bytes(data)


def described(suffix: str) -> bytes:
    """Return a file of labels with their description: names, colors, and how they were made."""
    import napari_hyperspace as hs
    from napari_hyperspace.core.volume import PostprocessingOptions, Record
    from napari_hyperspace.io import write

    record = Record(
        model="tiny",
        model_digest="0123abcd",
        spacing_mm=(1.0, 2.0, 3.0),
        precision="fp32",
        device="cpu",
        tile_shape=(8, 8, 8),
        overlap=0.25,
        postprocessing=(PostprocessingOptions(True, 0.0, 5.0),),
    )
    metadata: Any = {
        "is_labels": True,
        "label_names": {1: "left part", 2: "right part"},
        "label_colors": {1: "#ff0000"},
        "record": record,
    }
    volume = hs.Volume((VOXELS % 3).astype(np.uint8), hs.Grid(SHAPE, AFFINE), "labels", metadata)
    with tempfile.TemporaryDirectory() as folder:
        return write(volume, Path(folder, f"labels{suffix}")).path.read_bytes()


def damaged_json(random: Random, data: bytes) -> bytes:
    """Replace values of the JSON object within other bytes by ones of the same total length."""
    start = data.find(b'{"format"')
    end = data.rfind(b"}", start, 8192) + 1
    if start < 0 or end <= start:
        return data
    text = mutations.json_text(random, mutations.mutate_tree(random, json.loads(data[start:end])))
    text = text[: end - start].ljust(end - start, b"\0")
    return data[:start] + text + data[end:]


class NiftiTarget(ReaderTarget):
    """NIfTI-1 and -2, both byte orders, several types, four axes."""

    name = "nifti"
    suffix = ".nii"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        four = np.stack([VOXELS, VOXELS + 1], axis=-1)
        contents = (
            _nifti(VOXELS),
            _nifti(VOXELS.astype(np.float32) / 2, scl_slope=2.0, scl_inter=1.0),
            _nifti(VOXELS.astype(np.uint8), intent_code=1002),
            _nifti(VOXELS, big=True),
            _nifti(VOXELS.astype(np.int32), two=True),
            _nifti(VOXELS, sform_code=0),
            _nifti(VOXELS, sform_code=0, qform_code=0),
            _nifti(four),
            described(".nii"),
        )
        return [{f"scan{self.suffix}": content} for content in contents]

    def options(self, number: int) -> dict[str, Any]:
        """Return the choice of a volume for the file with four axes."""
        return {"volume": 1} if number == 7 else {}

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage the header's fields, or any bytes."""
        name = next(iter(files))
        files[name] = damaged_nifti(random, files[name])
        return False


def damaged_nifti(random: Random, data: bytes) -> bytes:
    """Damage the fields of a header, or any bytes, most often those of the header."""
    kind = random.random()
    if b'{"format"' in data and kind < 0.6:
        return damaged_json(random, data)
    if kind < 0.2:
        return mutations.mutate_bytes(random, data)
    if kind < 0.5:
        return mutations.mutate_bytes(random, data, 356)
    import nibabel as nib

    header = nib.Nifti2Header if data[:1] == b"\x1c" or data[3:4] == b"\x1c" else nib.Nifti1Header
    order = ">" if data[0] == 0 else "<"
    fields = header.template_dtype.fields
    changed = bytearray(data)
    for _ in mutations.changes(random):
        dtype, offset = fields[random.choice(sorted(fields))][:2]
        base = dtype.base
        if base.kind not in "iuf":
            continue
        form = order + {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "i8": "q"}.get(
            base.str[1:], "f" if base.itemsize == 4 else "d"
        )
        count = dtype.itemsize // base.itemsize
        at = offset + base.itemsize * random.randrange(count)
        values = mutations.FLOATS if base.kind == "f" else mutations.INTEGERS[:-1]
        changed[at : at + base.itemsize] = mutations.packed(form, random.choice(values))
    return bytes(changed)


class NiftiGzipTarget(NiftiTarget):
    """The same, compressed: damaged outside, where a checksum protects it, and inside."""

    name = "nifti-gz"
    suffix = ".nii.gz"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        plain = super().make()
        return [{n: gzip.compress(c, mtime=0) for n, c in files.items()} for files in plain]

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage the stream or its content."""
        name, data = next(iter(files.items()))
        if random.random() < 0.5:
            files[name] = mutations.mutate_bytes(random, data)
            return True
        content = damaged_nifti(random, gzip.decompress(data))
        files[name] = mutations.pack_gzip(random, content)
        return False


class NiftiPairTarget(NiftiTarget):
    """Header and voxels in two files: the reader asks for one file."""

    name = "nifti-pair"
    suffix = ".hdr"
    sound_is_refused = True

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        header = bytearray(_nifti(VOXELS, vox_offset=0.0)[:348])
        header[344:348] = b"ni1\0"
        pair = {"scan.hdr": bytes(header), "scan.img": VOXELS.tobytes(order="F")}
        analyze = {**pair, "scan.hdr": bytes(header[:344]) + bytes(4)}
        return [pair, analyze, {k: pair[k] for k in ("scan.img", "scan.hdr")}]

    def options(self, number: int) -> dict[str, Any]:
        """Return no options."""
        return {}


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


RLE = "1.2.840.10008.1.2.5"


def _dicom(k: int = 0, syntax: str = "1.2.840.10008.1.2.1", **tags: Any) -> bytes:
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
            _dicom(),
            _dicom(syntax="1.2.840.10008.1.2"),
            _dicom(syntax=RLE, Rows=16, Columns=16, PixelData=bytes(range(256)) * 2),
            _dicom(
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
        series = {f"series/{5 - k:03d}.dcm": _dicom(k) for k in range(5)}
        report = _dicom(9, SeriesInstanceUID="1.2.3", SeriesDescription="other series")
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


TARGET_TYPES: tuple[type[Target], ...] = (
    *(NiftiTarget, NiftiGzipTarget, NiftiPairTarget, NrrdTarget, SegNrrdTarget, NhdrTarget),
    *(MhaTarget, MhdTarget, DicomFileTarget, DicomFolderTarget),
)
