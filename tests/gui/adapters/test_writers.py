from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("napari")
from napari.layers import Labels

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import to_layer_data
from napari_hyperspace.gui.adapters.readers import read_layers
from napari_hyperspace.gui.adapters.writers import write_layer, write_volume


@pytest.mark.parametrize("name", ["scan.nii", "link.nii"])
def test_the_scan_is_never_overwritten(tmp_path, name):
    """Fault 65 of the list of bad inputs."""
    path = tmp_path / "scan.nii"
    hs.write(Volume(np.zeros((4, 5, 6), np.int16), Grid((4, 5, 6), np.eye(4))), path)
    (tmp_path / "link.nii").symlink_to(path)
    before = path.read_bytes()
    data, attributes, _ = to_layer_data(hs.read(path))
    with pytest.raises(hs.HyperspaceError, match="overwrite the scan"):
        write_layer(str(tmp_path / name), np.zeros_like(data), attributes)
    assert path.read_bytes() == before


def test_no_file_of_a_dicom_series_is_overwritten(tmp_path):
    """Fault 65 of the list of bad inputs."""
    series = tmp_path / "series"
    series.mkdir()
    volume = Volume(np.zeros((2, 3, 4)), Grid((2, 3, 4), np.eye(4)), metadata={"path": str(series)})
    with pytest.raises(hs.HyperspaceError, match="overwrite the scan"):
        write_volume(volume, series / "IM0001.nii")
    receipt = write_volume(volume, tmp_path / "labels.nii")
    assert receipt.grid_matches


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_saved_labels_come_back_as_labels(tmp_path, suffix):
    array = np.arange(120, dtype=np.uint8).reshape(4, 5, 6) % 3
    volume = Volume(array, Grid.from_spacing((4, 5, 6), (1, 2, 3)), "labels")
    data, attributes, _ = to_layer_data(volume, "labels")
    layer = Labels(data, **attributes)
    path = str(tmp_path / f"a{suffix}")
    named = {"features": {"index": [0, 1], "name": ["background", "putamen"]}}
    if suffix == ".nrrd":  # NRRD marks labels only by their names
        layer.features = named["features"]
    write_layer(path, *layer.as_layer_data_tuple()[:2])
    ((again, _, kind),) = read_layers(path)
    assert kind == "labels"
    np.testing.assert_array_equal(again, data)
