"""Files that need an option of `read`: the error names it, and with it the file is read."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceWarning, OptionNeededError, SeriesChoice
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import list_series, read

from .text_files import meta, nrrd

NAN = float("nan")
SPACING = (1.0, 2.0, 4.0)


def needed(path: Path) -> OptionNeededError:
    """Read a file without options, and return the error as another process would receive it."""
    with pytest.raises(OptionNeededError) as caught:
        read(path)
    error: OptionNeededError = pickle.loads(pickle.dumps(caught.value))
    assert error.where == str(path)
    assert error.fix
    return error


def read_quietly(path: Path, **options: Any) -> Volume:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HyperspaceWarning)
        return read(path, **options)


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({"pixdim": (0.0, 2.0, 4.0)}, (0, 0)),
        ({"pixdim": (0.0, 2.0, 4.0)}, (1, 0)),
        ({"pixdim": (1.0, NAN, 4.0)}, (0, 2)),
        ({"xyzt_units": 5}, (0, 2)),
        ({"srow": (0.0,) * 12}, (0, 2)),
        ({"xyzt_units": 0, "srow": (0.001, 0, 0, 0, 0, 0.001, 0, 0, 0, 0, 0.001, 0)}, (0, 2)),
    ],
)
def test_nifti_needs_a_spacing(nifti: Callable[..., Path], fields: Any, codes: Any) -> None:
    path = nifti(fields=fields, codes=codes)
    assert needed(path).option == "spacing_mm"
    volume = read_quietly(path, spacing_mm=SPACING)
    assert volume.spacing_mm == pytest.approx(SPACING)


def test_a_valid_qform_needs_no_option(nifti: Callable[..., Path]) -> None:
    path = nifti(fields={"srow": (0.0,) * 12}, codes=(1, 2))
    with pytest.raises(Exception, match="qform is valid") as caught:
        read(path)
    assert not isinstance(caught.value, OptionNeededError)


def test_text_formats_need_a_spacing(tmp_path: Path) -> None:
    for path in (
        nrrd(tmp_path, space_directions=None),
        nrrd(tmp_path, name="b.nrrd", space_units='"miles" "mm" "mm"'),
        meta(tmp_path, ElementSpacing=None),
        meta(tmp_path, name="b.mha", DistanceUnits="miles"),
    ):
        assert needed(path).option == "spacing_mm"
        volume = read_quietly(path, spacing_mm=SPACING)
        assert volume.spacing_mm == pytest.approx(SPACING)


def test_dicom_needs_a_spacing(dicom: Callable[..., Path]) -> None:
    path = dicom(PixelSpacing=None)
    assert needed(path).option == "spacing_mm"
    assert read(path, spacing_mm=SPACING).spacing_mm[:2] == SPACING[:2]


def test_several_volumes_are_counted(nifti: Callable[..., Path]) -> None:
    path = nifti(np.zeros((3, 4, 5, 2, 3), np.int16))
    error = needed(path)
    assert (error.option, error.n_volumes) == ("volume", 6)
    assert read(path, volume=5).shape == (3, 4, 5)
    flat = nifti(np.zeros((3, 4), np.int16), name="flat.nii")
    error = needed(flat)
    assert (error.option, error.n_volumes) == ("volume", 1)
    assert read(flat, volume=0).shape == (3, 4, 1)


def test_series_are_listed_with_their_uids(dicom: Callable[..., Path]) -> None:
    dicom(stem="a", SeriesInstanceUID="1.2.3")
    path = dicom(stem="b", SeriesInstanceUID="1.2.4", SeriesDescription="other")
    error = needed(path)
    assert error.option == "series"
    assert error.series == tuple(SeriesChoice(one.uid, str(one)) for one in list_series(path))
    assert [one.uid for one in error.series] == ["1.2.3", "1.2.4"]
    for choice in error.series:
        assert read(path, series=choice.uid).metadata["series"] == choice.uid


def test_voxels_that_are_not_finite_need_a_fill_value(nifti: Callable[..., Path]) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 0, 0] = NAN
    path = nifti(array)
    assert needed(path).option == "fill"
    with pytest.warns(UserWarning, match="not finite"):
        assert read(path, fill=7.0).array[0, 0, 0] == 7
