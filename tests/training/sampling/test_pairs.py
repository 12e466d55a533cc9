"""The command `synthesize`: files of pairs, pairs made again, contact sheet."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.io import read
from tests.training.heads import SPACING
from tests.training.rounding import rounding_bound
from training.cli import app
from training.sampling import pairs
from training.sampling.synthesize import open_label_maps
from training.synthesis.parameters import PairParameters


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def _describe(folder: Path, **data: Any) -> Path:
    path = folder.parent / "maps.yaml"
    section = {"kind": "label-maps", "folder": folder.name, **data}
    path.write_text(yaml.safe_dump({"data": section}))
    return path


def test_written_pairs_can_be_made_again(folder: Path, tmp_path: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    result = _run("synthesize", folder, out, "-n", 4, "--spacing", "2 1.5,3,1.2", "--json")
    assert result.exit_code == 0, result.output
    files = [Path(file) for file in json.loads(result.stdout)["files"]]
    assert len(files) == 12 and all(file.is_file() for file in files)
    names = ["head_0-000", "head_1-001", "head_2-002", "head_0-003"]
    assert [file.name for file in files[::3]] == [f"{name}.nii.gz" for name in names]
    image, labels = read(files[3]), read(files[4])
    assert image.canonical().spacing_mm == pytest.approx((1.5, 3, 1.2))
    assert image.shape == labels.shape and np.allclose(image.grid.affine, labels.grid.affine)
    assert set(np.unique(labels.array)) <= set(range(14)) and labels.array.any()
    about = json.loads(files[5].read_text())
    parameters = PairParameters.from_dict(about["parameters"])
    assert about["map"] == "head_1" and parameters.spacing_mm == (1.5, 3.0, 1.2)
    # The scan has the position of its map.
    middle = read(folder / "head_1.nii.gz").grid.center_mm
    assert np.abs(image.grid.center_mm - middle).max() < 2 * max(SPACING)
    result = _run("synthesize", folder, again, "--again", files[5])
    assert result.exit_code == 0, result.output
    assert np.array_equal(read(again / files[3].name).array, image.array)
    assert np.array_equal(read(again / files[4].name).array, labels.array)
    assert json.loads((again / files[5].name).read_text()) == about


def test_pairs_written_before_keys_were_renamed(folder: Path, tmp_path: Path) -> None:
    """A file with the keys `draw`, `looks` and `centre_mm` gives the pair that its seed gives."""
    former = Path(__file__).with_name("former-pair.json")
    assert {"draw"} == set(json.loads(former.read_text())) - {"map", "fingerprint"}
    result = _run("synthesize", folder, tmp_path, "--again", former)
    assert result.exit_code == 0, result.output
    arguments = ("-n", 1, "--spacing", 2, "--size", 20, "--seed", 5)
    assert _run("synthesize", folder, tmp_path, *arguments).exit_code == 0
    again, fresh = (read(tmp_path / f"{name}.nii.gz") for name in ("former-pair", "head_0-000"))
    # The stored parameters were sampled by another processor.
    bound = rounding_bound(fresh.array, 64)
    assert np.allclose(again.array, fresh.array, rtol=0, atol=bound)
    about = json.loads((tmp_path / "former-pair.json").read_text())
    assert set(about) == {"map", "fingerprint", "parameters"}
    assert {"appearance", "geometry"} < set(about["parameters"])
    assert "center_mm" in about["parameters"]["geometry"]


def test_pairs_depend_on_the_seed(folder: Path, tmp_path: Path) -> None:
    images = []
    for seed in (0, 0, 1):
        out = tmp_path / f"{len(images)}"
        arguments = ("-n", 1, "--spacing", 2, "--size", 20, "--seed", seed)
        assert _run("synthesize", folder, out, *arguments).exit_code == 0
        images.append(read(out / "head_0-000.nii.gz").array)
    assert images[0].shape == (10, 10, 10)
    assert np.array_equal(images[0], images[1]) and not np.array_equal(images[0], images[2])


def test_contact_sheet(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = _run("synthesize", folder, out, "-n", 2, "--contrast", "t2", "--preview")
    assert result.exit_code == 0, result.output
    sheet = imread(out / "preview.png")
    assert sheet.shape[1] > 1000 and sheet.std() > 0.05
    colored = np.ptp(sheet[..., :3], axis=-1) > 0.3
    assert colored.mean() > 0.005
    about = json.loads((out / "head_0-000.json").read_text())
    assert about["parameters"]["appearance"]["contrast"] == "t2"


def test_labels_and_values_of_the_configuration(folder: Path, tmp_path: Path) -> None:
    path = _describe(folder, labels={7: [3, 42], 40: [2, 41]}, names={7: "grey", 40: "white"})
    out = tmp_path / "out"
    assert _run("synthesize", path, out, "-n", 1, "--spacing", 2).exit_code == 0
    assert set(np.unique(read(out / "head_0-000_labels.nii.gz").array)) == {0, 7, 40}
    maps = open_label_maps(path)
    (head,) = maps.load(["head_0"])
    assert head.targets.max() == 2 and maps.data.label_names == {7: "grey", 40: "white"}


def test_a_file_without_network_may_configure_the_synthesis(folder: Path) -> None:
    path = folder.parent / "maps.yaml"
    data = "data: {kind: label-maps, folder: maps}\n"
    path.write_text(data + "synthesis: {noise: 0}\nspacing: {range_mm: [[1, 2], [1, 2], [3, 3]]}\n")
    maps = open_label_maps(path)
    assert maps.synthesis.noise == 0 and maps.spacing.range_mm[2] == (3, 3)
    path.write_text(data)
    assert open_label_maps(path).synthesis.noise > 0
    path.write_text(data + "synthesis: {nois: 0}\n")
    with pytest.raises(HyperspaceError, match="noise"):
        open_label_maps(path)


def test_invalid_requests_are_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "known" in _run("synthesize", folder, out, "--contrast", "ct").output
    for spacing, words in ((1e9, "implausible"), (1e-9, "implausible"), (1e-3, "too large")):
        result = _run("synthesize", folder, out, "-n", 1, "--spacing", spacing)
        assert result.exit_code == 1 and words in result.output
    assert _run("synthesize", folder, out, "-n", 1, "--spacing", 3).exit_code == 0
    file = out / "head_0-000.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "fingerprint": "0"}))
    assert "has changed since" in _run("synthesize", folder, out, "--again", file).output
    file.write_text(json.dumps({**about, "map": "head_9"}))
    assert "not among those" in _run("synthesize", folder, out, "--again", file).output
    for broken in ("{}", "[]", json.dumps({**about, "parameters": [1]}), "{", "[" * 10**5):
        file.write_text(broken)
        result = _run("synthesize", folder, out, "--again", file)
        assert result.exit_code == 1
        assert re.search("does not contain the parameters|valid JSON|nested", result.output)
    (folder.parent / "other.yaml").write_text("data: {kind: decathlon, folder: maps}")
    with pytest.raises(HyperspaceError, match="only from label maps"):
        open_label_maps(folder.parent / "other.yaml")


def test_pairs_that_do_not_fit_into_the_memory_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "available_host_bytes", lambda: 1000)
    arguments = ("-n", 1, "--spacing", 3, "--size", 20)
    result = _run("synthesize", folder, tmp_path / "out", *arguments)
    assert result.exit_code == 1 and "does not fit into the memory" in result.output
    assert "1.0 kB free" in result.output and "coarser spacing" in result.output


def test_unknown_ids_are_refused(folder: Path, tmp_path: Path) -> None:
    file = folder / "head_1.nii.gz"
    image = nib.load(file)
    array = np.asarray(image.dataobj).copy()
    array[0, 0, 0] = 999
    nib.save(nib.Nifti1Image(array, image.affine), file)
    result = _run("synthesize", folder, tmp_path / "out", "-n", 3)
    assert result.exit_code == 1 and "head_1" in result.output and "999" in result.output
