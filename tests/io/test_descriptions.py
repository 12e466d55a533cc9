"""Names, colors and the record of a label map in files, for us and for other programs."""

from __future__ import annotations

import csv
import gzip
import re
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Laterality, Volume, digest_of_labels
from napari_hyperspace.io import read, write
from napari_hyperspace.io.labels import label_table_path, write_label_table
from napari_hyperspace.io.record import LARGEST_DESCRIPTION
from tests.io.test_record import RECORD

AFFINE = np.array([[0, -1.5, 0, 3], [0.75, 0, 0, -4], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
NAMES = {1: 'left “é” \\n % "q"', 2: "b", 600: "c"}
COLORS = {1: "#010203", 2: "#0a0b0c", 600: "#ffffff"}
SIDES = {1: Laterality("left", "“é”"), 2: Laterality(None, "b"), 600: Laterality("right", "“é”")}
STEPS = ({"step": "cleaned", "connectivity": 26, "changed_mm3": 1.5},)
SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".seg.nrrd")


@pytest.fixture
def labels() -> Volume:
    array = np.random.default_rng(0).choice(np.array([0, 1, 2, 600], np.uint16), (3, 5, 7))
    record = replace(RECORD, labels_digest=digest_of_labels(array))
    return Volume(
        array,
        Grid((3, 5, 7), AFFINE),
        "DOE^JANE",
        {
            "path": "/patients/doe/scan.nii",
            "image": "DOE^JANE",
            "label_names": NAMES,
            "label_colors": COLORS,
            "label_sides": SIDES,
            "postprocessing": STEPS,
            "record": record,
        },
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_result_comes_back_with_names_colors_and_its_record(
    labels: Volume, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    assert write(labels, path).affine_identical
    again = read(path)
    np.testing.assert_array_equal(again.array, labels.array)
    for key in ("label_names", "label_colors", "label_sides", "postprocessing", "record"):
        assert again.metadata.get(key) == labels.metadata.get(key), key
    assert again.metadata["model"] == RECORD.model
    assert again.metadata["working_spacing_mm"] == RECORD.spacing_mm
    content = path.read_bytes()
    assert b"DOE" not in (gzip.decompress(content) if suffix.endswith("gz") else content)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_other_readers_read_the_same_voxels(labels: Volume, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write(labels, path)
    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, labels.array)
    assert image.GetSpacing() == pytest.approx(labels.spacing_mm)
    if suffix.startswith(".nii"):
        other = nib.load(path)
        np.testing.assert_array_equal(np.asarray(other.dataobj), labels.array)
        assert np.array_equal(other.affine, AFFINE)
        (extension,) = other.header.extensions
        assert extension.get_code() == 6  # a comment
        assert extension.get_content().isascii()
        # nibabel keeps the extension of a file that it writes again.
        nib.save(other, tmp_path / "again.nii")
        assert read(tmp_path / "again.nii").metadata["record"] == labels.metadata["record"]


def test_labels_without_a_description_get_no_extension(tmp_path: Path) -> None:
    volume = Volume(np.ones((3, 5, 7), np.uint8), Grid((3, 5, 7), AFFINE))
    write(volume, tmp_path / "a.nii")
    assert not nib.load(tmp_path / "a.nii").header.extensions
    assert (tmp_path / "a.nii").stat().st_size == 352 + 105


def test_an_image_that_kept_the_description_shows_no_labels(labels: Volume, tmp_path: Path) -> None:
    """Other programs may resample a label map to real values, and copy its header."""
    write(labels, tmp_path / "a.nii")
    image = nib.load(tmp_path / "a.nii")
    image.set_data_dtype(np.float32)
    nib.save(nib.Nifti1Image(image.get_fdata() * 0.3, None, image.header), tmp_path / "b.nii")
    assert nib.load(tmp_path / "b.nii").header.extensions
    assert not {"record", "label_names", "is_labels"} & read(tmp_path / "b.nii").metadata.keys()


def test_changed_labels_have_another_digest(labels: Volume, tmp_path: Path) -> None:
    write(labels, tmp_path / "a.nii")
    image = nib.load(tmp_path / "a.nii")
    changed = np.asarray(image.dataobj).copy()
    changed[0, 0, 0] ^= 1
    nib.save(nib.Nifti1Image(changed, None, image.header), tmp_path / "b.nii")
    again = read(tmp_path / "b.nii")
    assert again.metadata["record"].labels_digest != digest_of_labels(again.array)


def extended(path: Path, extensions: bytes, offset: int | None = None) -> Path:
    """Write a NIfTI file of 24 voxels whose header is followed by these bytes."""
    image = nib.Nifti1Image(np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.eye(4))
    image.header.set_xyzt_units("mm")
    start = 352 + len(extensions) if offset is None else offset
    image.header["vox_offset"] = start
    image.header["magic"] = b"n+1"
    image.header["scl_slope"], image.header["scl_inter"] = 1, 0
    head = bytearray(image.header.binaryblock)
    path.write_bytes(
        bytes(head) + b"\1\0\0\0" + extensions + image.get_fdata().astype(np.uint8).tobytes("F")
    )
    return path


def entry(content: bytes, code: int = 6, size: int | None = None) -> bytes:
    padded = content + b"\0" * (-(len(content) + 8) % 16)
    claimed = len(padded) + 8 if size is None else size
    return claimed.to_bytes(4, "little", signed=True) + code.to_bytes(4, "little") + padded


GOOD = b'{"format":"napari-hyperspace labels","version":1,"labels":[{"value":1,"name":"a"}]}'


@pytest.mark.parametrize(
    "extensions",
    [
        b"",
        entry(b"hello"),
        entry(b"\xff" * 40, code=4),
        entry(GOOD, code=4),
        entry(GOOD.replace(b'"version":1', b'"version":9')),
        entry(b"[" * 90_000),
        entry(GOOD, size=-16),
        entry(GOOD, size=0),
        entry(GOOD, size=7),
        entry(GOOD, size=1 << 30),
        entry(GOOD, size=2**31 - 1),
        entry(GOOD[:-3]),
        entry(GOOD + b" " * LARGEST_DESCRIPTION),
        b"\x10",
        b"\x10\0\0\0\6\0\0",
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_foreign_and_damaged_extensions_are_ignored(
    tmp_path: Path, extensions: bytes, suffix: str
) -> None:
    path = extended(tmp_path / "a.nii", extensions)
    if suffix == ".nii.gz":
        packed = tmp_path / "a.nii.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        path = packed
    volume = read(path)
    np.testing.assert_array_equal(volume.array, np.arange(24).reshape(2, 3, 4))
    assert "label_names" not in volume.metadata


def test_the_description_is_found_after_other_extensions(tmp_path: Path) -> None:
    big = entry(b"x" * (LARGEST_DESCRIPTION + 100), code=4)
    path = extended(tmp_path / "a.nii", big + entry(b"hello") + entry(GOOD) + entry(b"more"))
    volume = read(path)
    assert volume.metadata["label_names"] == {1: "a"}
    np.testing.assert_array_equal(volume.array, np.arange(24).reshape(2, 3, 4))


def test_an_extension_that_ends_behind_the_file_is_an_error_of_the_file(tmp_path: Path) -> None:
    path = extended(tmp_path / "a.nii", entry(GOOD), offset=1 << 20)
    with pytest.raises(HyperspaceError):
        read(path)


def test_the_table_of_bids(labels: Volume, tmp_path: Path) -> None:
    path = label_table_path(tmp_path / "sub-1_dseg.nii.gz")
    assert path == tmp_path / "sub-1_dseg.tsv"
    assert label_table_path(tmp_path / "labels.nii") == tmp_path / "labels_dseg.tsv"
    bad = labels.with_array(
        labels.array,
        metadata={**labels.metadata, "label_names": {2: "b\tb\nb", 1: "é"}, "label_colors": {}},
    )
    write_label_table(bad, path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["index"], row["name"]) for row in rows] == [("1", "é"), ("2", r"b\tb\nb")]
    colors = [row["color"] for row in rows]
    assert len(set(colors)) == 2
    assert all(re.fullmatch("#[0-9a-f]{6}", color) for color in colors)


def test_the_label_descriptions_of_itk_snap(labels: Volume, tmp_path: Path) -> None:
    write_label_table(labels, tmp_path / "a.txt")
    lines = (tmp_path / "a.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            match = re.fullmatch(r'(\d+)((?: \d+){3}) ([\d.]+) [01] [01] "([^"]*)"', line)
            assert match is not None, line
            found[int(match[1])] = (match[4], tuple(map(int, match[2].split())))
    assert found[0] == ("Clear Label", (0, 0, 0))
    assert found[2] == ("b", (10, 11, 12))
    assert found[600] == ("c", (255, 255, 255))
    assert found[1][0] == NAMES[1].replace('"', "'")


def test_tables_that_cannot_be_written_are_refused(labels: Volume, tmp_path: Path) -> None:
    with pytest.raises(HyperspaceError, match="extension"):
        write_label_table(labels, tmp_path / "a.csv")
    with pytest.raises(HyperspaceError, match="no names"):
        write_label_table(labels.with_array(labels.array, metadata={}), tmp_path / "a.tsv")
