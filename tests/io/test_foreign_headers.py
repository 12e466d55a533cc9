"""Text headers of NRRD and MetaImage that are damaged or hostile: refused, and at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceWarning
from napari_hyperspace.io import read

from .text_files import VOXELS, data_of, meta, nrrd, refused

# Reads files, each within 1 GB more than the imports need and 20 s of processor time. A header of
# this size takes less than a second; before it was limited, it took minutes or all memory.
_GUARDED = """
import resource, sys
import psutil
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io import metaimage, nrrd, read

memory = psutil.Process().memory_info().vms + (1 << 30)
if sys.platform == "linux":  # others do not limit the address space
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
for path in sys.argv[1:]:
    spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (spent + 20, resource.RLIM_INFINITY))
    try:
        read(path)
    except HyperspaceError as error:
        assert len(str(error)) < 2000, "the message contains the header"
        assert "memory" not in error.problem, error
        print(error.field)
    else:
        print("read")
"""


def test_headers_that_claim_too_much_are_refused_at_once(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    many = 200_000
    short: dict[str, Any] = {"kinds": None, "space_directions": None, "space_origin": None}
    paths = {
        nrrd(tmp_path, name="a.nrrd", dimension="2147483647"): "dimension",
        nrrd(tmp_path, name="b.nrrd", dimension="2147483647", **short): "dimension",
        nrrd(tmp_path, name="c.nrrd", dimension=str(many), sizes="1 " * many): "dimension",
        nrrd(tmp_path, name="d.nrrd", space_directions="(1,0,0) " * 100_000): "space directions",
        nrrd(tmp_path, name="e.nrrd", space_directions="(" * many): "space directions",
        nrrd(tmp_path, name="f.nrrd", space_directions='"' * many): "space directions",
        nrrd(tmp_path, name="g.nrrd", space_units='"' * (many + 1)): "read",
        nrrd(tmp_path, name="h.nrrd", type="short" + " " * many + "x"): "type",
        nrrd(tmp_path, name="i.nrrd", sizes="9" * many): "sizes",
        nrrd(tmp_path, name="j.nrrd", space_origin="(" * many): "space origin",
        nrrd(tmp_path, name="k.nrrd", tail="#" + "x" * 2_000_000 + "\n"): None,
        nrrd(tmp_path, name="l.nrrd", tail="".join(f"x{i}: 1\n" for i in range(60_000))): "read",
        meta(tmp_path, name="a.mha", NDims=str(many)): "NDims",
        meta(tmp_path, name="b.mha", NDims=str(many), DimSize="1 " * many): "NDims",
        meta(tmp_path, name="c.mha", NDims="2147483647"): "NDims",
        meta(tmp_path, name="d.mha", TransformMatrix=None, Rotation="1 " * many): "TransformMatrix",
        meta(tmp_path, name="e.mha", Comment="x" * 2_000_000): None,
    }
    command = [sys.executable, "-W", "ignore", "-c", _GUARDED, *map(str, paths)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout.split("\n")[:-1] == list(map(str, paths.values()))


@pytest.mark.parametrize("axes", [17, 1000])
def test_an_image_has_at_most_16_axes(tmp_path: Path, axes: int) -> None:
    ones = " 1" * (axes - 3)
    none = " none" * (axes - 3)
    square = "(1,0,0) (0,2,0) (0,0,3)"
    kinds = "domain domain domain" + " list" * (axes - 3)
    many = {"dimension": str(axes), "sizes": "3 4 5" + ones, "space_directions": square + none}
    refused(nrrd(tmp_path, kinds=kinds, **many), "number of axes")
    refused(meta(tmp_path, NDims=str(axes), DimSize="3 4 5" + ones), "number of axes")
    none, ones = " none" * 13, " 1" * 13
    many = {"dimension": "16", "sizes": "3 4 5" + ones, "space_directions": square + none}
    path = nrrd(tmp_path, kinds="domain domain domain" + " list" * 13, **many)
    np.testing.assert_array_equal(read(path).array, VOXELS)


@pytest.mark.parametrize("endian", ["bmg", "", "biglittle"])
def test_an_unknown_byte_order_of_nrrd_is_refused(tmp_path: Path, endian: str) -> None:
    error = refused(nrrd(tmp_path, endian=endian), "byte order is unknown")
    assert error.field == "endian" and error.expected == "little or big"


@pytest.mark.parametrize("field", ["BinaryDataByteOrderMSB", "CompressedData", "BinaryData"])
def test_a_flag_of_metaimage_is_true_or_false(tmp_path: Path, field: str) -> None:
    error = refused(meta(tmp_path, **{field: "Tque"}), "true or false")
    assert (error.field, error.found) == (field, "Tque")


@pytest.mark.filterwarnings("ignore:.*sheared:napari_hyperspace.HyperspaceWarning")
@pytest.mark.parametrize(
    ("make", "wrong", "right", "value"),
    [
        (nrrd, "space_orgin", "space origin", "(1,-2,3)"),
        (nrrd, "space_0rigin", "space origin", "(1,-2,3)"),
        (nrrd, "space_unit", "space units", '"cm" "cm" "cm"'),
        (nrrd, "bite_skip", "byte skip", "2"),
        (nrrd, "spaec", "space", "RAS"),
        (meta, "Ofset", "Offset", "1 -2 3"),
        (meta, "offset", "Offset", "1 -2 3"),
        (meta, "TransfromMatrix", "TransformMatrix", "1 0 0 0 0.6 0.8 0 -0.8 0.6"),
        (meta, "DistanceUnit", "DistanceUnits", "cm"),
        (meta, "HeaderSise", "HeaderSize", "2"),
    ],
)
def test_a_misspelled_field_is_not_ignored(
    tmp_path: Path, make: Callable[..., Path], wrong: str, right: str, value: str
) -> None:
    missing = right.replace(" ", "_")
    error = refused(make(tmp_path, **{missing: None, wrong: value}), "probably misspelled")
    assert error.field == wrong.replace("_", " ") and error.expected == right
    # Beside the right one it is a field of some other program, and changes nothing.
    if missing in ("space_origin", "Offset"):
        assert read(make(tmp_path, **{wrong: value})).shape == VOXELS.shape


def test_fields_of_other_programs_are_read_over(tmp_path: Path) -> None:
    others = {"UltrasoundImageOrientation": "MF", "ProbeToTrackerTransform": "1", "Kinds": "d d d"}
    np.testing.assert_array_equal(read(meta(tmp_path, **others)).array, VOXELS)
    square = "(1,0,0) (0,2,0) (0,0,3)"
    path = nrrd(tmp_path, space_directions=square, measurement_frame="(1,0,0) (0,1,0) (0,0,1)")
    np.testing.assert_array_equal(read(path).array, VOXELS)


def test_geometry_in_a_key_value_pair_or_without_a_separator(tmp_path: Path) -> None:
    path = nrrd(tmp_path, space_origin=None, tail="space origin:=(1,-2,3)\n")
    refused(path, "probably misspelled")
    refused(nrrd(tmp_path, space_origin=None, tail="space origin (1,-2,3)\n"), "not a field")
    path = meta(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"Offset =", b"Offset -"))
    refused(path, "not a field")


@pytest.mark.parametrize(
    "matrix",
    [
        "2 0 0 0 1 0 0 0 1",
        "1 0 0 0 0.9 0.8 0 -0.8 0.6",
        "0 0 0 0 0 0 0 0 0",
        "1 0 0 0 1 0 0 0 1e300",
    ],
)
def test_a_transform_matrix_that_is_no_rotation_is_refused(tmp_path: Path, matrix: str) -> None:
    error = refused(meta(tmp_path, TransformMatrix=matrix), "not a rotation")
    assert error.field == "TransformMatrix"


def test_directions_rounded_to_three_digits_and_reflections_are_read(tmp_path: Path) -> None:
    matrix = "0.707 0.707 0 0.707 -0.707 0 0 0 1"
    assert read(meta(tmp_path, TransformMatrix=matrix)).shape == VOXELS.shape


@pytest.mark.parametrize("far", ["3e38", "-1e200", "1.1e6"])
def test_an_origin_that_no_scanner_gives_is_refused(tmp_path: Path, far: str) -> None:
    square = "(1,0,0) (0,2,0) (0,0,3)"
    for path in (
        nrrd(tmp_path, space_directions=square, space_origin=f"(0,{far},0)"),
        meta(tmp_path, Offset=f"0 0 {far}"),
    ):
        assert refused(path, "position of the first voxel").field == "origin"
    assert read(meta(tmp_path, Offset="0 0 9e5")).affine[2, 3] == 9e5


def test_an_origin_of_nifti_that_no_scanner_gives_is_refused(nifti: Callable[..., Path]) -> None:
    rows = (1.0, 0, 0, 3e38, 0, 1, 0, 0, 0, 0, 1, 0)
    refused(nifti(fields={"srow": rows, "pixdim": (1.0, 1, 1)}), "position of the first voxel")


@pytest.mark.parametrize("number", ["1_0", "9" * 5000, "1e"])
def test_only_plain_numbers_are_read(tmp_path: Path, number: str) -> None:
    refused(nrrd(tmp_path, byte_skip=number), "whole numbers|cannot be skipped|than the file")
    refused(nrrd(tmp_path, space_origin=f"({number},x,0)"), "finite numbers")


def test_labels_of_any_length_are_no_error(tmp_path: Path) -> None:
    pairs = f"Segment0_LabelValue:={'9' * 5000}\nSegment0_Name:=a\n"
    pairs += "Segment1_LabelValue:=7\nSegment1_Name:=b\n"
    path = nrrd(tmp_path, space_directions="(1,0,0) (0,2,0) (0,0,3)", tail=pairs)
    assert read(path).metadata["label_names"] == {7: "b"}


def test_kinds_of_more_axes_than_there_are(tmp_path: Path) -> None:
    bare = {"space": None, "space_directions": None, "space_origin": None}
    path = nrrd(
        tmp_path,
        data_of(VOXELS),
        **bare,
        dimension="1",
        sizes="60",
        kinds="list domain domain domain",
        spacings="1 1 1 1",
    )
    refused(path, "axis layout", volume=0)


def test_warnings_escape_control_characters_of_names(tmp_path: Path) -> None:
    path = meta(tmp_path, data_of(VOXELS) + b"123", name="a\x1b[2Jb.mha")
    with pytest.warns(HyperspaceWarning, match="3 bytes after") as caught:
        read(path)
    assert "\x1b" not in str(caught[0].message) and r"\x1b[2J" in str(caught[0].message)
    path = nrrd(tmp_path, endian="\x1b[2J")
    assert "\x1b" not in str(refused(path, "byte order"))
