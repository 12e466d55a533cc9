"""Reading OME-Zarr: geometry against numbers by hand, versions, levels, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

zarr = pytest.importorskip("zarr")

import napari_hyperspace as hs  # noqa: E402
from napari_hyperspace.api.scan_files import list_scans  # noqa: E402
from napari_hyperspace.core.errors import (  # noqa: E402
    HyperspaceError,
    HyperspaceWarning,
    OptionNeededError,
)

pytestmark = pytest.mark.filterwarnings("ignore::napari_hyperspace.HyperspaceWarning")

SHAPE = (7, 12, 10)
STEPS, ORIGIN = (3.0, 0.8, 1.1), (-10.0, 4.0, 25.0)


def axes(names: str = "zyx", unit: str | None = "millimeter") -> list[dict[str, Any]]:
    described = []
    for name in names:
        kind = {"t": "time", "c": "channel"}.get(name, "space")
        axis = {"name": name, "type": kind}
        if kind == "space" and unit is not None:
            axis["unit"] = unit
        described.append(axis)
    return described


def scaled(scale: Any, translation: Any = None) -> list[dict[str, Any]]:
    transforms = [{"type": "scale", "scale": list(scale)}]
    if translation is not None:
        transforms.append({"type": "translation", "translation": list(translation)})
    return transforms


def write_image(
    path: Any,
    levels: dict[str, tuple[np.ndarray, list[dict[str, Any]]]],
    *,
    version: str = "0.5",
    described: list[dict[str, Any]] | None = None,
    image: dict[str, Any] | None = None,
    further: dict[str, Any] | None = None,
    **array: Any,
) -> Any:
    """Write an image with zarr itself."""
    form = 3 if version == "0.5" else 2
    group = zarr.open_group(path, mode="w", zarr_format=form)
    for name, (values, _) in levels.items():
        made = group.create_array(
            name, shape=values.shape, dtype=values.dtype, chunks=(4,) * values.ndim, **array
        )
        made[...] = values
    multiscale = {
        "name": "micro",
        "axes": described or axes(),
        "datasets": [
            {"path": name, "coordinateTransformations": transforms}
            for name, (_, transforms) in levels.items()
        ],
        **(image or {}),
    }
    if version == "0.5":
        group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale], **(further or {})}
    else:
        group.attrs.update({"multiscales": [{"version": version, **multiscale}], **(further or {})})
    return path


@pytest.fixture
def values(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 60_000, SHAPE).astype(np.uint16)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_spacing_and_origin_in_mm(tmp_path: Path, values: np.ndarray, version: str) -> None:
    path = write_image(
        tmp_path / "a.ome.zarr",
        {"0": (values, scaled(np.multiply(STEPS, 1000), np.multiply(ORIGIN, 1000)))},
        version=version,
        described=axes(unit="micrometer"),
    )
    with pytest.warns(HyperspaceWarning, match="orientation is unknown"):
        volume = hs.read(path)
    np.testing.assert_array_equal(volume.array, values)
    assert volume.array.dtype == np.uint16 and volume.name == "micro"
    assert volume.spacing_mm == pytest.approx(STEPS)
    # Positions differ from the file's by nothing but the direction of the axes.
    corners = np.array([(0, 0, 0), np.array(SHAPE) - 1])
    stated = np.array(ORIGIN) + corners * STEPS
    directions = volume.grid.directions
    found = np.array([directions.T @ volume.grid.index_to_mm(corner) for corner in corners])
    np.testing.assert_allclose(found, stated)
    assert volume.metadata["orientation_unknown"] and volume.metadata["format"] == "ome-zarr"


def test_transformations_of_level_and_image_are_composed(
    tmp_path: Path, values: np.ndarray
) -> None:
    path = write_image(
        tmp_path / "a.zarr",
        {"s0": (values, scaled((1, 2, 4), (1, 1, 1)))},
        image={"coordinateTransformations": scaled((3, 0.5, 0.25), (0, 0, 10))},
    )
    volume = hs.read(path)
    assert volume.spacing_mm == pytest.approx((3, 1, 1))
    origin = volume.grid.directions.T @ volume.grid.index_to_mm((0, 0, 0))
    np.testing.assert_allclose(origin, (3, 0.5, 10.25))


def test_stated_orientations_and_another_order_of_the_axes(
    tmp_path: Path, values: np.ndarray
) -> None:
    described = axes("xyz")
    for axis, value in zip(
        described, ("right-to-left", "posterior-to-anterior", "superior-to-inferior"), strict=True
    ):
        axis["orientation"] = {"type": "anatomical", "value": value}
    path = write_image(
        tmp_path / "a.zarr", {"0": (values, scaled(STEPS, ORIGIN))}, described=described
    )
    volume = hs.read(path)
    expected = np.diag([-3.0, 0.8, -1.1, 1])
    expected[:3, 3] = (10, 4, -25)
    np.testing.assert_allclose(volume.grid.affine, expected)
    assert "orientation_unknown" not in volume.metadata
    unknown = write_image(
        tmp_path / "b.zarr", {"0": (values, scaled(STEPS, ORIGIN))}, described=axes("xyz")
    )
    plain = write_image(
        tmp_path / "c.zarr", {"0": (values.T.copy(), scaled(STEPS[::-1], ORIGIN[::-1]))}
    )
    one, other = hs.read(unknown), hs.read(plain)
    assert one.spacing_mm == pytest.approx(STEPS)
    np.testing.assert_array_equal(one.canonical().array, other.canonical().array)
    np.testing.assert_allclose(one.canonical().grid.affine, other.canonical().grid.affine)


def test_a_level_is_read_by_its_folder(tmp_path: Path, values: np.ndarray) -> None:
    half = values[:, ::2, ::2]
    path = write_image(
        tmp_path / "a.zarr",
        {
            "levels/0": (values, scaled((1, 1, 1))),
            "levels/1": (half, scaled((1, 2, 2), (0, 0.5, 0.5))),
        },
    )
    assert hs.read(path).shape == SHAPE
    coarse = hs.read(path / "levels" / "1")
    assert coarse.spacing_mm == (1, 2, 2)
    np.testing.assert_array_equal(coarse.array, half)
    np.testing.assert_allclose(
        coarse.grid.directions.T @ coarse.grid.index_to_mm((0, 0, 0)), (0, 0.5, 0.5)
    )
    with pytest.raises(HyperspaceError, match="a group and not an image"):
        hs.read(path / "levels")


def test_channels_and_times_are_chosen(tmp_path: Path, rng: np.random.Generator) -> None:
    values = rng.normal(size=(2, 3, *SHAPE)).astype(np.float32)
    path = write_image(
        tmp_path / "a.zarr", {"0": (values, scaled((1, 1, *STEPS)))}, described=axes("tczyx")
    )
    with pytest.raises(OptionNeededError) as error:
        hs.read(path)
    assert error.value.option == "volume" and error.value.n_volumes == 6
    np.testing.assert_array_equal(hs.read(path, volume=4).array, values[1, 1])
    with pytest.raises(HyperspaceError, match="no such volume"):
        hs.read(path, volume=6)


def test_a_flat_image_is_a_slice_with_a_given_spacing(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.int16).reshape(5, 6)
    path = write_image(tmp_path / "a.zarr", {"0": (values, scaled((1, 1)))}, described=axes("yx"))
    with pytest.raises(OptionNeededError, match="2-D"):
        hs.read(path)
    with pytest.raises(OptionNeededError, match="spacing"):
        hs.read(path, volume=0)
    volume = hs.read(path, volume=0, spacing_mm=(2, 0.5, 0.4))
    np.testing.assert_array_equal(volume.array, values[None])
    assert volume.spacing_mm == pytest.approx((2, 0.5, 0.4))


def test_labels_have_their_colors(tmp_path: Path) -> None:
    values = np.ones(SHAPE, np.uint8)
    label = {"colors": [{"label-value": 1, "rgba": [255, 128, 0, 255]}, {"label-value": "x"}]}
    path = write_image(
        tmp_path / "a.zarr", {"0": (values, scaled(STEPS))}, further={"image-label": label}
    )
    volume = hs.read(path)
    assert volume.metadata["is_labels"] and volume.metadata["label_colors"] == {1: "#ff8000"}


def test_a_zip_file(tmp_path: Path, values: np.ndarray) -> None:
    folder = write_image(tmp_path / "a.ome.zarr", {"0": (values, scaled(STEPS))})
    path = Path(shutil.make_archive(str(folder), "zip", folder))
    np.testing.assert_array_equal(hs.read(path).array, values)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(HyperspaceError, match="cannot be read"):
        hs.read(path)


def test_units_that_are_missing_are_mm_if_that_is_plausible(
    tmp_path: Path, values: np.ndarray
) -> None:
    path = write_image(
        tmp_path / "a.zarr", {"0": (values, scaled(STEPS))}, described=axes(unit=None)
    )
    volume = hs.read(path)
    assert volume.spacing_mm == pytest.approx(STEPS) and volume.metadata["units_assumed"]
    path = write_image(
        tmp_path / "b.zarr",
        {"0": (values, scaled(np.multiply(STEPS, 1000)))},
        described=axes(unit=None),
    )
    with pytest.raises(OptionNeededError, match="does not state its units"):
        hs.read(path)
    assert hs.read(path, spacing_mm=(0.1, 0.2, 0.3)).spacing_mm == pytest.approx((0.1, 0.2, 0.3))


CHANGES: list[tuple[str, dict[str, Any], str]] = [
    ("no scale", {"datasets": [{"path": "0"}]}, "voxel spacing"),
    (
        "scale of 0",
        {"datasets": [{"path": "0", "coordinateTransformations": scaled((1, 0, 1))}]},
        "voxel spacing",
    ),
    (
        "too few numbers",
        {"datasets": [{"path": "0", "coordinateTransformations": scaled((1, 1))}]},
        "not those of OME-Zarr",
    ),
    (
        "not a number",
        {"datasets": [{"path": "0", "coordinateTransformations": scaled((1, 1, "x"))}]},
        "not those of OME-Zarr",
    ),
    (
        "a path outside",
        {"datasets": [{"path": "../0", "coordinateTransformations": scaled((1, 1, 1))}]},
        "not those of OME-Zarr",
    ),
    (
        "no array",
        {"datasets": [{"path": "7", "coordinateTransformations": scaled((1, 1, 1))}]},
        "lacks the array",
    ),
    (
        "a rotation",
        {"coordinateTransformations": [{"type": "rotation", "rotation": [1, 1, 1]}]},
        "not those of OME-Zarr",
    ),
    ("axes as text", {"axes": "zyx"}, "not those of OME-Zarr"),
    ("twice the same axis", {"axes": axes("zzx")}, "not those of OME-Zarr"),
    ("other axes", {"axes": axes("abc")}, "lacks spatial axes"),
    ("an unknown unit", {"axes": axes(unit="parsec")}, "unit of length"),
    ("one axis more", {"axes": axes("czyx")}, "not those of OME-Zarr"),
]


@pytest.mark.parametrize(
    ("change", "problem"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES]
)
def test_metadata_are_never_guessed(
    tmp_path: Path, values: np.ndarray, change: dict[str, Any], problem: str
) -> None:
    path = write_image(tmp_path / "a.zarr", {"0": (values, scaled(STEPS))}, image=change)
    with pytest.raises(HyperspaceError, match=problem) as error:
        hs.read(path)
    assert error.value.where == str(path)


@pytest.mark.parametrize("version", ["0.1", "0.6-dev", None, 5])
def test_other_versions_are_refused(tmp_path: Path, values: np.ndarray, version: object) -> None:
    path = write_image(tmp_path / "a.zarr", {"0": (values, scaled(STEPS))})
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["ome"]["version"] = version
    file.write_text(json.dumps(content))
    with pytest.raises(HyperspaceError, match="version of OME-Zarr"):
        hs.read(path)


def test_levels_that_contradict_each_other_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = write_image(
        tmp_path / "a.zarr",
        {"0": (values, scaled((1, 1, 1))), "1": (values[:, ::2, ::2], scaled((1, 3, 2)))},
    )
    hs.read(path)
    with pytest.raises(HyperspaceError, match="contradict"):
        hs.read(path / "1")


def test_no_code_of_a_file_is_run(tmp_path: Path, values: np.ndarray) -> None:
    """numcodecs unpickles chunks if the metadata say so."""
    path = write_image(tmp_path / "a.zarr", {"0": (values, scaled(STEPS))}, version="0.4")
    file = path / "0" / ".zarray"
    content = json.loads(file.read_text())
    pickled = [{"id": "pickle", "protocol": 5}]
    for change in ({"filters": pickled}, {"filters": pickled, "dtype": "|O"}, {"dtype": "|O"}):
        file.write_text(json.dumps({**content, **change}))
        with pytest.raises(HyperspaceError):
            hs.read(path)
    file.write_text(json.dumps({**content, "filters": [{"id": "packbits"}]}))
    with pytest.raises(HyperspaceError, match="may run code"):
        hs.read(path)


@pytest.mark.parametrize("kind", ["<c8", "<U3"])
def test_values_that_are_no_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    path = write_image(
        tmp_path / "a.zarr", {"0": (np.zeros(SHAPE, kind), scaled(STEPS))}, version="0.4"
    )
    with pytest.raises(HyperspaceError, match="cannot be segmented"):
        hs.read(path)


def test_a_damaged_chunk_is_an_error(tmp_path: Path, values: np.ndarray) -> None:
    path = write_image(tmp_path / "a.zarr", {"0": (values, scaled(STEPS))})
    chunk = path / "0" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-7])
    with pytest.raises(HyperspaceError, match="cannot be read"):
        hs.read(path)


def test_groups_that_are_no_images(tmp_path: Path, values: np.ndarray) -> None:
    write_image(tmp_path / "a.zarr" / "first", {"0": (values, scaled(STEPS))})
    group = zarr.open_group(tmp_path / "a.zarr", mode="a", zarr_format=3)
    with pytest.raises(HyperspaceError, match="not an image") as error:
        hs.read(tmp_path / "a.zarr")
    assert "first" in str(error.value)
    group.attrs["ome"] = {"version": "0.5", "plate": {}}
    with pytest.raises(HyperspaceError, match="a plate"):
        hs.read(tmp_path / "a.zarr")
    lone = zarr.create_array(str(tmp_path / "b.zarr"), shape=(3, 4, 5), dtype="u1")
    assert lone.shape == (3, 4, 5)
    with pytest.raises(HyperspaceError, match="spacing is not known"):
        hs.read(tmp_path / "b.zarr")


def test_a_label_map_on_its_grid_is_written_elsewhere(tmp_path: Path, tiny_model: Any) -> None:
    values = np.random.default_rng(0).normal(size=(10, 16, 12)).astype(np.float32)
    path = write_image(tmp_path / "a.zarr", {"0": (values, scaled((2, 1.2, 1.4), ORIGIN))})
    scan = hs.read(path)
    labels = hs.segment(scan, tiny_model)
    receipt = hs.write(labels, tmp_path / "labels.nii.gz")
    assert receipt.grid_matches and labels.grid == scan.grid
    with pytest.raises(HyperspaceError, match="cannot be written"):
        hs.write(labels, tmp_path / "labels.zarr")


def test_images_of_a_folder_are_scans(tmp_path: Path, values: np.ndarray) -> None:
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("b.ome.zarr", "a.zarr"):
        write_image(folder / name, {"0": (values, scaled(STEPS))})
    pairs = list_scans(folder, tmp_path / "out")
    assert [(scan.name, labels.name) for scan, labels in pairs] == [
        ("a.zarr", "a.nii.gz"),
        ("b.ome.zarr", "b.nii.gz"),
    ]
    alone = folder / "b.ome.zarr"
    assert list_scans(alone, tmp_path / "out") == [(alone, tmp_path / "out" / "b.nii.gz")]
    assert list_scans(alone, tmp_path / "x.nii") == [(alone, tmp_path / "x.nii")]
