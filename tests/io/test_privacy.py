"""Names of patients in DICOM files reach no name, metadata, message, warning or log."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io import dicom as module
from napari_hyperspace.io import list_series, read, write

Maker = Callable[..., Path]

NAME = "Mustermann^Erika"
PERSONAL = {
    "PatientName": NAME,
    "PatientID": "Mustermann-4711",
    "PatientBirthDate": "19640812",
    "PatientAddress": "Mustermannstr. 1",
    "ReferringPhysicianName": "Mustermann^Max",
    "OtherPatientNames": "Mustermann^E",
}


def assert_nothing_personal(*texts: object) -> None:
    for text in texts:
        assert "Mustermann" not in str(text) and "19640812" not in str(text)


def test_a_volume_knows_nothing_of_the_patient(dicom: Maker, tmp_path: Path) -> None:
    folder = dicom(3, **PERSONAL)
    volume = read(folder)
    assert_nothing_personal(volume, volume.name, dict(volume.metadata), list_series(folder))
    assert_nothing_personal(*map(str, list_series(folder)), *map(repr, list_series(folder)))
    for suffix in (".nii", ".nrrd", ".mha"):
        path = tmp_path / f"a{suffix}"
        assert_nothing_personal(write(volume, path))
        assert b"Mustermann" not in path.read_bytes()


def test_a_series_without_a_description_is_named_by_its_number(dicom: Maker) -> None:
    folder = dicom(3, "Mustermann", SeriesDescription=None, SeriesNumber=7, **PERSONAL)
    assert read(folder).name == "series 7"
    assert str(list_series(folder)[0]).startswith("1.2.826.0.1: series 7, MR")
    assert read(folder / "slice001.dcm", spacing_mm=(1, 1, 1)).name == "series 7"
    bare = dicom(3, "Mustermann2", SeriesDescription=None, **PERSONAL)
    assert read(bare).name == "DICOM series"


def damage_of_every_byte(path: Path) -> list[bytes]:
    content = path.read_bytes()
    start = content.index(b"Mustermann")
    flipped = []
    for place in [*range(start - 40, start + 60), *range(128, len(content), 11)]:
        other = bytearray(content)
        other[place] ^= 0xFF
        flipped.append(bytes(other))
    return flipped + [content[:size] for size in range(132, len(content), 13)]


def test_errors_warnings_and_logs_of_damaged_files_say_why_and_nothing_personal(
    dicom: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    path = dicom(1, **PERSONAL) / "slice001.dcm"
    damaged = damage_of_every_byte(path)
    refusals = 0
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for content in damaged:
            path.write_bytes(content)
            try:
                read(path, spacing_mm=(1, 1, 1))
            except HyperspaceError as error:
                refusals += 1
                assert error.problem.strip() and not error.problem.rstrip().endswith(":")
                assert_nothing_personal(error, error.problem, error.found)
            (series,) = list_series(path.parent)[:1]
            assert_nothing_personal(series, *series.problems)
            assert not any(problem.rstrip().endswith(":") for problem in series.problems)
    assert refusals > 20
    assert_nothing_personal(caplog.text, *(one.message for one in caught))
    assert not [one for one in caught if "pydicom" in one.filename]


@pytest.mark.parametrize("tag", ["SeriesDescription", "Modality", "MediaStorageSOPClassUID"])
def test_a_damaged_length_does_not_append_the_name_of_the_patient(dicom: Maker, tag: str) -> None:
    path = dicom(1, **PERSONAL) / "slice001.dcm"
    data = pydicom.dcmread(path)
    value = (data.file_meta if tag in data.file_meta else data)[tag].value.encode()
    value += (b"\0" if tag.endswith("UID") else b" ") * (len(value) % 2)
    content = path.read_bytes()
    start = content.index(len(value).to_bytes(2, "little") + value) + 2
    length = content.index(b"Mustermann", start) + 20 - start
    path.write_bytes(content[: start - 2] + length.to_bytes(2, "little") + content[start:])
    (series,) = list_series(path.parent)
    assert_nothing_personal(series, *series.problems, series.title)
    try:
        assert_nothing_personal(read(path, spacing_mm=(1, 1, 1)).name)
    except HyperspaceError as error:
        assert_nothing_personal(error)


class SilentError(Exception):
    """An error of a parser, without a text."""


@pytest.mark.parametrize("error", [SilentError(), EOFError(), KeyError(NAME), ValueError(NAME)])
def test_any_error_of_the_parser_becomes_a_reason(
    dicom: Maker, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = dicom(1, **PERSONAL) / "slice001.dcm"

    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(module.pydicom, "dcmread", fail)
    with pytest.raises(HyperspaceError, match=r"damaged or not DICOM: it") as caught:
        read(path)
    assert_nothing_personal(caught.value)


def test_warnings_and_logs_of_pydicom_are_silenced(
    dicom: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = dicom(3, **PERSONAL)
    parse = pydicom.dcmread

    def warn(*args: object, **options: object) -> Dataset:
        warnings.warn(f"Invalid value for VR PN: {NAME}", UserWarning, stacklevel=2)
        logging.getLogger("pydicom").warning("Invalid value %s", NAME)
        return parse(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module.pydicom, "dcmread", warn)
    with caplog.at_level(logging.DEBUG):
        read(folder)  # a warning would be an error
    assert not caplog.records
    logging.getLogger("pydicom").warning("others are heard again")
    assert caplog.records


def test_control_characters_of_a_description_are_escaped(dicom: Maker) -> None:
    folder = dicom(3, SeriesDescription="T1\x1b[2J")
    assert read(folder).name == r"T1\x1b[2J"
