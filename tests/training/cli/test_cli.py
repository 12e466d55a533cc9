"""The command line, in this process and as users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner, Result

import napari_hyperspace as hs
import training
from napari_hyperspace.core.resample import resample_labels, resample_to_spacing
from tests.training.conftest import AFFINE, N_CASES, config_values, interrupt_after
from training.cli import app
from training.fit.checkpoint import read_checkpoint

COMMANDS = ("fit", "predict", "estimate", "info", "evaluate", "export", "import-checkpoint")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def model_file(make_model: Callable[..., hs.Model], tmp_path: Path) -> Path:
    """An untrained model of the tiny data set's two labels."""
    return hs.save_model(make_model(), tmp_path / "model.safetensors")


def _write_config(base: Path, **changes: Any) -> Path:
    path = base / "run.yaml"
    path.write_text(yaml.safe_dump(config_values(**changes)))
    return path


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command: str) -> None:
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: python -m training {command}" in " ".join(result.stdout.split())


def test_help_needs_no_heavy_module() -> None:
    code = (
        "import sys\nfrom training.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "print([m for m in ('torch', 'monai', 'pydantic', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment()
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_predict_one_file_on_its_own_grid(dataset: Path, model_file: Path, tmp_path: Path) -> None:
    scan, target = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    result = _run("predict", scan, target, "--model", model_file, "--spacing", "2,1.5,2", "--json")
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


def test_predict_cleans_the_labels_where_asked_and_says_so(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    plain, cleaned = tmp_path / "plain.nii.gz", tmp_path / "cleaned.nii.gz"
    result = _run("predict", scan, plain, "-m", model_file, "--json")
    assert json.loads(result.stdout)[0]["postprocessing"] == []
    options = ("--largest-component", "--fill-holes-mm3", "20")
    result = _run("predict", scan, cleaned, "-m", model_file, *options, "--json")
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
    wrong = _run("predict", scan, cleaned, "-m", model_file, "--fill-holes-mm3", "-1")
    assert wrong.exit_code == 2
    assert "--fill-holes-mm3" in wrong.stderr


def test_predict_a_folder_goes_on_after_a_bad_case(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    folder, target = dataset / "imagesTr", tmp_path / "out"
    broken = folder / "tiny_002.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    result = _run("predict", folder, target, "-m", model_file, "--json")
    assert result.exit_code == 1
    assert "tiny_002.nii.gz" in result.stderr and f"1 of {N_CASES} scans failed" in result.stderr
    names = {path.name for path in target.iterdir()}
    assert names == {f"tiny_{i:03d}.nii.gz" for i in range(N_CASES)} - {"tiny_002.nii.gz"}
    failed = [entry for entry in json.loads(result.stdout) if entry["error"]]
    assert [Path(entry["source"]).name for entry in failed] == ["tiny_002.nii.gz"]


def test_predict_outside_of_the_trained_range_needs_a_word(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    scan, target = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    refused = _run("predict", scan, target, "-m", model_file, "--spacing", "7")
    assert refused.exit_code == 1 and not target.exists()
    assert "--outside" in refused.stderr or "outside" in refused.stderr
    for word in ("clamp", "extrapolate"):
        done = _run("predict", scan, target, "-m", model_file, "--spacing", "7", "--outside", word)
        assert done.exit_code == 0, done.stderr


def test_predict_refuses_where_it_cannot_write_before_it_segments(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hs, "segment_steps", None)
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    before = scan.read_bytes()
    for target, words in (
        (scan, "must not replace the scan"),
        (tmp_path / "none" / "labels.nii.gz", "folder does not exist"),
        (tmp_path / "labels.png", "not written"),
    ):
        result = _run("predict", scan, target, "-m", model_file)
        assert result.exit_code == 1 and words in result.stderr, result.stderr
    assert scan.read_bytes() == before


@pytest.mark.parametrize("text", ["x", "1,2", "-1", "nan", "1,1,inf"])
def test_a_spacing_is_one_or_three_numbers(text: str, dataset: Path, model_file: Path) -> None:
    result = _run("predict", dataset, "out", "-m", model_file, f"--spacing={text}")
    assert result.exit_code == 2 and "not a spacing" in " ".join(result.stderr.split())


@pytest.mark.filterwarnings("ignore:.*not finite")
def test_estimate(
    dataset: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("napari_hyperspace.api.estimate")
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    result = _run("estimate", scan, "-m", model_file, "--spacing", "2", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["seconds"] > 0 and values["peak_bytes"] > 0
    assert values["spacing_mm"] == [2, 2, 2]
    assert "time" in _run("estimate", scan, "-m", model_file, "--device", "cpu").stdout
    volume = hs.read(scan)
    values = volume.array.astype(np.float32)
    values[1, 2, 3] = np.nan
    hs.write(volume.with_array(values), tmp_path / "holed.nii.gz")
    options = ("estimate", tmp_path / "holed.nii.gz", "-m", model_file, "--device", "cpu")
    assert _run(*options).exit_code == 1
    filled = _run(*options, "--fill", "0")
    assert filled.exit_code == 0 and "time" in filled.stdout


def test_info(model_file: Path) -> None:
    text = _run("info", model_file).stdout
    assert "1 structure 1, 2 structure 2" in text and "0.5 to 5" in text
    header = json.loads(_run("info", model_file, "--json").stdout)
    assert header["card"]["name"] == "tiny" and header["factory"]["kind"] == "hypernetwork"
    missing = _run("info", "no-such-model")
    assert missing.exit_code == 1 and "no such model" in missing.stderr


def test_evaluate(dataset: Path, model_file: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["tiny_000"], "validation": ["tiny_001", "tiny_005"]}))
    arguments = ("evaluate", model_file, dataset, "--spacings", "2 1.5,2,1", "--split", split)
    result = _run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["cases"] == ["tiny_001", "tiny_005"]
    assert [entry["spacing_mm"] for entry in values["spacings"]] == [[2, 2, 2], [1.5, 2, 1]]
    # By hand: the definition of Dice over the labels that `segment` gives.
    model = hs.load_model(model_file)
    expected = []
    for name in values["cases"]:
        scan = hs.read(dataset / "imagesTr" / f"{name}.nii.gz").canonical()
        truth = hs.read(dataset / "labelsTr" / f"{name}.nii.gz").canonical()
        working = resample_to_spacing(scan, (2, 2, 2))
        true = resample_labels(truth, working.grid).array == 1
        found = hs.segment(working, model, (2, 2, 2)).array == 1
        expected.append(2 * (true & found).sum() / (true.sum() + found.sum()))
    assert values["spacings"][0]["dice"]["structure 1"] == pytest.approx(np.mean(expected))
    assert "1.5 × 2 × 1" in _run(*arguments).stdout


def test_evaluate_refuses_other_labels(make_dataset: Callable[..., Path], model_file: Path) -> None:
    result = _run("evaluate", model_file, make_dataset("other", values=(4, 9)))
    assert result.exit_code == 1 and "label values" in result.stderr


def test_fit_reports_on_stdout_and_export_writes_the_model(dataset: Path, tmp_path: Path) -> None:
    config, out = _write_config(tmp_path), tmp_path / "run"
    result = _run("fit", config, "--out", out, "--set", "training.steps=3", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == 3
    target = tmp_path / "exported.safetensors"
    assert _run("export", out, target, "--dtype", "float16").exit_code == 0
    assert hs.load_model(target).name == "tiny run"


def test_fault_51_on_the_command_line(dataset: Path, tmp_path: Path) -> None:
    result = _run("fit", _write_config(tmp_path), "--set", "training.step=3")
    assert result.exit_code == 1
    assert "did you mean steps?" in result.stderr and result.stdout == ""


def test_fit_says_which_extra_is_missing(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("training.fit.trainer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    result = _run("fit", _write_config(tmp_path))
    assert result.exit_code == 1 and 'pip install "napari-hyperspace[train]"' in result.stderr


def test_import_checkpoint(tmp_path: Path) -> None:
    source = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, source)
    result = _run("import-checkpoint", source, tmp_path / "model.safetensors")
    assert result.exit_code == 1 and result.stderr.startswith("error:")
    assert not (tmp_path / "model.safetensors").exists()


# As users run it.


def _environment() -> dict[str, str]:
    root = str(Path(training.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}


def _start(base: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "training", "fit", "run.yaml", "--out", "run", *options]
    return subprocess.Popen(
        command,
        cwd=base,
        env=_environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _wait_for(text: str, log: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (log.exists() and text in log.read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_fault_69_sigterm_to_a_real_run(dataset: Path, tmp_path: Path) -> None:
    _write_config(tmp_path, training__steps=100_000, compute__workers=1)
    process = _start(tmp_path)
    _wait_for("validation", tmp_path / "run/log.jsonl", process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert output == "" and "SIGTERM" in errors and "Traceback" not in errors
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/last.safetensors")
    assert f"after step {checkpoint.progress.step}," in errors


def test_fault_67_and_73_kill_a_real_run_and_go_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _write_config(tmp_path, training__steps=100_000, validation__every_steps=1)
    process = _start(tmp_path)
    _wait_for('"step": 3,', tmp_path / "run/log.jsonl", process)
    second = _run("fit", config, "--out", tmp_path / "run", "--resume")
    assert second.exit_code == 1 and "another process" in second.stderr
    process.kill()
    process.communicate()
    last = tmp_path / "run/checkpoints/last.safetensors"
    done = read_checkpoint(last).progress.step
    assert done >= 2
    interrupt_after(monkeypatch, done + 2)
    assert _run("fit", config, "--out", tmp_path / "run", "--resume").exit_code == 143
    assert read_checkpoint(last).progress.step == done + 2


@pytest.mark.slow
def test_two_devices_share_a_run(dataset: Path, tmp_path: Path) -> None:
    _write_config(tmp_path, compute__log_every_steps=1)
    process = _start(tmp_path, "--devices", "2", "--json")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    report = json.loads(output)  # one process answers
    assert report["steps"] == 6 and report["dice"][0]["cases"] == 2
    alone = _run("fit", tmp_path / "run.yaml", "--out", tmp_path / "alone")
    assert alone.exit_code == 0, alone.stderr
    first = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0])
        for name in ("run", "alone")
    ]
    assert first[0]["spacing_mm"] == first[1]["spacing_mm"]
    assert first[0]["gradient_norm"] == pytest.approx(first[1]["gradient_norm"], rel=0.1)


@pytest.mark.slow
def test_fault_74_one_of_two_processes_dies(dataset: Path, tmp_path: Path) -> None:
    _write_config(tmp_path, training__steps=100_000, validation__every_steps=20)
    process = _start(tmp_path, "--devices", "2")
    _wait_for("validation", tmp_path / "run/log.jsonl", process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("the system does not list the children of a process")
    ranks = [
        int(pid)
        for pid in children.read_text().split()
        if b"training" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(ranks[0], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    lines = (tmp_path / "run/log.jsonl").read_text().splitlines()
    reached = max(json.loads(line)["step"] for line in lines)
    kept = read_checkpoint(tmp_path / "run/checkpoints/last.safetensors").progress.step
    assert reached - kept <= 20
