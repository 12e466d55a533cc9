"""The command that segments a scan at several working spacings."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_hyperspace as hs
from tests.rates import CALIBRATION
from tests.training.cli.conftest import run
from tests.training.conftest import AFFINE
from training.cli import sweeping

pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def _given_rates(monkeypatch) -> None:
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)


@pytest.fixture
def scan(dataset: Path) -> Path:
    return dataset / "imagesTr" / "tiny_001.nii.gz"


def test_a_sweep_writes_tables_figures_labels_and_the_stability_map(
    scan: Path, model_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "sweep"
    options = ("--spacings", "2 1.4,1.2,1.5 1.2", "--labels", "--out", out, "--json")
    result = run("sweep", scan, "-m", model_file, *options)
    assert result.exit_code == 0, result.stderr
    data = json.loads(result.stdout)
    assert [one["spacing_mm"] for one in data["points"]] == [[2] * 3, [1.4, 1.2, 1.5], [1.2] * 3]
    maps = []
    for name in ("labels-2mm", "labels-1.4x1.2x1.5mm", "labels-1.2mm"):
        written = nib.load(out / f"{name}.nii.gz")
        np.testing.assert_array_equal(written.affine, AFFINE)
        maps.append(np.asarray(written.dataobj))
    volume, model = hs.read(scan), hs.load_model(model_file)
    np.testing.assert_array_equal(maps[1], hs.segment(volume, model, (1.4, 1.2, 1.5)).array)
    votes = np.stack(maps)
    share = np.max([(votes == v).mean(axis=0) for v in np.unique(votes)], axis=0)
    stability = nib.load(out / "stability.nii.gz")
    np.testing.assert_array_equal(stability.affine, AFFINE)
    np.testing.assert_allclose(stability.get_fdata(), share, atol=np.finfo(np.float32).eps)
    rows = list(csv.DictReader((out / "sweep.csv").read_text().splitlines()))
    voxel_ml = 1.5 * 1.25 / 1000
    for row, labels in zip(rows, maps, strict=True):
        for value, name in model.label_names.items():
            expected = (labels == value).sum() * voxel_ml
            assert float(row[f"volume_ml {name}"]) == pytest.approx(expected, abs=1e-6)
    written = json.loads((out / "sweep.json").read_text())
    assert written == {key: value for key, value in data.items() if key != "files"}
    for name in ("sweep.png", "sweep.svg"):
        assert str(out / name) in data["files"] and (out / name).stat().st_size > 1000
    for text in ((out / "sweep.csv").read_text(), (out / "sweep.json").read_text()):
        assert "tiny_001" not in text  # file names may contain names of patients


def test_dice_in_a_box_with_reference_labels(scan: Path, model_file: Path, tmp_path: Path) -> None:
    reference = scan.parents[1] / "labelsTr" / scan.name
    options = ("--range", "1.3,2", "--count", 2, "--box", "2:14,:10,3:", "--labels")
    result = run(
        "sweep", scan, "-m", model_file, *options, "--reference", reference, "--out", tmp_path
    )
    assert result.exit_code == 0, result.stderr
    assert "knee" in result.stdout and "1.3 mm" in result.stdout
    data = json.loads((tmp_path / "sweep.json").read_text())
    assert data["dice_with"] == "reference labels"
    inside = (slice(2, 14), slice(0, 10), slice(3, None))
    truth = np.asarray(nib.load(reference).dataobj)[inside]
    names = hs.load_model(model_file).label_names
    for row, file in zip(data["points"], ("labels-2mm", "labels-1.3mm"), strict=True):
        labels = np.asarray(nib.load(tmp_path / f"{file}.nii.gz").dataobj)
        assert not np.delete(labels, np.s_[2:14], axis=0).any()
        for value, name in names.items():
            one, other = labels[inside] == value, truth == value
            dice = 2 * (one & other).sum() / (one.sum() + other.sum())
            assert row["dice"][name] == pytest.approx(dice, abs=1e-6)


def test_one_axis_can_be_swept(scan: Path, model_file: Path, tmp_path: Path) -> None:
    options = ("--range", "1.2,2", "--count", 2, "--axis", "x", "--fixed", "1.5,1.4,9")
    result = run("sweep", scan, "-m", model_file, *options, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.stderr
    found = [one["spacing_mm"] for one in json.loads(result.stdout)["points"]]
    assert found == [pytest.approx([1.5, 1.4, 2]), pytest.approx([1.5, 1.4, 1.2])]


def test_what_is_finished_is_kept_when_the_command_is_stopped(
    scan: Path, model_file: Path, tmp_path: Path, monkeypatch
) -> None:
    write_labels, written = sweeping._write_labels, []

    def stop_at_the_second(point, out) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(point)
        write_labels(point, out)

    monkeypatch.setattr(sweeping, "_write_labels", stop_at_the_second)
    options = ("--spacings", "2 1.8 1.6", "--labels", "--out", tmp_path)
    result = run("sweep", scan, "-m", model_file, *options)
    assert result.exit_code == 130
    assert len(json.loads((tmp_path / "sweep.json").read_text())["points"]) == 2
    assert {"stability.nii.gz", "sweep.png", "labels-2mm.nii.gz"} <= {
        path.name for path in tmp_path.iterdir()
    }


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ((), 2, "--range"),
        (("--range", "1,2", "--spacings", "1"), 2, "--range"),
        (("--range", "1"), 2, "two spacings"),
        (("--range", "1,2", "--box", "1:2,3:4"), 2, "not a box"),
        (("--range", "1,2", "--box", "5:5,:,:"), 1, "box"),
        (("--range", "1,200"), 1, "trained on"),
        (("--range", "1.2,2", "--axis", "w"), 1, "axis"),
    ],
)
def test_refusals(scan, model_file, tmp_path, options, status, message) -> None:
    result = run("sweep", scan, "-m", model_file, *options, "--out", tmp_path / "out")
    assert result.exit_code == status, result.stderr
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_sweep_post_processes_as_predict_does(
    scan: Path, model_file: Path, tmp_path: Path
) -> None:
    out, options = tmp_path / "sweep", ("--largest-component", "--fill-holes-mm3", "20")
    result = run(
        *("sweep", scan, "-m", model_file, "--spacings", "2", "--labels", "--out", out), *options
    )
    assert result.exit_code == 0, result.stderr
    alone = tmp_path / "labels.nii.gz"
    result = run("predict", scan, alone, "-m", model_file, "--spacing", "2", *options)
    assert result.exit_code == 0, result.stderr
    swept, predicted = hs.read(out / "labels-2mm.nii.gz"), hs.read(alone)
    np.testing.assert_array_equal(swept.array, predicted.array)
    assert swept.metadata["record"].postprocessing == predicted.metadata["record"].postprocessing
    assert swept.metadata["record"].postprocessing[0].largest_component
