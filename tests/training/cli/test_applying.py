"""Commands that apply a model to scans, or describe it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import napari_hyperspace as hs
import training
from tests.rates import CALIBRATION
from tests.training.cli.conftest import environment, run
from tests.training.conftest import AFFINE, N_CASES


def test_predict_one_file_on_its_own_grid(dataset: Path, model_file: Path, tmp_path: Path) -> None:
    scan, target = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    result = run("predict", scan, target, "--model", model_file, "--spacing", "2,1.5,2", "--json")
    assert result.exit_code == 0, result.stderr
    written = nib.load(target)
    assert np.array_equal(written.affine, AFFINE)
    expected = hs.segment(hs.read(scan), hs.load_model(model_file), (2, 1.5, 2))
    assert np.array_equal(np.asarray(written.dataobj), expected.array)
    entry = json.loads(result.stdout)[0]
    assert entry["spacing_mm"] == pytest.approx([2, 1.5, 2])
    voxel_ml = 1.5 * 1.25 / 1000
    counts = [(expected.array == value).sum() * voxel_ml for value in (1, 2)]
    assert list(entry["volumes_ml"].values()) == pytest.approx(counts, abs=1e-4)


def test_predict_and_estimate_assess_on_request(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)
    scan, table = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "table.csv"
    arguments = (scan, tmp_path / "labels.nii.gz", "-m", model_file, "--table", table)
    (without,) = json.loads(run("predict", *arguments, "--json").stdout)
    assert without["quality"] is None and "quality" not in table.read_text()
    (entry,) = json.loads(run("predict", *arguments, "--quality", "--json").stdout)
    assert entry["quality"]["level"] in ("ok", "doubtful", "implausible")
    assert 0 <= entry["quality"]["agreement"] <= 1
    assert ",quality,estimated Dice,warnings," in table.read_text().splitlines()[0]
    cost = json.loads(run("estimate", scan, "-m", model_file, "--quality", "--json").stdout)
    assert cost["quality_seconds"] > 0


def test_predict_cleans_the_labels_on_request(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    plain, cleaned = tmp_path / "plain.nii.gz", tmp_path / "cleaned.nii.gz"
    result = run("predict", scan, plain, "-m", model_file, "--json")
    assert json.loads(result.stdout)[0]["postprocessing"] == []
    options = ("--largest-component", "--fill-holes-mm3", "20")
    result = run("predict", scan, cleaned, "-m", model_file, *options, "--json")
    assert result.exit_code == 0, result.stderr
    expected = hs.postprocess(
        hs.segment(hs.read(scan), hs.load_model(model_file)),
        largest_component=True,
        fill_holes_mm3=20,
    )
    written = hs.read(cleaned)
    assert np.array_equal(written.array, expected.array)
    assert not np.array_equal(written.array, hs.read(plain).array)
    entry = json.loads(result.stdout)[0]
    assert [one["step"] for one in entry["postprocessing"]] == [
        "largest component of each structure",
        "holes up to 20 mm³ filled",
    ]
    voxel_ml = 1.5 * 1.25 / 1000
    counts = [(expected.array == value).sum() * voxel_ml for value in (1, 2)]
    assert list(entry["volumes_ml"].values()) == pytest.approx(counts, abs=1e-4)
    wrong = run("predict", scan, cleaned, "-m", model_file, "--fill-holes-mm3", "-1")
    assert wrong.exit_code == 2
    assert "--fill-holes-mm3" in wrong.stderr


@pytest.mark.filterwarnings("ignore:tiny_000 is all background")
def test_implausible_spacings_are_refused_unless_allowed(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)
    scan, target = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    options = ("-m", model_file, "--spacing", "2000", "--outside", "extrapolate")
    for verb in (("estimate", scan), ("predict", scan, target)):
        result = run(*verb, *options)
        assert result.exit_code == 1
        assert "implausible" in result.stderr and "--allow-implausible" in result.stderr
        assert not target.exists()
        result = run(*verb, *options, "--allow-implausible")
        assert result.exit_code == 0, result.stderr
    assert target.exists()


def test_predict_continues_after_a_scan_that_fails(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    folder, target = dataset / "imagesTr", tmp_path / "out"
    broken = folder / "tiny_002.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    result = run("predict", folder, target, "-m", model_file, "--json")
    assert result.exit_code == 1
    assert "tiny_002.nii.gz" in result.stderr and f"1 of {N_CASES} scans failed" in result.stderr
    names = {path.name for path in target.iterdir()}
    assert names == {f"tiny_{i:03d}.nii.gz" for i in range(N_CASES)} - {"tiny_002.nii.gz"}
    failed = [entry for entry in json.loads(result.stdout) if entry["error"]]
    assert [Path(entry["source"]).name for entry in failed] == ["tiny_002.nii.gz"]


def test_predict_outside_the_trained_range_needs_the_option(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    scan, target = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    refused = run("predict", scan, target, "-m", model_file, "--spacing", "7")
    assert refused.exit_code == 1 and not target.exists()
    assert "--outside" in refused.stderr or "outside" in refused.stderr
    for word in ("clamp", "extrapolate"):
        done = run("predict", scan, target, "-m", model_file, "--spacing", "7", "--outside", word)
        assert done.exit_code == 0, done.stderr


def test_predict_refuses_invalid_targets_before_segmenting(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hs, "segment_steps", None)
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    before = scan.read_bytes()
    for target, words in (
        (scan, "must not replace the scan"),
        (tmp_path / "none" / "labels.nii.gz", "folder does not exist"),
        (tmp_path / "labels.png", "cannot be written"),
    ):
        result = run("predict", scan, target, "-m", model_file)
        assert result.exit_code == 1 and words in result.stderr, result.stderr
    assert scan.read_bytes() == before


@pytest.mark.parametrize("text", ["x", "1,2", "-1", "nan", "1,1,inf"])
def test_a_spacing_is_one_or_three_numbers(text: str, dataset: Path, model_file: Path) -> None:
    result = run("predict", dataset, "out", "-m", model_file, f"--spacing={text}")
    assert result.exit_code == 2 and "not a spacing" in " ".join(result.stderr.split())


def test_models_are_applied_without_the_extra_for_training(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    code = """
import sys
for name in ("lightning_fabric", "matplotlib", "monai", "pandas", "tensorboard"):
    sys.modules[name] = None  # importing it fails
from training.cli import app
scan, model, target = sys.argv[1:]
app(["predict", scan, target, "--model", model, "--device", "cpu"], standalone_mode=False)
app(["info", model], standalone_mode=False)
"""
    scan, target = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    subprocess.run(
        [sys.executable, "-c", code, scan, model_file, target],
        cwd=Path(training.__file__).parents[1],
        env=environment(),
        check=True,
    )
    assert target.exists()


@pytest.mark.filterwarnings("ignore:.*not finite")
def test_estimate(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    result = run("estimate", scan, "-m", model_file, "--spacing", "2", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["seconds"] > 0 and values["peak_bytes"] > 0
    assert values["spacing_mm"] == [2, 2, 2]
    assert "time" in run("estimate", scan, "-m", model_file, "--device", "cpu").stdout
    volume = hs.read(scan)
    values = volume.array.astype(np.float32)
    values[1, 2, 3] = np.nan
    hs.write(volume.with_array(values), tmp_path / "holed.nii.gz")
    options = ("estimate", tmp_path / "holed.nii.gz", "-m", model_file, "--device", "cpu")
    assert run(*options).exit_code == 1
    filled = run(*options, "--fill", "0")
    assert filled.exit_code == 0 and "time" in filled.stdout


def test_info(model_file: Path) -> None:
    text = run("info", model_file).stdout
    assert "1 structure 1, 2 structure 2" in text and "0.5–5 × 0.5–5 × 0.5–5 mm" in text
    header = json.loads(run("info", model_file, "--json").stdout)
    assert header["card"]["name"] == "tiny" and header["factory"]["kind"] == "hypernetwork"
    missing = run("info", "no-such-model")
    assert missing.exit_code == 1 and "no such model" in missing.stderr


def test_predict_finds_the_spacing_within_a_budget(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)
    words = ("predict", dataset / "imagesTr", tmp_path / "out", "--model", model_file)
    result = run(*words, "--budget-seconds", "60", "--budget-gb", "1", "--json")
    assert result.exit_code == 0, result.stderr
    own = hs.read(dataset / "imagesTr" / "tiny_000.nii.gz").grid.canonical().spacing_mm
    for entry in json.loads(result.stdout):
        assert entry["spacing_mm"] == pytest.approx(own)  # nothing is finer than the scan
    table = tmp_path / "table.csv"
    assert run(*words, "--budget-seconds", "60", "--table", table).exit_code == 0
    assert len(table.read_text("utf-8").splitlines()) == 1 + len(json.loads(result.stdout))
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    before = scan.read_bytes()
    assert run(*words, "--table", scan).exit_code == 2 and scan.read_bytes() == before
    refused = run(*words, "--budget-gb", "0")
    assert refused.exit_code == 1 and "within the budget" in refused.stderr
    assert run(*words, "--budget-seconds", "60", "--spacing", "2").exit_code == 2
