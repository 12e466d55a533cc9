"""What napari calls by the manifest: readers, writers, samples, settings."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

pytest.importorskip("napari")
from npe2 import PluginManager, PluginManifest

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters import readers, writers
from napari_hyperspace.gui.adapters.layers import to_layer_data, to_volume
from napari_hyperspace.gui.models import settings

MANIFEST = PluginManifest.from_file(Path(hs.__file__).parent / "napari.yaml")


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


def test_what_is_not_there_is_left_to_others(tmp_path):
    assert readers.get_reader(str(tmp_path / "nothing.nii")) is None


def test_fault_21_napari_is_told_where_the_question_is_asked(tmp_path):
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
    """Folders of series of made-up volumes; a series called bad cannot be read."""

    def __init__(self, *series):
        self.series = dict(series)

    def list_series(self, folder):
        found = self.series.get(Path(folder).name, ())
        return [SimpleNamespace(uid=uid, is_image=uid != "report") for uid in found]

    def read(self, path, *, series=None, **options):
        if series in (None, "bad"):
            raise hs.HyperspaceError(f"unreadable: {Path(path).name} {series}")
        shape = (2, 3, int(series))
        return Volume(np.zeros(shape), Grid(shape, np.eye(4)), f"{Path(path).name} {series}")


def make_folder(path):
    path.mkdir(parents=True)
    (path / "IM0001").write_bytes(bytes(128) + b"DICM")
    return str(path)


def test_all_series_of_a_folder_are_opened_and_the_largest_is_shown(tmp_path):
    folder = make_folder(tmp_path / "scans")
    layers = readers.open_layers(folder, Files(("scans", ("4", "9", "report", "5"))))
    shown = {attributes["name"]: attributes["visible"] for _, attributes, _ in layers}
    assert shown == {"scans 4": False, "scans 9": True, "scans 5": False}


def test_series_that_cannot_be_read_are_left_out_and_told(tmp_path):
    folder = make_folder(tmp_path / "scans")
    with pytest.warns(hs.HyperspaceWarning, match="left out: unreadable: scans bad"):
        layers = readers.open_layers(folder, Files(("scans", ("bad", "6"))))
    assert len(layers) == 1
    with pytest.raises(hs.HyperspaceError, match="unreadable: scans bad"):
        readers.open_layers(folder, Files(("scans", ("bad", "bad"))))


def test_a_study_of_folders_is_opened_whole(tmp_path):
    for name in ("b", "a/inner", "c", ".hidden"):
        make_folder(tmp_path / "study" / name)
    source = Files(("b", ("3",)), ("inner", ("7",)), ("c", ()), (".hidden", ("8",)))
    layers = readers.open_layers(str(tmp_path / "study"), source)
    assert [attributes["name"] for _, attributes, _ in layers] == ["inner 7", "b 3"]


def test_a_disc_with_a_note_at_its_top_is_opened_whole(tmp_path):
    make_folder(tmp_path / "disc" / "DICOM")
    (tmp_path / "disc" / "README.txt").write_text("a viewer")
    source = Files(("DICOM", ("7", "3")))
    assert readers.holds_dicom(str(tmp_path / "disc"))
    assert len(readers.open_layers(str(tmp_path / "disc"), source)) == 2


def test_a_circle_of_folders_ends(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    assert not readers.holds_dicom(str(tmp_path))


def test_a_folder_that_may_not_be_entered_is_left_to_napari(tmp_path, monkeypatch):
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
    """One layer a series."""
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


@pytest.mark.parametrize("name", ["scan.nii", "link.nii"])
def test_fault_65_the_scan_is_never_written_over(tmp_path, name):
    path = tmp_path / "scan.nii"
    write_nifti(path)
    (tmp_path / "link.nii").symlink_to(path)
    before = path.read_bytes()
    data, attributes, _ = to_layer_data(hs.read(path))
    with pytest.raises(hs.HyperspaceError, match="overwrite the scan"):
        writers.write_layer(str(tmp_path / name), np.zeros_like(data), attributes)
    assert path.read_bytes() == before


def test_fault_65_nor_a_file_of_a_dicom_series(tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    volume = Volume(np.zeros((2, 3, 4)), Grid((2, 3, 4), np.eye(4)), metadata={"path": str(series)})
    with pytest.raises(hs.HyperspaceError, match="overwrite the scan"):
        writers.write_volume(volume, series / "IM0001.nii")
    receipt = writers.write_volume(volume, tmp_path / "labels.nii")
    assert receipt.grid_matches


def test_readers_and_writers_are_found_by_name():
    manager = PluginManager()
    manager.register(MANIFEST)
    names = ["a.nii", "a.nii.gz", "b.NRRD", "c.mha", "c.mhd", "d.dcm"]
    for name in names:
        assert [one.command for one in manager.iter_compatible_readers(name)] == [
            "napari-hyperspace.read"
        ]
    assert list(manager.iter_compatible_readers("a.tif")) == []
    for kind in ("image", "labels"):
        for extension in (".nii", ".nii.gz", ".nrrd", ".mha"):
            writer, path = manager.get_writer(f"out{extension}", [kind])
            assert writer is not None and path == f"out{extension}"


def test_settings_start_from_the_preferences(monkeypatch):
    from napari.settings import _plugin_config_generator

    manager = PluginManager()
    manager.register(MANIFEST)
    model = _plugin_config_generator.plugin_configuration_generator(manager)["napari-hyperspace"]
    chosen = model(config_path=None)
    defaults = settings.Choices()
    assert chosen.preview.budget_ms == defaults.preview_ms
    assert chosen.preview.rest_ms == defaults.rest_ms
    assert chosen.run.outside == defaults.outside
    chosen.preview.budget_ms = 500
    chosen.run.outside = "clamp"
    monkeypatch.setattr(settings, "_plugin_settings", lambda: chosen)
    choices = settings.load_choices()
    assert (choices.preview_ms, choices.outside) == (500, "clamp")
    assert settings.run_budget_s() == 30.0


def test_settings_without_napari_0_9(monkeypatch):
    monkeypatch.setattr(settings, "_plugin_settings", lambda: None)
    assert settings.load_choices() == settings.Choices()
    assert settings.run_budget_s() == 30.0


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_saved_labels_come_back_as_labels(tmp_path, suffix):
    array = np.arange(120, dtype=np.uint8).reshape(4, 5, 6) % 3
    volume = Volume(array, Grid.from_spacing((4, 5, 6), (1, 2, 3)), "labels")
    data, attributes, _ = to_layer_data(volume, "labels")
    layer = pytest.importorskip("napari.layers").Labels(data, **attributes)
    path = str(tmp_path / f"a{suffix}")
    named = {"features": {"index": [0, 1], "name": ["background", "putamen"]}}
    if suffix == ".nrrd":  # NRRD tells labels by their names alone
        layer.features = named["features"]
    writers.write_layer(path, *layer.as_layer_data_tuple()[:2])
    ((again, _, kind),) = readers.read_layers(path)
    assert kind == "labels"
    np.testing.assert_array_equal(again, data)
