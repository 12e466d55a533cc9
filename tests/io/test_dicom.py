"""DICOM folders and files, written by pydicom; the oracle is SimpleITK's series reader."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.io import list_series, read, write
from tests.fuzz.dicom import RLE, dicom_file

Maker = Callable[..., Path]
NORMAL = np.cross([0.8, 0.6, 0], [0, 0, -1])


def position(height_mm: float, aside_mm: float = 0.0) -> list[float]:
    """A slice position at a height along the normal, shifted along the rows."""
    place = np.array([10, -20, 30]) + height_mm * NORMAL + aside_mm * np.array([0.8, 0.6, 0])
    return [float(round(value, 9)) for value in place]


def itk_world(image: sitk.Image, index: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """RAS+ position of a voxel by ITK."""
    return np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)


def test_every_voxel_lies_where_itk_says(dicom: Maker) -> None:
    folder = dicom()
    volume = read(folder)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), "1.2.826.0.1")
    image = sitk.ReadImage(names)
    assert volume.shape == (3, 4, 5) == image.GetSize()
    assert volume.spacing_mm == pytest.approx((0.5, 2.0, 1.5), abs=1e-9)
    for index in np.ndindex(volume.shape):
        assert volume.array[index] == image.GetPixel(*map(int, index))
        place = volume.grid.index_to_mm(index)
        np.testing.assert_allclose(place, itk_world(image, tuple(map(int, index))), atol=1e-9)


def test_values_belong_to_their_slices(dicom: Maker) -> None:
    volume = read(dicom())
    column, row, k = 2, 1, 3
    # Slice k is at 1.5 k along the normal; its pixels count up along the rows.
    expected = np.array(position(1.5 * k, 0.5 * column)) + np.array([0, 0, -1]) * 2.0 * row
    found = np.argwhere(volume.array == 100 * k + 3 * row + column)[0]
    np.testing.assert_allclose(volume.grid.index_to_mm(found), expected * (-1, -1, 1), atol=1e-9)


def test_metadata_and_result_on_the_same_grid(dicom: Maker, tmp_path: Path) -> None:
    folder = dicom()
    volume = read(folder)
    assert volume.name == "made up"
    assert volume.metadata["format"] == "dicom"
    assert volume.metadata["path"] == str(folder)
    assert volume.metadata["series"] == "1.2.826.0.1"
    receipt = write(volume.with_array(volume.array.astype(np.uint8)), tmp_path / "labels.nii.gz")
    assert receipt.grid_matches
    assert write(volume, tmp_path / "copy.nrrd").affine_identical


def test_one_file_is_one_slice(dicom: Maker) -> None:
    folder = dicom(SpacingBetweenSlices="1.5", SliceThickness="1.0")
    volume = read(folder / "slice005.dcm")
    assert volume.shape == (3, 4, 1)
    assert volume.spacing_mm == pytest.approx((0.5, 2.0, 1.5))
    np.testing.assert_allclose(volume.affine[:3, 3], (-10, 20, 30), atol=1e-9)


def test_one_slice_without_thickness_needs_a_spacing(dicom: Maker) -> None:
    """Fault 9 of the list of bad inputs."""
    path = dicom(1) / "slice001.dcm"
    with pytest.raises(HyperspaceError, match="voxel spacing") as caught:
        read(path)
    assert caught.value.field == "SpacingBetweenSlices, SliceThickness"
    assert read(path, spacing_mm=(0.5, 2, 4)).spacing_mm == pytest.approx((0.5, 2, 4))


def test_missing_pixel_spacing_is_needed(dicom: Maker) -> None:
    """Fault 9 of the list of bad inputs."""
    folder = dicom(PixelSpacing=None)
    with pytest.raises(HyperspaceError, match="spacing_mm"):
        read(folder)
    assert read(folder, spacing_mm=(0.7, 0.9, 1.5)).spacing_mm == pytest.approx((0.7, 0.9, 1.5))


def test_missing_pixels_are_refused(dicom: Maker) -> None:
    """Fault 5 of the list of bad inputs."""
    folder = dicom(Rows=60000, Columns=60000)
    with pytest.raises(HyperspaceError, match="states 7200000000 bytes"):
        read(folder)
    with pytest.raises(HyperspaceError, match="file has 10"):
        read(dicom(folder="short", PixelData=bytes(10)))


def test_changed_while_being_read(dicom: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 7 of the list of bad inputs."""
    from napari_hyperspace.io import dicom as module

    folder = dicom()
    decode_pixels = module._pixels

    def meddle(*arguments: Any) -> Any:
        os.utime(folder / "slice002.dcm", ns=(1, 1))
        return decode_pixels(*arguments)

    monkeypatch.setattr(module, "_pixels", meddle)
    with pytest.raises(HyperspaceError, match="changed while"):
        read(folder)


def test_unicode_folder_and_description(dicom: Maker) -> None:
    """Fault 8 of the list of bad inputs."""
    folder = dicom(
        folder="Schädel 頭部", SpecificCharacterSet="ISO_IR 192", SeriesDescription="Kopf schräg"
    )
    assert read(folder).name == "Kopf schräg"


def test_scaling_that_is_not_finite(dicom: Maker) -> None:
    """Fault 22 of the list of bad inputs."""
    for n, slope in enumerate(("nan", "inf", "0")):
        folder = dicom(folder=f"s{n}", RescaleSlope=lambda k: 1, RescaleIntercept=lambda k: 0)
        for path in folder.iterdir():
            content = path.read_bytes()
            place = content.index(b"\x28\x00\x53\x10DS")
            length = 8 + content[place + 6]
            value = slope.encode().ljust(4)
            patched = b"\x28\x00\x53\x10DS" + bytes([len(value), 0]) + value
            path.write_bytes(content[:place] + patched + content[place + length :])
        with pytest.raises(HyperspaceError, match="rescaling is invalid"):
            read(folder)


def test_color_is_refused(dicom: Maker) -> None:
    """Fault 24 of the list of bad inputs."""
    folder = dicom(
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelRepresentation=0,
        PixelData=bytes(36),
    )
    with pytest.raises(HyperspaceError, match="RGB"):
        read(folder)


def test_several_series_are_listed(dicom: Maker) -> None:
    """Fault 34 of the list of bad inputs."""
    folder = dicom(SeriesDescription="first")
    dicom(3, stem="other", SeriesInstanceUID="1.2.826.0.2", SeriesDescription="second")
    with pytest.raises(HyperspaceError) as caught:
        read(folder)
    message = str(caught.value)
    for part in ("1.2.826.0.1", "1.2.826.0.2", "first", "second", "5 files", "3 files"):
        assert part in message
    assert [(s.uid, s.n_files, s.problems) for s in list_series(folder)] == [
        ("1.2.826.0.1", 5, ()),
        ("1.2.826.0.2", 3, ()),
    ]
    assert read(folder, series="1.2.826.0.2").shape == (3, 4, 3)
    with pytest.raises(HyperspaceError, match="no such series"):
        read(folder, series="1.2.3")


def test_duplicate_positions_are_named(dicom: Maker) -> None:
    """Fault 35 of the list of bad inputs."""
    folder = dicom(ImagePositionPatient=lambda k: position(1.5 * (2 if k == 3 else k)))
    with pytest.raises(HyperspaceError, match="share a position") as caught:
        read(folder)
    # Files are numbered in reverse order of k: k = 2 and k = 3 are files 3 and 2.
    assert caught.value.found in ("slice002.dcm, slice003.dcm", "slice003.dcm, slice002.dcm")
    assert list_series(folder)[0].problems


def test_missing_slices_are_named(dicom: Maker) -> None:
    """Fault 36 of the list of bad inputs."""
    folder = dicom(9)
    (folder / "slice004.dcm").unlink()
    (folder / "slice005.dcm").unlink()
    with pytest.raises(HyperspaceError, match="missing") as caught:
        read(folder)
    assert caught.value.found == "2 between slice006.dcm and slice003.dcm"
    assert "1.5 mm" in str(caught.value.expected)


def test_uneven_spacing_is_refused(dicom: Maker) -> None:
    """Fault 37 of the list of bad inputs."""
    heights = (0, 1.5, 3, 5.2, 6.7)
    with pytest.raises(HyperspaceError, match="unevenly spaced") as caught:
        read(dicom(ImagePositionPatient=lambda k: position(heights[k])))
    assert "1.5 … 2.2" in str(caught.value.found)


def test_rounded_positions_are_accepted(dicom: Maker) -> None:
    """Fault 37 of the list of bad inputs."""
    folder = dicom(9, ImagePositionPatient=lambda k: [round(v, 2) for v in position(2.1875 * k)])
    assert read(folder).spacing_mm[2] == pytest.approx(2.1875, abs=2e-3)


def test_gantry_tilt_is_found_and_kept(dicom: Maker) -> None:
    """Fault 38 of the list of bad inputs."""
    folder = dicom(ImagePositionPatient=lambda k: position(1.5 * k, aside_mm=0.4 * k))
    angle = f"{np.degrees(np.arctan2(0.4, 1.5)):.2f}°"
    with (
        pytest.warns(HyperspaceWarning, match="sheared"),
        pytest.warns(HyperspaceWarning, match=angle),
    ):
        volume = read(folder)
    assert volume.grid.is_sheared
    for k in range(5):
        first = volume.grid.index_to_mm((0, 0, k)) * (-1, -1, 1)
        np.testing.assert_allclose(first, position(1.5 * k, aside_mm=0.4 * k), atol=1e-8)


def test_slices_off_the_line_are_refused(dicom: Maker) -> None:
    """Fault 38 of the list of bad inputs."""
    folder = dicom(ImagePositionPatient=lambda k: position(1.5 * k, aside_mm=0.5 * (k % 2)))
    with pytest.raises(HyperspaceError, match="on one line"):
        read(folder)


def test_a_localizer_is_split(dicom: Maker) -> None:
    """Fault 39 of the list of bad inputs."""
    orientations = ([1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])
    folder = dicom(
        6,
        ImageOrientationPatient=lambda k: orientations[k // 2],
        SliceThickness="5",
        ImagePositionPatient=lambda k: [3.0 * k] * 3,
    )
    found = list_series(folder)
    assert [series.uid for series in found] == [f"1.2.826.0.1#{n}" for n in (1, 2, 3)]
    assert [series.n_files for series in found] == [2, 2, 2]
    with pytest.raises(HyperspaceError, match="3 series"):
        read(folder)
    with pytest.warns(HyperspaceWarning, match="tilt|sheared"):
        assert read(folder, series="1.2.826.0.1#2").shape == (3, 4, 2)


def test_a_thousandth_is_within_tolerance(dicom: Maker) -> None:
    """Fault 39 of the list of bad inputs."""

    def turned(k: int) -> list[float]:
        angle = 1e-4 * k
        return [np.cos(angle), np.sin(angle), 0, 0, 0, -1]

    assert len(list_series(dicom(ImageOrientationPatient=turned))) == 1


@pytest.mark.parametrize(
    ("tag", "value"), [("PixelSpacing", [2.0, 0.6]), ("Columns", 2), ("Rows", 3)]
)
def test_mixed_matrix_or_pixel_spacing(dicom: Maker, tag: str, value: Any) -> None:
    """Fault 40 of the list of bad inputs."""
    usual = {"PixelSpacing": [2.0, 0.5], "Columns": 3, "Rows": 4}[tag]
    folder = dicom(**{tag: lambda k: value if k == 2 else usual})
    with pytest.raises(HyperspaceError, match="differ") as caught:
        read(folder)
    assert "4 ×" in str(caught.value.found) and "1 ×" in str(caught.value.found)


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient"])
def test_no_position_or_orientation(dicom: Maker, tag: str) -> None:
    """Fault 41 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="no position or no orientation") as caught:
        read(dicom(**{tag: None}))
    assert "slice001.dcm" in str(caught.value.found)


def test_invalid_orientation(dicom: Maker) -> None:
    """Fault 41 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="perpendicular unit vectors"):
        read(dicom(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]))


def test_a_damaged_file_is_named(dicom: Maker) -> None:
    """Fault 42 of the list of bad inputs."""
    folder = dicom()
    path = folder / "slice003.dcm"
    content = path.read_bytes()
    for kept in (200, 500, len(content) - 6):
        path.write_bytes(content[:kept])
        with pytest.raises(HyperspaceError) as caught:
            read(folder)
        assert caught.value.where == str(path)
    path.write_bytes(b"")
    with pytest.raises(HyperspaceError, match=r"slice003.dcm.*empty"):
        read(folder)
    assert any("damaged" in problem for s in list_series(folder) for problem in s.problems)


@pytest.mark.parametrize(
    ("tag", "value"),
    [("Rows", 0), ("Rows", None), ("Columns", 0), ("Columns", None), ("BitsAllocated", 0)],
)
@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_a_slice_without_a_size_is_named(
    dicom: Maker, tag: str, damaged: int, value: int | None
) -> None:
    """Fault 42 of the list of bad inputs."""
    usual = {"Rows": 4, "Columns": 3, "BitsAllocated": 16}[tag]
    folder = dicom(3, **{tag: lambda k: value if k == damaged else usual})
    with pytest.raises(HyperspaceError, match="states no image size") as caught:
        read(folder)
    assert caught.value.where == str(folder / f"slice{3 - damaged:03d}.dcm")
    (series,) = list_series(folder)
    assert series.n_files == 3 and "no image size" in series.problems[0]


def test_an_unsupported_transfer_syntax_is_named(dicom: Maker) -> None:
    """Fault 42 of the list of bad inputs."""
    folder = dicom()
    path = folder / "slice003.dcm"
    known, unknown = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"
    path.write_bytes(path.read_bytes().replace(known, unknown))
    with pytest.raises(HyperspaceError) as caught:
        read(folder)
    assert caught.value.where == str(path)
    assert caught.value.field == "TransferSyntaxUID"


def test_multi_frame_is_refused(dicom: Maker) -> None:
    """Fault 43 of the list of bad inputs."""
    folder = dicom(1, NumberOfFrames=2, PixelData=bytes(48))
    for path in (folder, folder / "slice001.dcm"):
        with pytest.raises(HyperspaceError, match="multi-frame"):
            read(path)


def test_files_without_pixels_are_recognized(dicom: Maker) -> None:
    """Fault 43 of the list of bad inputs."""
    structures = "1.2.840.10008.5.1.4.1.1.481.3"
    alone = dicom(1, "rt", sop_class=structures, image=False, SeriesInstanceUID="1.9")
    with pytest.raises(HyperspaceError, match="RT Structure Set"):
        read(alone)
    folder = dicom()
    dicom(1, stem="rt", sop_class=structures, image=False, SeriesInstanceUID="1.9")
    (folder / "notes.txt").write_text("not DICOM at all")
    assert read(folder).shape == (3, 4, 5)  # the only images there
    assert [bool(series.problems) for series in list_series(folder)] == [False, True]


def test_a_folder_without_images(tmp_path: Path) -> None:
    """Fault 43 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="no DICOM images"):
        read(tmp_path)
    with pytest.raises(HyperspaceError, match="cannot be read"):
        list_series(tmp_path / "nowhere")


def test_rescale_is_applied_slice_by_slice(dicom: Maker) -> None:
    """Fault 44 of the list of bad inputs."""
    # The first slice gives integers: the fractions of later ones must not be lost.
    slopes = (1, 0.5, 2, 0.25, 1)
    folder = dicom(RescaleSlope=lambda k: slopes[k], RescaleIntercept=lambda k: -10 * k)
    volume = read(folder)
    stored = np.arange(12).reshape(4, 3).T
    for k, slope in enumerate(slopes):
        np.testing.assert_array_equal(volume.array[..., k], (stored + 100 * k) * slope - 10 * k)


def test_the_volume_must_exist(dicom: Maker) -> None:
    folder = dicom()
    assert read(folder, volume=0).shape == (3, 4, 5)
    with pytest.raises(HyperspaceError, match="no such volume"):
        read(folder, volume=1)


@pytest.mark.parametrize("extra", [1, 2, 100])
def test_bytes_after_the_pixels_warn(dicom: Maker, extra: int) -> None:
    pixels = np.arange(12, dtype="<i2").tobytes()
    folder = dicom(3, PixelData=lambda k: pixels + bytes(2 * extra if k == 1 else 0))
    with pytest.warns(HyperspaceWarning, match=f"{2 * extra} bytes after the pixels of 1 file"):
        assert read(folder).shape == (3, 4, 3)


def test_the_byte_that_makes_a_length_even_is_no_fault(dicom: Maker) -> None:
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    folder = dicom(2, Rows=3, **eight, PixelData=bytes(range(9)) + b"\0")
    assert read(folder).shape == (3, 3, 2)


def test_run_length_encoded_pixels_without_segments_are_refused(tmp_path: Path) -> None:
    """GDCM divides by the number of segments, which ends the process."""
    content = dicom_file(syntax=RLE, Rows=16, Columns=16, PixelData=bytes(range(256)) * 2)
    path = tmp_path / "scan.dcm"
    path.write_bytes(content)
    assert read(path).shape == (16, 16, 1)
    # Two segments, the second after 64 bytes of header and the first.
    header = content.index((2).to_bytes(4, "little") + (64).to_bytes(4, "little"))
    for number in (0, 1, 3, 1 << 31):
        path.write_bytes(content[:header] + number.to_bytes(4, "little") + content[header + 4 :])
        with pytest.raises(HyperspaceError, match=rf"RLE with {number} segments"):
            read(path)
