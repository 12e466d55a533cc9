"""Small files, written by other libraries than those that the readers use."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.array(  # oblique, anisotropic, one axis flipped; exact in single precision
    [[-0.5, 0.25, 0.125, 12.5], [0.25, 0.75, 0.5, -7.25], [0.0, -0.375, 3.0, 40.0], [0, 0, 0, 1]]
)


@pytest.fixture
def oblique() -> np.ndarray[Any, Any]:
    """An affine, index → RAS+ mm, that reveals any wrong axis convention; slightly sheared."""
    return AFFINE.copy()


@pytest.fixture
def nifti(tmp_path: Path) -> Callable[..., Path]:
    """Make a NIfTI file, then overwrite header fields: name → (offset, struct format, value)."""

    def make(
        array: np.ndarray[Any, Any] | None = None,
        affine: np.ndarray[Any, Any] | None = None,
        *,
        name: str = "scan.nii",
        fields: dict[str, Any] | None = None,
        codes: tuple[int, int] = (0, 2),
        tail: bytes = b"",
    ) -> Path:
        array = np.arange(3 * 5 * 7, dtype=np.int16).reshape(3, 5, 7) if array is None else array
        affine = np.diag([1.0, 2.0, 4.0, 1.0]) if affine is None else affine
        header = nib.Nifti1Header()
        header.set_data_dtype(array.dtype)
        image = nib.Nifti1Image(array, affine, header)
        image.set_qform(affine, codes[0])
        image.set_sform(affine, codes[1])
        block = bytearray(image.to_bytes())
        for field, value in (fields or {}).items():
            offset, form = NIFTI_FIELDS[field]
            values = value if isinstance(value, tuple) else (value,)
            block[offset : offset + struct.calcsize(form)] = struct.pack("<" + form, *values)
        path = tmp_path / name
        path.write_bytes(bytes(block) + tail)
        return path

    return make


NIFTI_FIELDS = {  # nifti1.h
    "sizeof_hdr": (0, "i"),
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "qfac": (76, "f"),
    "pixdim": (80, "3f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
    "magic": (344, "4s"),
}


@pytest.fixture
def dicom(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of DICOM slices with pydicom; callables among the tags get the slice number."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    def make(
        n_slices: int = 5,
        folder: str = "series",
        *,
        stem: str = "slice",
        sop_class: str = "1.2.840.10008.5.1.4.1.1.4",
        image: bool = True,
        **tags: Any,
    ) -> Path:
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        # Written and named from the last slice to the first: only the positions give the order.
        for k in reversed(range(n_slices)):
            data = Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = sop_class
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            data.SeriesInstanceUID = "1.2.826.0.1"
            data.SeriesDescription = "made up"
            data.Modality = "MR"
            if image:
                data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
                data.BitsAllocated = data.BitsStored = 16
                data.HighBit, data.PixelRepresentation = 15, 1
                data.Rows, data.Columns = 4, 3
                data.PixelSpacing = [2.0, 0.5]
                data.ImageOrientationPatient = [0.8, 0.6, 0, 0, 0, -1]  # coronal, rotated
                normal = np.cross([0.8, 0.6, 0], [0, 0, -1])
                data.ImagePositionPatient = [float(v) for v in [10, -20, 30] + 1.5 * k * normal]
                data.PixelData = (np.arange(12, dtype="<i2") + 100 * k).tobytes()
            for keyword, value in tags.items():
                if (given := value(k) if callable(value) else value) is None:
                    delattr(data, keyword)
                else:
                    setattr(data, keyword, given)
            name = target / f"{stem}{n_slices - k:03d}.dcm"
            pydicom.dcmwrite(name, data, enforce_file_format=True)
        return target

    return make
