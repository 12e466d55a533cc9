"""Files that need an option of `read`: the error names it, and with it the file is read."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_hyperspace.core.errors import (
    HyperspaceError,
    HyperspaceWarning,
    OptionNeededError,
    SeriesChoice,
)
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


@pytest.mark.parametrize(
    "fill", [[1], "1", 1j, np.array([1.0]), pytest.param(10**400, id="huge"), object()]
)
def test_a_fill_value_is_one_number(nifti: Callable[..., Path], fill: object) -> None:
    array = np.full((3, 5, 7), np.nan, np.float32)
    for path in (nifti(array), nifti()):  # whether it is needed or not
        with pytest.raises(HyperspaceError, match="must be a number") as caught:
            read(path, fill=fill)  # type: ignore[arg-type]
        assert caught.value.field == "fill" and len(str(caught.value)) < 500
    with pytest.warns(HyperspaceWarning, match="now 2"):
        assert read(nifti(array), fill=np.float32(2)).array.max() == 2


@pytest.mark.parametrize("volume", [[1], "1", 1.0])
def test_a_volume_is_chosen_by_a_whole_number(nifti: Callable[..., Path], volume: object) -> None:
    with pytest.raises(HyperspaceError, match="whole number") as caught:
        read(nifti(), volume=volume)  # type: ignore[arg-type]
    assert caught.value.field == "volume"
    assert read(nifti(), volume=np.int64(0)).shape == (3, 5, 7)  # type: ignore[arg-type]


def test_the_fix_for_a_scaling_that_is_not_finite_is_one(nifti: Callable[..., Path]) -> None:
    fields = {"scl_slope": 0.0, "scl_inter": np.nan}
    with pytest.raises(HyperspaceError, match="scaling is not finite") as caught:
        read(nifti(fields=fields))
    assert caught.value.field == "scl_inter"
    assert caught.value.fix is not None and "scl_inter to 0" in caught.value.fix
    assert read(nifti(fields={"scl_slope": 1.0, "scl_inter": 0.0})).dtype == np.int16


def test_values_that_overflow_by_their_scaling_are_reported_as_not_finite(
    nifti: Callable[..., Path],
) -> None:
    """Numpy's own warning of the overflow would be an error here."""
    path = nifti(np.full((3, 5, 7), 1e300), fields={"scl_slope": 1e30})
    with pytest.raises(HyperspaceError, match="105 NaN or infinite of 105"):
        read(path)
