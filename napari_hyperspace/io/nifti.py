"""Reading and writing NIfTI-1 and NIfTI-2 (one file, plain or gzip); see also `nifti_affine`.

A label map is written with a header extension that contains its description as a comment: names,
colors, and how the labels were made (`napari_hyperspace.io.record`). Other extensions are skipped.

Source: https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

import gzip
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import stem_of
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.io.base.decoded import Decoded
from napari_hyperspace.io.base.files import check_memory, open_unchanged
from napari_hyperspace.io.base.streams import InflateStream, Layout, check_layout, read_voxels, skip
from napari_hyperspace.io.nifti_affine import SAME_AFFINE_MM, geometry_of
from napari_hyperspace.io.record import LARGEST_DESCRIPTION, describe_labels, labels_described

_MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}
_PAIR_MAGIC = {348: b"ni1\0", 540: b"ni2\0\r\n\x1a\n"}
_LARGEST_NIFTI1_SIZE = 32767
_COMMENT = 6  # NIFTI_ECODE_COMMENT: plain ASCII text
_LABEL_INTENT = 1002  # NIFTI_INTENT_LABEL: each value is an index into a list of labels
_GEOMETRY_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units"),
)


@dataclass(frozen=True)
class NiftiHeader:
    """The header block of a file that was read, kept to store its geometry bit for bit."""

    block: bytes

    def parse(self) -> Any:
        """Return nibabel's header, unchecked: its checks silently change invalid fields."""
        kind: Any = nib.Nifti1Header if len(self.block) == 348 else nib.Nifti2Header
        # nibabel itself would guess the byte order by the number of axes, which may be invalid.
        is_little = int.from_bytes(self.block[:4], "little") == len(self.block)
        return kind(self.block, "<" if is_little else ">", check=False)


def decode(
    path: Path, *, volume: int | None = None, spacing_mm: Sequence[float] | None = None
) -> Decoded:
    """Read a file; for the parameters see `napari_hyperspace.io.read`."""
    with open_unchanged(path) as raw:
        size = os.fstat(raw.fileno()).st_size
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        inflated = InflateStream(raw, path) if compressed else None
        stream = raw if inflated is None else cast(BinaryIO, io.BufferedReader(inflated))
        kept, offset, described = _read_header(stream, path)
        header = kept.parse()
        layout = Layout(_sizes(header, path), _dtype(header, path))
        check_layout(layout, path, size if compressed else size - offset, compressed=compressed)
        scaling = _scaling(header, path)
        if scaling is not None:  # then the stored values and the scaled ones are in memory
            n_voxels = math.prod(layout.spatial)
            check_memory((layout.dtype.itemsize + 8) * n_voxels, path)
        array, trailing = read_voxels(stream, layout, path, volume=volume)
    geometry = geometry_of(header, path, spacing_mm)
    if trailing := trailing + (inflated.trailing if inflated else 0):
        geometry.notes.append(f"{trailing} bytes after the voxels were ignored")
    return Decoded(
        array if scaling is None else _scaled(array, *scaling),
        geometry.affine,
        path,
        "nifti",
        stem_of(path),
        header=kept if spacing_mm is None else None,
        notes=geometry.notes,
        orientation_unknown=geometry.orientation_unknown,
        units_stated=spacing_mm is not None or int(header["xyzt_units"]) & 7 != 0,
        is_labels=int(header["intent_code"]) == _LABEL_INTENT and array.dtype.kind in "iu",
        described=None if scaling is not None else described,
    )


def _read_header(stream: BinaryIO, path: Path) -> tuple[NiftiHeader, int, VolumeMetadata | None]:
    """Read up to the first voxel; return header, offset of the voxels and description of labels."""
    block = stream.read(348)
    size = next(
        (n for n in _MAGIC if block[:4] in (n.to_bytes(4, "little"), n.to_bytes(4, "big"))), 0
    )
    if size == 540:
        block += stream.read(540 - 348)
    if not size or len(block) < size:
        raise HyperspaceError("the file is not NIfTI, or its header is truncated", where=path)
    start, magic = _MAGIC[size]
    found = block[start : start + len(magic)]
    if found == _PAIR_MAGIC[size]:
        raise HyperspaceError(
            "NIfTI pairs (.hdr and .img) are not supported",
            where=path,
            field="magic",
            fix="Save it as one .nii file",
        )
    if found != magic:
        raise HyperspaceError(
            "the header is not a NIfTI header",
            where=path,
            field="magic",
            found=found,
            expected=magic,
        )
    kept = NiftiHeader(block)
    offset = float(kept.parse()["vox_offset"])
    if not (np.isfinite(offset) and offset.is_integer() and offset >= size + 4):
        raise HyperspaceError(
            "the voxels cannot start at this offset",
            where=path,
            field="vox_offset",
            found=offset,
            expected=f"a whole number from {size + 4}",
        )
    if stream.seekable() and offset > os.fstat(stream.fileno()).st_size:
        raise HyperspaceError(
            "the header states more than the file contains",
            where=path,
            field="vox_offset",
            found=int(offset),
        )
    left, described = _read_extensions(stream, path, kept, int(offset) - size)
    skip(stream, left, path)
    return kept, int(offset), described


def _read_extensions(
    stream: BinaryIO, path: Path, kept: NiftiHeader, left: int
) -> tuple[int, VolumeMetadata | None]:
    """Read the extensions of a header, as far as they are valid.

    Parameters
    ----------
    stream, path
        The file, read up to the end of the header.
    kept
        The header.
    left
        Number of bytes up to the first voxel.

    Returns
    -------
    left
        Number of those bytes that were not read.
    described
        The description of the labels; `None` if no extension contains one.
    """
    extender = stream.read(4)
    left -= len(extender)
    if not extender[:1].strip(b"\0"):
        return left, None
    little = int.from_bytes(kept.block[:4], "little") == len(kept.block)
    order: Literal["little", "big"] = "little" if little else "big"
    while left >= 8:
        start = stream.read(8)
        left -= len(start)
        size, code = (int.from_bytes(part, order, signed=True) for part in (start[:4], start[4:]))
        size -= 8
        if not 0 <= size <= left:
            break
        if code == _COMMENT and size <= LARGEST_DESCRIPTION:
            content = stream.read(size)
            left -= len(content)
            described = labels_described(content)
            if described is not None:
                return left, described
        else:
            skip(stream, size, path)
            left -= size
    return left, None


def _sizes(header: Any, path: Path) -> tuple[int, ...]:
    """Return the sizes, without trailing axes of one voxel beyond the third."""
    dim = [int(size) for size in header["dim"]]
    if not 1 <= dim[0] <= 7:
        raise HyperspaceError(
            "the number of axes is not valid",
            where=path,
            field="dim[0]",
            found=dim[0],
            expected="1 … 7",
        )
    sizes = dim[1 : dim[0] + 1]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes) if len(sizes) > 1 else (*sizes, 1)


def _dtype(header: Any, path: Path) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise HyperspaceError(
            "the pixel type is unknown",
            where=path,
            field="datatype",
            found=int(header["datatype"]),
        ) from error
    return dtype


def _scaling(header: Any, path: Path) -> tuple[float, float] | None:
    """Return slope and intercept; `None` for none, which a slope of 0 means, too."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    for field, value in (("scl_slope", slope), ("scl_inter", intercept)):
        if not np.isfinite(value):
            raise HyperspaceError(
                "the intensity scaling is not finite",
                where=path,
                field=field,
                found=value,
                fix="Set scl_slope to 1 and scl_inter to 0 if the stored values need no scaling",
            )
    if slope == 0 or (slope, intercept) == (1, 0):
        return None
    return slope, intercept


def _scaled(array: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float64]:
    """Apply slope and intercept in double precision."""
    scaled = array.astype(np.float64)
    scaled *= slope
    scaled += intercept
    return scaled


def encode(volume: Volume, path: Path) -> None:
    """Write a volume without scaling, with the geometry of the header it was read with, if any.

    Parameters
    ----------
    volume
        Of a type that NIfTI supports.
    path
        Ends in ``.nii`` or ``.nii.gz``.
    """
    header = _header_for(volume)
    header.set_data_dtype(volume.dtype)
    if volume.metadata.get("is_labels") or volume.metadata.get("label_names"):
        header["intent_code"] = _LABEL_INTENT
    description = describe_labels(volume.metadata)
    if description:
        header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, description))
    kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    image = kind(volume.array, None, header)
    with path.open("wb") as raw:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", compresslevel=4, fileobj=raw, mtime=0) as stream:
                image.to_stream(stream)
        else:
            image.to_stream(raw)


def _header_for(volume: Volume) -> Any:
    """Return a header with the volume's shape and geometry."""
    kept = volume.metadata.get("header")
    if isinstance(kept, NiftiHeader) and _describes(kept, volume):
        old = kept.parse()
        header = type(old)()
        header.set_data_shape(volume.shape)
        # As the reader takes them; nibabel would repair them by rules of its own, and say so.
        header["pixdim"][0] = -1 if old["pixdim"][0] < 0 else 1
        header["pixdim"][1:4] = np.abs(old["pixdim"][1:4])
        for field in _GEOMETRY_FIELDS:
            header[field] = old[field]
        return header
    large = max(volume.shape) > _LARGEST_NIFTI1_SIZE
    kind: Any = nib.Nifti2Header if large else nib.Nifti1Header
    header = kind()
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code="scanner")
    header.set_qform(volume.affine, code="scanner")
    if Grid(volume.shape, header.get_qform()).corner_distance_mm(volume.grid) > SAME_AFFINE_MM:
        header["qform_code"] = 0  # a quaternion cannot represent a shear
    return header


def _describes(kept: NiftiHeader, volume: Volume) -> bool:
    """Whether a header has the geometry of the volume, and is one that may be written."""
    header = kept.parse()
    codes = {int(header["qform_code"]), int(header["sform_code"])}
    if codes - {*nib.nifti1.xform_codes.value_set()} or not header["pixdim"][1:4].all():
        return False
    shape = (*(int(size) for size in header["dim"][1 : header["dim"][0] + 1]), 1, 1)[:3]
    affine = geometry_of(header, Path(volume.name)).affine
    return shape == volume.shape and np.array_equal(affine, volume.affine)
