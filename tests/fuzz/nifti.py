"""Files of NIfTI as targets of the mutation driver."""

from __future__ import annotations

import gzip
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.case import Target
from tests.fuzz.readers import AFFINE, VOXELS, ReaderTarget, damaged_json, described


def nifti_file(array: Any, *, two: bool = False, big: bool = False, **fields: Any) -> bytes:
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


class NiftiTarget(ReaderTarget):
    """NIfTI-1 and -2, both byte orders, several types, four axes."""

    name = "nifti"
    suffix = ".nii"

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        four = np.stack([VOXELS, VOXELS + 1], axis=-1)
        contents = (
            nifti_file(VOXELS),
            nifti_file(VOXELS.astype(np.float32) / 2, scl_slope=2.0, scl_inter=1.0),
            nifti_file(VOXELS.astype(np.uint8), intent_code=1002),
            nifti_file(VOXELS, big=True),
            nifti_file(VOXELS.astype(np.int32), two=True),
            nifti_file(VOXELS, sform_code=0),
            nifti_file(VOXELS, sform_code=0, qform_code=0),
            nifti_file(four),
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
        header = bytearray(nifti_file(VOXELS, vox_offset=0.0)[:348])
        header[344:348] = b"ni1\0"
        pair = {"scan.hdr": bytes(header), "scan.img": VOXELS.tobytes(order="F")}
        analyze = {**pair, "scan.hdr": bytes(header[:344]) + bytes(4)}
        return [pair, analyze, {k: pair[k] for k in ("scan.img", "scan.hdr")}]

    def options(self, number: int) -> dict[str, Any]:
        """Return no options."""
        return {}


TARGET_TYPES: tuple[type[Target], ...] = (NiftiTarget, NiftiGzipTarget, NiftiPairTarget)
