"""Invalid and unusual NIfTI headers and streams; the oracle for valid ones is nibabel."""

from __future__ import annotations

import gzip
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.io import read, write
from napari_hyperspace.io.base import files

from . import text_files

Maker = Callable[..., Path]
NAN, INF = float("nan"), float("inf")


def packed(path: Path, name: str = "scan.nii.gz") -> Path:
    target = path.with_name(name)
    target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    return target


def refused(path: Path, words: str, **options: Any) -> HyperspaceError:
    error = text_files.refused(path, words, **options)
    assert error.where == str(path)
    return error


def test_missing_empty_unreadable(tmp_path: Path) -> None:
    """Fault 1 of the list of bad inputs."""
    refused(tmp_path / "none.nii", "No such file")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    refused(tmp_path / "empty.nii.gz", "empty")
    (tmp_path / "short.nii").write_bytes(b"\x5c\x01\0\0" + bytes(100))
    refused(tmp_path / "short.nii", "truncated")


def test_truncated_gzip(nifti: Maker) -> None:
    """Fault 2 of the list of bad inputs."""
    path = packed(nifti())
    content = path.read_bytes()
    for kept in (20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        refused(path, "end before their checksum")


def test_every_flipped_bit_of_the_stream_is_found(nifti: Maker) -> None:
    """Fault 3 of the list of bad inputs."""
    # The whole deflate stream and its checksum, without the 10 bytes of the gzip header.
    path = packed(nifti(np.arange(105, dtype=np.int16).reshape(3, 5, 7) ** 2))
    content = path.read_bytes()
    expected = read(path).array
    for place in range(10, len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read(path).array
        except HyperspaceError:
            continue
        np.testing.assert_array_equal(found, expected)  # an unused bit


def test_missing_checksum(nifti: Maker) -> None:
    """Fault 3 of the list of bad inputs."""
    path = packed(nifti())
    path.write_bytes(path.read_bytes()[:-8])
    refused(path, "end before their checksum")


def test_extension_and_content_differ(nifti: Maker, tmp_path: Path) -> None:
    """Fault 4 of the list of bad inputs."""
    plain = nifti(name="scan.nii")
    for name, content in (
        ("a.nii.gz", plain.read_bytes()),
        ("b.nii", gzip.compress(plain.read_bytes())),
        ("c.nrrd", plain.read_bytes()),
        ("d.mha", b"NRRD0004\n"),
        ("e.dcm", plain.read_bytes()),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "content and extension")
    (tmp_path / "f.nii").write_bytes(b"just text, long enough to be a header" * 20)
    refused(tmp_path / "f.nii", "not NIfTI")
    (tmp_path / "g.mha").write_bytes(b"just text")
    refused(tmp_path / "g.mha", "unknown file format")
    (tmp_path / "scan").write_bytes(plain.read_bytes())
    assert read(tmp_path / "scan").shape == (
        3,
        5,
        7,
    )  # without extension


def test_header_claims_more_than_the_file(nifti: Maker) -> None:
    """Fault 5 of the list of bad inputs."""
    path = nifti(fields={"dim": (3, 3000, 3000, 3000, 1, 1, 1, 1)})
    error = refused(path, "more voxels than the file contains")
    assert error.expected == f"{2 * 3000**3} bytes"
    refused(packed(path), "more voxels than the file contains")
    # A difference that compression could explain: found at the end of the stream.
    refused(packed(nifti(fields={"dim": (3, 3, 5, 8, 1, 1, 1, 1)})), "than the file contains")
    refused(nifti(fields={"vox_offset": 1e9}), "more than the file contains")
    refused(nifti(fields={"vox_offset": NAN}), "cannot start at this offset")


def test_header_claims_more_than_the_memory(nifti: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 5 of the list of bad inputs."""
    monkeypatch.setattr(files, "available_host_bytes", lambda: 200)
    error = refused(nifti(), "do not fit into the memory")
    assert (error.found, error.expected) == ("200 B free", "210 B")


@pytest.mark.parametrize("sizes", [(3, 3, 5, 0), (3, 3, -5, 7), (0, 3, 5, 7), (9, 3, 5, 7)])
def test_invalid_sizes(nifti: Maker, sizes: tuple[int, ...]) -> None:
    """Fault 5 of the list of bad inputs."""
    refused(nifti(fields={"dim": (*sizes, 1, 1, 1, 1)}), "positive|not valid")


def test_trailing_bytes_warn(nifti: Maker) -> None:
    """Fault 6 of the list of bad inputs."""
    path = nifti(tail=b"12345")
    for file in (path, packed(path)):
        with pytest.warns(HyperspaceWarning, match="5 bytes after"):
            assert read(file).shape == (3, 5, 7)
    path = packed(nifti())
    path.write_bytes(path.read_bytes() + bytes(512))  # padding, as on tapes
    read(path)
    path.write_bytes(path.read_bytes() + b"rest")
    with pytest.warns(HyperspaceWarning, match="4 bytes after"):
        read(path)


def test_several_gzip_members_are_one_stream(nifti: Maker) -> None:
    plain = nifti().read_bytes()
    path = nifti().with_name("blocks.nii.gz")
    path.write_bytes(b"".join(gzip.compress(plain[i : i + 100]) for i in range(0, len(plain), 100)))
    np.testing.assert_array_equal(read(path).array.ravel(), np.arange(105))


def test_changed_while_being_read(nifti: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 7 of the list of bad inputs."""
    from napari_hyperspace.io import nifti as module

    path = nifti()
    original = module.read_voxels

    def meddle(*arguments: Any, **options: Any) -> Any:
        found = original(*arguments, **options)
        path.write_bytes(path.read_bytes() + b"more")
        return found

    monkeypatch.setattr(module, "read_voxels", meddle)
    refused(path, "changed while")


def test_unicode_and_long_paths(nifti: Maker, tmp_path: Path) -> None:
    """Fault 8 of the list of bad inputs."""
    folder = tmp_path / ("Ordner mit Umläuten 頭部 " + "x" * 80) / ("y" * 200)
    folder.mkdir(parents=True)
    volume = read(nifti())
    for suffix in (".nii", ".nii.gz", ".nrrd", ".mha"):
        target = folder / ("β" * 100 + suffix)
        assert write(volume, target).grid_matches
        np.testing.assert_array_equal(read(target).array, volume.array)
        assert read(target).name == "β" * 100


def test_a_missing_spacing_is_needed(nifti: Maker) -> None:
    """Fault 9 of the list of bad inputs."""
    path = nifti(fields={"pixdim": (1.0, 0.0, 4.0)}, codes=(0, 0))
    refused(path, "does not state the voxel spacing")
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        volume = read(path, spacing_mm=(1, 0.7, 4))
    assert volume.spacing_mm == pytest.approx((1, 0.7, 4), abs=1e-12)
    assert volume.metadata["orientation_unknown"]
    refused(nifti(fields={"pixdim": (0.0, 0.0, 0.0)}, codes=(1, 0)), "voxel spacing")


def test_zero_pixdim_with_a_valid_sform(nifti: Maker) -> None:
    """Fault 9 of the list of bad inputs."""
    path = nifti(fields={"pixdim": (0.0, 0.0, 0.0)})
    with pytest.warns(HyperspaceWarning, match="0 × 0 × 0 mm in pixdim and 1 × 2 × 4 mm"):
        assert read(path).spacing_mm == (1, 2, 4)


@pytest.mark.parametrize("codes", [(0, 2), (1, 0)])
def test_negative_pixdim(nifti: Maker, codes: tuple[int, int]) -> None:
    """Fault 10 of the list of bad inputs."""
    path = nifti(fields={"pixdim": (-1.0, 2.0, 4.0)}, codes=codes)
    with pytest.warns(HyperspaceWarning, match="negative"):
        volume = read(path)
    np.testing.assert_array_equal(volume.affine, np.diag([1, 2, 4, 1]))


@pytest.mark.parametrize("value", [NAN, INF])
def test_pixdim_that_is_not_finite(nifti: Maker, value: float) -> None:
    """Fault 11 of the list of bad inputs."""
    path = nifti(fields={"pixdim": (1.0, value, 4.0)})
    assert refused(path, "spacing is not finite").field == "pixdim"
    assert read(path, spacing_mm=(1, 2, 4)).spacing_mm == (1, 2, 4)


def test_singular_sform_offers_the_qform(nifti: Maker) -> None:
    """Fault 12 of the list of bad inputs."""
    singular = (1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0)
    error = refused(nifti(fields={"srow": singular}, codes=(1, 2)), "singular")
    assert "qform is valid" in (error.fix or "") and "4.0" in (error.fix or "")
    error = refused(nifti(fields={"srow": (NAN, *singular[1:])}), "not finite")
    assert "spacing_mm" in (error.fix or "")
    path = nifti(fields={"srow": singular}, codes=(1, 2))
    assert read(path, spacing_mm=(1, 2, 4)).grid.axcodes == "RAS"


def test_affine_and_pixdim_differ(nifti: Maker) -> None:
    """Fault 13 of the list of bad inputs."""
    path = nifti(fields={"pixdim": (1.0, 2.0, 4.002)})
    with pytest.warns(HyperspaceWarning, match="1 × 2 × 4.002 mm in pixdim and 1 × 2 × 4 mm"):
        assert read(path).spacing_mm == (1, 2, 4)
    read(nifti(fields={"pixdim": (1.0, 2.0, 4.0005)}))  # within a thousandth


def test_sform_and_qform(nifti: Maker) -> None:
    """Fault 14 of the list of bad inputs."""
    read(nifti(codes=(1, 1)))  # equal: no warning
    with pytest.warns(HyperspaceWarning, match="differ by up to 3 mm; the sform is used"):
        volume = read(nifti(codes=(1, 1), fields={"qoffset": (3.0, 0.0, 0.0)}))
    assert tuple(volume.affine[:3, 3]) == (0, 0, 0)
    flipped = nifti(codes=(1, 1), fields={"quatern": (0.0, 0.0, 1.0)})  # half a turn about z
    error = refused(flipped, "contradict each other about the orientation")
    assert error.found == "RAS and LPS"


def test_no_code_means_unknown_orientation(nifti: Maker) -> None:
    """Fault 15 of the list of bad inputs."""
    path = nifti(codes=(0, 0), fields={"pixdim": (1.0, 2.0, 4.0)})
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        volume = read(path)
    assert volume.metadata["orientation_unknown"] is True
    np.testing.assert_array_equal(volume.affine, nib.load(path).affine)


def test_quaternion_longer_than_one(nifti: Maker) -> None:
    """Fault 16 of the list of bad inputs."""
    error = refused(nifti(codes=(1, 0), fields={"quatern": (0.8, 0.8, 0.0)}), "longer than 1")
    assert error.found == pytest.approx([0.8, 0.8, 0.0])
    read(nifti(codes=(0, 2), fields={"quatern": (0.8, 0.8, 0.0)}))  # not coded: not used


def test_shear_is_kept_with_a_warning(nifti: Maker, tmp_path: Path) -> None:
    """Fault 17 of the list of bad inputs."""
    affine = np.array([[1, 0.5, 0, 3], [0, 2, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1.0]])
    path = nifti(affine=affine, codes=(0, 1), fields={"pixdim": (1.0, np.hypot(0.5, 2), 4.0)})
    with pytest.warns(HyperspaceWarning, match="sheared"):
        volume = read(path)
    np.testing.assert_array_equal(volume.affine, affine)
    for suffix in (".nii.gz", ".nrrd"):
        assert write(volume, tmp_path / f"sheared{suffix}").affine_identical
    assert write(volume, tmp_path / "sheared.mha").grid_matches


@pytest.mark.parametrize(("code", "factor"), [(1, 1000.0), (2, 1.0), (3, 0.001)])
def test_units_are_converted(nifti: Maker, tmp_path: Path, code: int, factor: float) -> None:
    """Fault 18 of the list of bad inputs."""
    affine = np.diag([8.0, 16.0, 32.0, 1.0]) / factor
    affine[:3, 3] = np.array([1.0, -2.0, 3.0]) / factor
    path = nifti(affine=affine.astype(np.float32), fields={"xyzt_units": code})
    volume = read(path)
    np.testing.assert_allclose(volume.spacing_mm, (8, 16, 32), rtol=1e-6)
    np.testing.assert_allclose(volume.affine[:3, 3], (1, -2, 3), rtol=1e-6)
    write(volume, tmp_path / "again.nii")  # in the file's own units, to the last bit
    assert (tmp_path / "again.nii").read_bytes()[280:328] == path.read_bytes()[280:328]
    assert (tmp_path / "again.nii").read_bytes()[123] == code


def test_units_that_are_not_stated(nifti: Maker) -> None:
    """Fault 18 of the list of bad inputs."""
    volume = read(nifti(fields={"xyzt_units": 0}))
    assert volume.spacing_mm == (1, 2, 4)
    assert volume.metadata["units_assumed"] is True
    assert "units_assumed" not in read(nifti(fields={"xyzt_units": 2})).metadata
    tiny = nifti(affine=np.diag([0.001, 0.002, 0.004, 1]), fields={"xyzt_units": 0})
    refused(tiny, "does not state its units")  # probably metres
    assert read(tiny, spacing_mm=(1, 2, 4)).spacing_mm == pytest.approx((1, 2, 4))
    refused(nifti(fields={"xyzt_units": 5}), "unit of length is unknown")


def test_implausible_field_of_view_warns(nifti: Maker) -> None:
    """Fault 20 of the list of bad inputs."""
    path = nifti(affine=np.diag([1000.0, 2000.0, 4000.0, 1.0]), fields={"xyzt_units": 2})
    with pytest.warns(HyperspaceWarning, match="3000 × 10000 × 28000 mm"):
        read(path)


def test_files_without_exactly_three_axes(nifti: Maker) -> None:
    """Fault 21 of the list of bad inputs."""
    array = np.arange(3 * 4 * 5 * 2 * 3, dtype=np.int16).reshape(3, 4, 5, 2, 3)
    path = nifti(array)
    for file in (path, packed(path)):
        error = refused(file, "more than one 3-D volume")
        assert error.found == "3×4×5×2×3" and "0 … 5" in (error.fix or "")
        for n in range(6):  # in file order
            expected = array[..., n % 2, n // 2]
            np.testing.assert_array_equal(read(file, volume=n).array, expected)
        refused(file, "no such volume", volume=6)
        refused(file, "no such volume", volume=-1)
    assert read(nifti(array[..., :1, :1])).shape == (3, 4, 5)
    flat = nifti(np.ones((3, 4), np.uint8), fields={"pixdim": (1.0, 2.0, 4.0)})
    refused(flat, "2-D image")
    assert read(flat, volume=0).shape == (3, 4, 1)


def test_not_finite_voxels(nifti: Maker) -> None:
    """Fault 22 of the list of bad inputs."""
    array = np.ones((3, 5, 7), np.float32)
    array[0, 0, 0], array[1, 2, 3], array[2, 2, 2] = NAN, INF, -INF
    path = nifti(array)
    error = refused(path, "not finite")
    assert error.found == "3 NaN or infinite of 105"
    with pytest.warns(HyperspaceWarning, match="3 voxels"):
        volume = read(path, fill=-7)
    assert volume.dtype == np.float32
    assert volume.array[1, 2, 3] == volume.array[2, 2, 2] == -7 and volume.array.sum() == 102 - 21
    for fill in (NAN, INF, 1e300, -1e39):  # the last two only in double precision
        error = refused(path, "is itself not finite", fill=fill)
        assert error.field == "fill" and "float32" in str(error.expected)
    with pytest.warns(HyperspaceWarning, match="3 voxels"):
        assert read(nifti(array.astype(np.float64)), fill=1e300).array[0, 0, 0] == 1e300


def test_scaling(nifti: Maker) -> None:
    """Fault 23 of the list of bad inputs."""
    stored = np.arange(105).reshape(3, 5, 7)
    plain = read(nifti(fields={"scl_slope": 0.0, "scl_inter": 5.0}))
    assert plain.dtype == np.int16
    np.testing.assert_array_equal(plain.array, stored)
    path = nifti(fields={"scl_slope": 0.1, "scl_inter": -3.5})
    scaled = read(path)
    np.testing.assert_array_equal(scaled.array, stored * float(np.float32(0.1)) - 3.5)
    np.testing.assert_array_equal(scaled.array, np.asarray(nib.load(path).dataobj))
    for field in ("scl_slope", "scl_inter"):
        for value in (NAN, INF):
            path = nifti(fields={"scl_slope": 1.0, field: value})
            assert refused(path, "scaling is not finite").field == field


def test_complex_and_color(nifti: Maker) -> None:
    """Fault 24 of the list of bad inputs."""
    refused(nifti(np.ones((3, 5, 7), np.complex64)), "complex64")
    color = np.zeros((3, 5, 7), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(nifti(color), "R/G/B")
    refused(nifti(fields={"datatype": 777}), "pixel type is unknown")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [("u2", 40000), ("i8", 2**53 + 1), ("u8", 2**64 - 1), ("i2", -300), ("f8", 0.1), ("f4", 1e30)],
)
@pytest.mark.parametrize("version", [nib.Nifti1Image, nib.Nifti2Image])
def test_any_byte_order_and_type_is_exact(
    tmp_path: Path, order: str, kind: str, value: Any, version: Any
) -> None:
    """Fault 26 of the list of bad inputs."""
    array = np.full((2, 3, 4), value, np.dtype(kind))
    array[0, 0, 0] = 1
    like = version(array, np.diag([1, 2, 3, 1]), dtype=array.dtype).header
    header = type(like)(endianness=order)
    header.set_data_dtype(array.dtype)
    version(array, np.diag([1, 2, 3, 1]), header).to_filename(tmp_path / "a.nii")
    block = (tmp_path / "a.nii").read_bytes()[:4]
    assert struct.unpack(order + "i", block)[0] in (348, 540)
    volume = read(tmp_path / "a.nii")
    assert volume.dtype == np.dtype(kind) and volume.dtype.isnative
    np.testing.assert_array_equal(volume.array, array)
    assert write(volume, tmp_path / "b.nii.gz").affine_identical
    assert nib.load(tmp_path / "b.nii.gz").get_data_dtype() == np.dtype(kind)


def test_one_slice_is_a_volume(nifti: Maker, tmp_path: Path) -> None:
    """Fault 27 of the list of bad inputs."""
    volume = read(nifti(np.arange(35, dtype=np.uint8).reshape(5, 7, 1)))
    assert volume.shape == (5, 7, 1)
    assert write(volume, tmp_path / "slice.nii").affine_identical


def test_a_pair_is_refused_by_name(nifti: Maker) -> None:
    refused(nifti(fields={"magic": b"ni1\0"}), "pairs")
    refused(nifti(fields={"magic": b"\0\0\0\0"}), "not a NIfTI")


def test_spacing_override_keeps_directions_and_first_voxel(
    nifti: Maker, oblique: np.ndarray[Any, Any]
) -> None:
    path = nifti(affine=oblique)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HyperspaceWarning)
        before, after = read(path), read(path, spacing_mm=(0.7, 0.9, 1.1))
    assert after.spacing_mm == pytest.approx((0.7, 0.9, 1.1), abs=1e-12)
    np.testing.assert_allclose(after.grid.directions, before.grid.directions, atol=1e-12)
    np.testing.assert_array_equal(after.affine[:3, 3], before.affine[:3, 3])
    with pytest.raises(HyperspaceError, match="positive finite"):
        read(path, spacing_mm=(1, 0, 1))


def test_series_is_for_dicom_alone(nifti: Maker) -> None:
    refused(nifti(), "only DICOM", series="1.2.3")
