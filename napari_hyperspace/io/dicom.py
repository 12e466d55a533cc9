"""DICOM: a folder of slices or one file.

Tags are read with pydicom and checked by `napari_hyperspace.io.series`; pixels are decoded by
SimpleITK (GDCM), one file at a time, so that each slice's own rescaling applies. GDCM invents the
pixels that a file lacks, so their number is checked first.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.config import IGNORE
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_fragments
from pydicom.uid import UID, RLELossless
from SimpleITK import GetArrayFromImage, ImageFileReader

from napari_hyperspace.core.errors import (
    HyperspaceError,
    OptionNeededError,
    SeriesChoice,
    printable,
)
from napari_hyperspace.io.base.decoded import Decoded, override_spacing
from napari_hyperspace.io.base.files import (
    check_memory,
    declared_memory,
    fingerprint,
    open_unchanged,
)
from napari_hyperspace.io.base.streams import Layout, choose_block
from napari_hyperspace.io.base.text import itk_reason
from napari_hyperspace.io.series import Series, Slice, group, stack

_SUFFIXES = (".dcm", ".dicom", ".ima")
_QUIET = threading.Lock()  # the filters of warnings belong to all threads
_LONGEST_UID = 64
_UNDEFINED_LENGTH = 0xFFFFFFFF  # of encapsulated, that is compressed, pixels


def is_dicom(path: Path) -> bool:
    """Whether a regular file is DICOM, by its content or its extension."""
    if not path.is_file():  # opening a pipe would wait for a writer
        return False
    with path.open("rb") as stream:
        stream.seek(128)
        return stream.read(4) == b"DICM" or path.suffix.lower() in _SUFFIXES


def list_series(folder: Path) -> list[Series]:
    """Return the series in a folder, without its subfolders, each with its problems."""
    try:
        files = sorted(path for path in folder.iterdir() if is_dicom(path))
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = error.strerror if isinstance(error, OSError) else None
        raise HyperspaceError(
            "the folder cannot be read", where=folder, found=reason or str(error)
        ) from error
    with declared_memory(folder):
        return group([_read_tags(path) for path in files])


def decode(
    path: Path,
    *,
    volume: int | None = None,
    series: str | None = None,
    spacing_mm: Sequence[float] | None = None,
) -> Decoded:
    """Read a folder or a file; for the parameters see `napari_hyperspace.io.read`."""
    if path.is_dir():
        chosen = _choose(list_series(path), series, path)
    else:
        chosen = group([_read_tags(path)])[0]
        _refuse_unreadable([chosen], path)
    before = [fingerprint(file) for file in chosen.files]
    slices, affine, notes = stack(chosen, path, spacing_mm)
    rows, columns = slices[0].shape
    choose_block(Layout((columns, rows, len(slices)), np.dtype(np.uint8)), volume, path)
    array = _pixels(slices, path)
    if [fingerprint(file) for file in chosen.files] != before:
        raise HyperspaceError(
            "files changed while they were being read",
            where=path,
            fix="Wait until they are written and read them again",
        )
    if spacing_mm is not None:
        affine = override_spacing(affine, spacing_mm)
    if longer := [item for item in slices if item.trailing_bytes]:
        n_bytes = sum(item.trailing_bytes for item in longer)
        files = "1 file" if len(longer) == 1 else f"{len(longer)} files"
        notes.append(f"{n_bytes} bytes after the pixels of {files} were ignored")
    return Decoded(
        array,
        affine,
        path,
        "dicom",
        chosen.title,
        notes=notes,
        series=chosen.uid,
    )


def _choose(found: list[Series], uid: str | None, folder: Path) -> Series:
    _refuse_unreadable(found, folder)
    images = [series for series in found if series.is_image]
    if uid is not None:
        images = [series for series in found if series.uid == uid]
    if len(images) == 1:
        return images[0]
    listed = "; ".join(map(str, found))
    if uid is not None:
        raise HyperspaceError(
            "there is no such series in the folder",
            where=folder,
            field="series",
            found=uid,
            expected=listed or "no DICOM files",
        )
    if images:
        raise OptionNeededError(
            f"the folder contains {len(images)} series",
            option="series",
            series=tuple(SeriesChoice(series.uid, str(series)) for series in images),
            where=folder,
            found=listed,
            fix="Choose one with series=UID",
        )
    raise HyperspaceError(
        "the folder contains no DICOM images",
        where=folder,
        found=listed or None,
        fix="Choose the folder with the image files",
    )


def _refuse_unreadable(found: list[Series], where: Path) -> None:
    """Raise if a file cannot be parsed: the series that it belongs to is unknown."""
    for series in found:
        for item in series.slices:
            if not item.uid and item.is_image:
                raise HyperspaceError(
                    item.problem,
                    where=item.path,
                    fix="Get the file again, or remove it from the folder"
                    if where.is_dir()
                    else "Get the file again",
                )


def _read_tags(path: Path) -> Slice:
    """Return the tags of a file; ``problem`` says what is wrong with it."""
    try:
        with open_unchanged(path) as stream, _quiet():
            check_memory(os.fstat(stream.fileno()).st_size, path)
            return _slice(pydicom.dcmread(stream, force=True), path)
    except HyperspaceError as error:
        reason = error.problem if error.found is None else f"{error.problem} ({error.found})"
    except EOFError:
        reason = "it ends inside its header"
    except Exception as error:  # a damaged file makes the parser raise anything
        # Its text may be empty, or contain the value of any tag, also the name of the patient.
        reason = f"its tags cannot be parsed ({type(error).__name__})"
    return Slice(path, "", "", "", problem=f"the file is damaged or not DICOM: {reason}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence pydicom, whose warnings and log may contain values of tags.

    Its warnings are about tags that are not used here, or that are checked afterwards.
    """
    logger = logging.getLogger("pydicom")
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.addFilter(_nothing)
        try:
            yield
        finally:
            logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _slice(data: FileDataset, path: Path) -> Slice:
    """Return the tags of a parsed file; raise an error if it is damaged."""
    uid = _uid(data, "SeriesInstanceUID", path)
    kind = _uid(data.file_meta, "MediaStorageSOPClassUID", path) or _uid(data, "SOPClassUID", path)
    kind = UID(kind, validation_mode=IGNORE).name
    if "PixelData" not in data and (not kind or "Image Storage" in kind):
        raise HyperspaceError("there are no pixels", where=path)
    if "PixelData" in data and not uid:
        raise HyperspaceError("there is no series instance UID", where=path)
    rows, columns = _whole(data, "Rows"), _whole(data, "Columns")
    frames, samples = _whole(data, "NumberOfFrames") or 1, _whole(data, "SamplesPerPixel") or 1
    n_bytes = math.ceil(rows * columns * frames * samples * _whole(data, "BitsAllocated") / 8)
    modality = _text(data, "Modality")
    is_image = "PixelData" in data
    problem = ""
    slope, intercept = _numbers(data, "RescaleSlope"), _numbers(data, "RescaleIntercept")
    if not is_image:
        problem = f"not an image ({kind})"
    elif not n_bytes:
        problem = "the header states no image size (Rows, Columns, BitsAllocated)"
    elif frames > 1:
        problem = f"multi-frame DICOM ({frames} frames) is not supported: convert it to NIfTI first"
    elif samples > 1:
        photometric = _text(data, "PhotometricInterpretation")
        problem = f"color images ({photometric}, {samples} samples) cannot be segmented"
    elif (held := _held_bytes(data)) is not None and held < n_bytes:
        problem = f"the header states {n_bytes} bytes of pixels, the file has {held}"
    elif (segments := _rle_segments(data)) is not None and segments != math.ceil(
        samples * _whole(data, "BitsAllocated") / 8
    ):  # for 0, the decoder ends the process by a division by zero
        problem = f"the compressed pixels are damaged (RLE with {segments} segments)"
    elif not np.isfinite((*(slope or ()), *(intercept or ()))).all() or 0 in (slope or ()):
        problem = f"the rescaling is invalid (slope {slope}, intercept {intercept})"
    thickness = _numbers(data, "SpacingBetweenSlices") or _numbers(data, "SliceThickness")
    number = _numbers(data, "SeriesNumber")
    padded = n_bytes + n_bytes % 2  # the length of an element is even
    return Slice(
        path,
        uid,
        _text(data, "SeriesDescription"),
        modality,
        is_image=is_image,
        problem=problem,
        shape=(rows, columns),
        pixel_bytes=n_bytes,
        position=_numbers(data, "ImagePositionPatient", 3),
        orientation=_numbers(data, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(data, "PixelSpacing", 2),
        thickness=abs(thickness[0]) if thickness else None,
        number=int(number[0]) if number and math.isfinite(number[0]) else None,
        trailing_bytes=max((_held_bytes(data) or 0) - padded, 0) if n_bytes else 0,
    )


def _raw(data: Dataset, keyword: str) -> Any:
    """Return an element's stored value, without pydicom's validation (and its warnings)."""
    return data.get_item(keyword).value if keyword in data else None


def _held_bytes(data: FileDataset) -> int | None:
    """Return the number of bytes of pixels in the file; `None` if they are compressed."""
    element: Any = data.get_item("PixelData")
    compressed = getattr(element, "length", 0) == _UNDEFINED_LENGTH
    return None if compressed else len(element.value or b"")


def _rle_segments(data: FileDataset) -> int | None:
    """Return the number of segments of run-length encoded pixels; `None` for others."""
    if _decoded(data.file_meta, "TransferSyntaxUID").strip(" \0") != RLELossless:
        return None
    element: Any = data.get_item("PixelData")
    fragments = generate_fragments(element.value or b"")
    next(fragments, b"")  # the table of offsets
    return int.from_bytes(next(fragments, b"")[:4], "little")


def _uid(data: Dataset, keyword: str, path: Path) -> str:
    """Return a UID; raise an error if it is too long, as one with a damaged length is."""
    text = _decoded(data, keyword).strip(" \0")
    if len(text) > _LONGEST_UID or "\0" in text:
        raise HyperspaceError("a UID is not valid", where=path, found=keyword)
    return printable(text)


def _text(data: Dataset, keyword: str) -> str:
    """Return a text.

    A damaged length may append the tags that follow, such as the name of the patient. Their own
    headers contain null characters, where the text is cut.
    """
    return printable(_decoded(data, keyword).partition("\0")[0].strip())


def _decoded(data: Dataset, keyword: str) -> str:
    value = _raw(data, keyword)
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            value = value.decode("latin-1")
    return str(value or "")


def _numbers(data: FileDataset, keyword: str, count: int = 1) -> tuple[float, ...] | None:
    """Return the numbers of a decimal string; `None` unless there are ``count``."""
    try:
        values = tuple(float(part) for part in _text(data, keyword).split("\\"))
    except ValueError:
        return None
    finite = count == 1 or all(map(math.isfinite, values))
    return values if len(values) == count and finite else None


def _whole(data: FileDataset, keyword: str) -> int:
    value = data.get(keyword)
    return int(value) if value else 0


def _pixels(slices: Sequence[Slice], where: Path) -> NDArray[Any]:
    """Return (column, row, slice), every slice rescaled by its own tags."""
    rows, columns = slices[0].shape
    check_memory(sum(item.pixel_bytes for item in slices), where)
    reader = ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    array: NDArray[Any] | None = None
    for k, item in enumerate(slices):
        plane = _plane(reader, item)
        if array is None:
            check_memory(len(slices) * plane.nbytes, where)
            array = np.empty((len(slices), rows, columns), plane.dtype)
        elif not np.can_cast(plane.dtype, array.dtype):
            array = array.astype(np.promote_types(plane.dtype, array.dtype))
        array[k] = plane
    assert array is not None
    return array.T


def _plane(reader: ImageFileReader, item: Slice) -> NDArray[Any]:
    reader.SetFileName(str(item.path))
    try:
        plane: NDArray[Any] = GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise HyperspaceError(
            "the pixels cannot be decoded",
            where=item.path,
            field="TransferSyntaxUID",
            found=itk_reason(error),
            fix="The file is damaged or its compression is not supported: save it uncompressed",
        ) from error
    if plane.shape != (1, *item.shape):
        raise HyperspaceError(
            "the decoded pixels do not have the shape in the header",
            where=item.path,
            found=plane.shape,
            expected=(1, *item.shape),
        )
    first: NDArray[Any] = plane[0]
    return first
