from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters import readers
from napari_hyperspace.gui.adapters.layers import to_volume
from napari_hyperspace.io.series import Series, Slice


def write_nifti(path, shape=(4, 5, 6)):
    affine = np.array([[-2.0, 0, 0, 10], [0, 1, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return affine


def test_a_file_is_read_upright(tmp_path):
    path = str(tmp_path / "a.nii.gz")
    affine = write_nifti(path)
    reader = readers.get_reader(path)
    ((data, attributes, kind),) = reader(path)
    assert (data.shape, kind, attributes["units"]) == ((6, 5, 4), "image", ("mm",) * 3)
    assert attributes["scale"] == (3.0, 1.0, 2.0)
    np.testing.assert_array_equal(to_volume(data, attributes).affine, affine)


def test_several_files_become_several_layers(tmp_path):
    paths = [str(tmp_path / f"{name}.nii") for name in "ab"]
    for path in paths:
        write_nifti(path)
    assert [attributes["name"] for _, attributes, _ in readers.get_reader(paths)(paths)] == [
        "a",
        "b",
    ]


def test_a_missing_file_has_no_reader(tmp_path):
    assert readers.get_reader(str(tmp_path / "nothing.nii")) is None


def test_an_error_names_the_widget_which_asks_for_an_option(tmp_path):
    """Fault 21 of the list of bad inputs."""
    path = str(tmp_path / "4d.nii")
    write_nifti(path, (4, 5, 6, 3))
    with pytest.raises(hs.HyperspaceError, match="HyperSpace widget, which asks"):
        readers.read_layers(path)


def test_named_labels_become_a_labels_layer():
    names, colors = {1: "front"}, {1: "#ff0000"}
    volume = Volume(
        np.ones((2, 3, 4), np.uint8),
        Grid((2, 3, 4), np.eye(4)),
        metadata={"label_names": names, "label_colors": colors},
    )
    _, attributes, kind = readers.layer_data(volume)
    assert kind == "labels"
    assert list(attributes["features"]["name"]) == ["background", "front"]


class Files:
    """Folders of series, by name; the series "bad" cannot be read, and "report" has no image."""

    def __init__(self, *series):
        self.series = dict(series)

    def list_series(self, folder):
        found = self.series.get(Path(folder).name, ())
        return [
            Series(uid, "", "MR", (Slice(Path(folder), uid, "", "MR", is_image=uid != "report"),))
            for uid in found
        ]

    def read(self, path, *, series=None, **options):
        if series in (None, "bad"):
            raise hs.HyperspaceError(f"unreadable: {Path(path).name} {series}")
        shape = (2, 3, int(series))
        return Volume(np.zeros(shape), Grid(shape, np.eye(4)), f"{Path(path).name} {series}")


def make_folder(path):
    path.mkdir(parents=True)
    (path / "IM0001").write_bytes(bytes(128) + b"DICM")
    return str(path)


def test_all_series_of_a_folder_are_opened_and_the_largest_is_visible(tmp_path):
    folder = make_folder(tmp_path / "scans")
    layers = readers.open_layers(folder, Files(("scans", ("4", "9", "report", "5"))))
    shown = {attributes["name"]: attributes["visible"] for _, attributes, _ in layers}
    assert shown == {"scans 4": False, "scans 9": True, "scans 5": False}


def test_series_that_cannot_be_read_are_left_out_with_a_warning(tmp_path):
    folder = make_folder(tmp_path / "scans")
    with pytest.warns(hs.HyperspaceWarning, match="left out: unreadable: scans bad"):
        layers = readers.open_layers(folder, Files(("scans", ("bad", "6"))))
    assert len(layers) == 1
    with pytest.raises(hs.HyperspaceError, match="unreadable: scans bad"):
        readers.open_layers(folder, Files(("scans", ("bad", "bad"))))


def test_the_series_in_subfolders_are_opened(tmp_path):
    for name in ("b", "a/inner", "c", ".hidden"):
        make_folder(tmp_path / "study" / name)
    source = Files(("b", ("3",)), ("inner", ("7",)), ("c", ()), (".hidden", ("8",)))
    layers = readers.open_layers(str(tmp_path / "study"), source)
    assert [attributes["name"] for _, attributes, _ in layers] == ["inner 7", "b 3"]


def test_a_folder_with_a_text_file_and_a_dicom_subfolder_is_opened(tmp_path):
    make_folder(tmp_path / "disc" / "DICOM")
    (tmp_path / "disc" / "README.txt").write_text("a viewer")
    source = Files(("DICOM", ("7", "3")))
    assert readers.holds_dicom(str(tmp_path / "disc"))
    assert len(readers.open_layers(str(tmp_path / "disc"), source)) == 2


def test_a_cycle_of_links_is_not_followed(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert not readers.holds_dicom(str(tmp_path))


def test_a_folder_without_permission_is_left_to_napari(tmp_path, monkeypatch):
    def refused(self):
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refused)
    assert not readers.holds_dicom(str(tmp_path))


def test_what_looks_like_dicom(tmp_path):
    assert readers.holds_dicom(make_folder(tmp_path / "a" / "b"))
    assert readers.holds_dicom(str(tmp_path / "a"))
    assert readers.holds_dicom(str(tmp_path / "a" / "b" / "IM0001"))
    assert not readers.holds_dicom(str(tmp_path / "nothing"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "1.png").write_bytes(b"no")
    assert not readers.holds_dicom(str(pictures))
    (pictures / "2.IMA").write_bytes(b"old ones have no preamble")
    assert readers.holds_dicom(str(pictures))


def test_dicom_folders(data_root):
    """One layer per series."""
    folders = sorted(path.parent for path in (data_root / "volumes/dicom").rglob("*.dcm"))
    for folder in sorted(set(folders)):
        layers = readers.read_layers(str(folder))
        wanted = [one for one in hs.io.list_series(folder) if one.is_image]
        assert len(layers) == len(wanted)
        for data, attributes, _ in layers:
            assert data.ndim == 3
            volume = to_volume(data, attributes)
            np.testing.assert_allclose(
                sorted(attributes["scale"]), sorted(volume.spacing_mm), rtol=1e-6
            )
            assert volume.metadata["format"] == "dicom"
