"""Reading and writing volumes in any supported format."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning, printable
from napari_hyperspace.core.files import replacing, resolved, suffix_of
from napari_hyperspace.core.geometry import check_spacing
from napari_hyperspace.core.volume import ReadingOptions, Volume
from napari_hyperspace.io.base.decoded import Decoded
from napari_hyperspace.io.base.files import declared_memory, is_folder, look_up, open_unchanged
from napari_hyperspace.io.base.text import files_of, itk_reason, shortened
from napari_hyperspace.io.ome_zarr.decode import is_ome_zarr
from napari_hyperspace.io.series import Series

_FORMATS = {
    **dict.fromkeys((".nii", ".nii.gz"), "nifti"),
    **dict.fromkeys((".nrrd", ".seg.nrrd", ".nhdr"), "nrrd"),
    **dict.fromkeys((".mha", ".mhd"), "metaimage"),
    **dict.fromkeys((".dcm", ".dicom", ".ima"), "dicom"),
}
_WRITABLE = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd", ".mha")
_SNIFFED_BYTES = 8192


@dataclass(frozen=True)
class Receipt:
    """Result of reading back a file that was just written.

    Parameters
    ----------
    path
        The file.
    affine_identical
        Whether its affine is bit-identical to that of the volume.
    grid_matches
        Whether shape and corners agree within 1e-3 mm.
    corner_distance_mm
        The largest distance between corresponding corners.
    checked_voxels
        Number of voxels that were compared; all were equal.
    """

    path: Path
    affine_identical: bool
    grid_matches: bool
    corner_distance_mm: float
    checked_voxels: int

    def __str__(self) -> str:
        geometry = (
            "affine bit-identical"
            if self.affine_identical
            else f"grid within {self.corner_distance_mm:.1e} mm"
        )
        return f"{self.path}: {geometry}, {self.checked_voxels} voxels read back and equal"


def read(
    path: str | os.PathLike[str],
    *,
    volume: int | None = None,
    series: str | None = None,
    spacing_mm: Sequence[float] | None = None,
    fill: float | None = None,
) -> Volume:
    """Read a scan or a label map.

    Parameters
    ----------
    path
        A NIfTI (``.nii``, ``.nii.gz``), NRRD (``.nrrd``, ``.nhdr``), MetaImage (``.mha``,
        ``.mhd``) or DICOM file, or a folder of DICOM files; or an OME-Zarr image, a folder or a zip
        file (``.zarr.zip``, ``.ozx``): its finest level, or the level whose folder is given.
    volume
        Which 3-D volume of a file with more axes (counted in file order), or 0 to take a 2-D image
        as one slice.
    series
        UID of the DICOM series wanted, where a folder holds several; see `list_series`.
    spacing_mm
        Voxel spacing in the file's array order, used instead of the file's own where that is
        missing or wrong. Directions and the position of the first voxel are kept.
    fill
        Value for NaN and infinite voxels, which are an error otherwise.

    Returns
    -------
    Volume
        In the file's own array order (i, j, k), i varying fastest in the file; its affine maps that
        index to RAS+ mm. Intensity scaling (slope, intercept) is applied in float64; without
        scaling the file's own type is kept, in native byte order.

    Raises
    ------
    OptionNeededError
        If the file can be read once one of the options is given.
    HyperspaceError
        If the file cannot be read.

    Warns
    -----
    HyperspaceWarning
        If the file can be read, but something about it should be known.
    """
    source = Path(path)
    if spacing_mm is not None:
        spacing_mm = check_spacing(spacing_mm)
    volume, fill = _check_options(volume, fill)
    # Values that overflow are refused or kept on purpose; numpy's own warnings would add nothing.
    with declared_memory(source), np.errstate(all="ignore"):
        decoded = _decode(source, volume=volume, series=series, spacing_mm=spacing_mm)
        result = decoded.to_volume(fill, _reading(volume, spacing_mm, fill))
    for note in decoded.notes:
        warnings.warn(f"{printable(str(source))}: {note}", HyperspaceWarning, stacklevel=2)
    return result


def _reading(
    volume: int | None, spacing_mm: Sequence[float] | None, fill: float | None
) -> ReadingOptions:
    """Return the options that were given."""
    given = ReadingOptions()
    if volume is not None:
        given["volume"] = volume
    if spacing_mm is not None:
        a, b, c = spacing_mm
        given["spacing_mm"] = (a, b, c)
    if fill is not None:
        given["fill"] = fill
    return given


def _check_options(volume: int | None, fill: float | None) -> tuple[int | None, float | None]:
    """Raise an error for options of a wrong type."""
    try:
        volume = None if volume is None else operator.index(volume)
    except TypeError as error:
        raise HyperspaceError(
            "the volume is chosen by a whole number", field="volume", found=repr(volume)
        ) from error
    if fill is not None:
        try:
            if not isinstance(fill, (int, float, np.integer, np.floating)):
                raise TypeError
            fill = float(fill)
        except (TypeError, OverflowError) as error:
            raise HyperspaceError(
                "the value for voxels that are not finite must be a number",
                field="fill",
                found=shortened(repr(fill)),
            ) from error
    return volume, fill


def list_series(folder: str | os.PathLike[str]) -> list[Series]:
    """List the DICOM series in a folder, without its subfolders, each with its problems.

    Raises
    ------
    HyperspaceError
        If there is no such folder.
    """
    from napari_hyperspace.io import dicom

    return dicom.list_series(Path(folder))


def _decode(
    path: Path,
    *,
    volume: int | None = None,
    series: str | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> Decoded:
    # Formats are imported when needed: importing SimpleITK takes longer than reading a NIfTI file.
    found = "ome-zarr" if is_ome_zarr(path) else "dicom" if is_folder(path) else _sniff(path)
    if found == "dicom":
        from napari_hyperspace.io import dicom

        return dicom.decode(path, volume=volume, series=series, spacing_mm=spacing_mm)
    if series is not None:
        raise HyperspaceError("only DICOM files have series", where=path, field="series")
    decode: Callable[..., Decoded]
    if found == "nifti":
        from napari_hyperspace.io.nifti import decode
    elif found == "nrrd":
        from napari_hyperspace.io.nrrd import decode
    elif found == "ome-zarr":
        from napari_hyperspace.io.ome_zarr.decode import decode
    else:
        from napari_hyperspace.io.metaimage import decode
    return decode(path, volume=volume, spacing_mm=spacing_mm)


def _sniff(path: Path) -> str:
    """Return the format of a file's content, which must match its extension."""
    with open_unchanged(path) as stream:
        head = stream.read(_SNIFFED_BYTES)
    suffix = suffix_of(path)
    expected = _FORMATS.get(suffix)
    found = _format_of(head)
    if found == "gzip":
        # Of the supported formats only NIfTI is compressed as a whole file.
        found = "nifti" if suffix == ".nii.gz" or expected is None else "gzip"
    elif found == "nifti" and suffix == ".nii.gz":
        found = "uncompressed nifti"
    elif found is None and expected in ("nifti", "dicom"):
        return expected  # the reader explains what is wrong with the header
    if found is None:
        raise HyperspaceError(
            "unknown file format",
            where=path,
            expected="NIfTI, NRRD, MetaImage, DICOM or OME-Zarr",
        )
    if expected is not None and found != expected:
        raise HyperspaceError(
            "content and extension of the file differ",
            where=path,
            found=found,
            expected=expected,
            fix="Rename the file to match its content",
        )
    return found


def _format_of(head: bytes) -> str | None:
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c"):
        return "nifti"  # the size of its header, 348 or 540, in either byte order
    if head[128:132] == b"DICM":
        return "dicom"
    if head[:4] == b"NRRD":
        return "nrrd"
    keys = {line.partition(b"=")[0].strip() for line in head.splitlines()}
    return "metaimage" if {b"NDims", b"DimSize"} <= keys else None


def write(volume: Volume, path: str | os.PathLike[str], *, overwrite: bool = True) -> Receipt:
    """Write a volume, read it back and compare.

    The array is stored in its own type, without intensity scaling. The affine:

    - NIfTI: a volume read from a NIfTI file, or on the grid of one, as a segmentation is, gets that
      file's affines, codes and units bit for bit. Other affines are rounded to single precision.
    - NRRD: any affine is stored exactly.
    - MetaImage: like NIfTI, but other affines are rounded in double precision.

    The receipt states whether the affine was rounded.

    Parameters
    ----------
    volume
        Integer, boolean (stored as uint8) or real values.
    path
        Ends in ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``. Replaced atomically after the
        comparison; after a failure an existing file is unchanged.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    HyperspaceError
        If the file would replace the volume's own input, cannot be written, or does not read back
        equal.
    """
    target = resolved(path)
    check_target(target, volume.metadata.get("path"), overwrite=overwrite)
    # What overflows does not read back equal; numpy's own warnings would add nothing.
    with declared_memory(target), np.errstate(all="ignore"), replacing(target) as temporary:
        stored = volume.with_array(_storable(volume, target))
        try:
            if suffix_of(target).startswith(".nii"):
                from napari_hyperspace.io import nifti

                nifti.encode(stored, temporary)
            else:
                from napari_hyperspace.io import itk

                itk.encode(stored, temporary)
        except RuntimeError as error:  # SimpleITK raises no other
            raise HyperspaceError(
                "the file cannot be written", where=target, found=itk_reason(error)
            ) from error
        return _compare(stored, temporary, target)


def check_target(
    path: str | os.PathLike[str],
    source: str | os.PathLike[str] | None = None,
    *,
    overwrite: bool = True,
) -> None:
    """Check that `write` can write to a path, before the work whose result it will be.

    Parameters
    ----------
    path
        Where to write.
    source
        File that the volume was made from, if any. If it is a header, its data file is not replaced
        either.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    HyperspaceError
        If the format cannot be written, the folder does not exist, or the file is the source or
        must not be replaced.
    """
    target = resolved(path)
    suffix = suffix_of(target)
    if suffix not in _WRITABLE:
        raise HyperspaceError(
            "this file format cannot be written",
            where=target,
            field="extension",
            found=suffix or "none",
            expected=", ".join(_WRITABLE),
        )
    if not is_folder(target.parent):
        raise HyperspaceError("the folder does not exist", where=target.parent)
    if look_up(target) is None:
        return
    if source is not None and any(_same_file(target, each) for each in files_of(Path(source))):
        raise HyperspaceError(
            "a result must not replace the scan it was made from",
            where=target,
            fix="Choose another name",
        )
    if is_folder(target) or not overwrite:
        raise HyperspaceError(
            "the file already exists", where=target, fix="Choose another name, or overwrite it"
        )


def _same_file(one: Path, other: Path) -> bool:
    return look_up(other) is not None and one.samefile(other)


def _storable(volume: Volume, target: Path) -> np.ndarray[Any, Any]:
    """Return the array in a type that the formats support, with equal values."""
    array = volume.array
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise HyperspaceError(
            "values of this type cannot be written", where=target, field="dtype", found=array.dtype
        )
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _compare(volume: Volume, temporary: Path, target: Path) -> Receipt:
    """Read a written file back; raise if voxels or grid are not those of the volume."""
    try:
        decoded = _decode(temporary)
    except HyperspaceError as error:
        raise error.replace(where=target) from error
    equal = decoded.array.dtype == volume.dtype and np.array_equal(
        decoded.array, volume.array, equal_nan=volume.dtype.kind == "f"
    )
    if not equal:
        raise HyperspaceError(
            "the written voxels do not read back equal",
            where=target,
            found=f"{decoded.array.dtype}, {decoded.array.shape}",
            expected=f"{volume.dtype}, {volume.shape}",
        )
    grid = type(volume.grid)(volume.shape, decoded.affine)
    receipt = Receipt(
        target,
        affine_identical=bool(np.array_equal(decoded.affine, volume.affine)),
        grid_matches=grid.is_close(volume.grid),
        corner_distance_mm=grid.corner_distance_mm(volume.grid),
        checked_voxels=volume.array.size,
    )
    if not receipt.grid_matches:
        raise HyperspaceError(
            "the written grid does not read back equal",
            where=target,
            found=f"corners {receipt.corner_distance_mm:.3g} mm apart",
            expected="at most 0.001 mm",
            fix="Write it as .nrrd, which stores any affine exactly",
        )
    return receipt
