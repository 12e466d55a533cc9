"""Commands that make model files, in this process and as users start them."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

import napari_hyperspace as hs
from tests.training.cli.conftest import run, start_fit, wait_for, write_config
from tests.training.conftest import interrupt_after
from training.fit.checkpoint import read_checkpoint


def test_fit_reports_on_stdout_and_export_writes_the_model(dataset: Path, tmp_path: Path) -> None:
    config, out = write_config(tmp_path), tmp_path / "run"
    result = run("fit", config, "--out", out, "--set", "training.steps=3", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["steps"] == 3
    target = tmp_path / "exported.safetensors"
    assert run("export", out, target, "--dtype", "float16").exit_code == 0
    assert hs.load_model(target).name == "tiny run"
    for option in ("--localization-extent-mm", "--search-extent-mm"):  # the former name
        assert run("export", out, target, option, "30,40,35").exit_code == 0
        localization = hs.load_model(target).card.localization
        assert localization is not None and localization.extent_mm == (30, 40, 35)


def test_an_unknown_key_is_refused_with_a_suggestion(dataset: Path, tmp_path: Path) -> None:
    """Fault 51 of the list of bad inputs."""
    result = run("fit", write_config(tmp_path), "--set", "training.step=3")
    assert result.exit_code == 1
    assert "did you mean steps?" in result.stderr and result.stdout == ""


def test_fit_names_the_missing_extra(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("training.fit.trainer")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    result = run("fit", write_config(tmp_path))
    assert result.exit_code == 1 and 'pip install "napari-hyperspace[train]"' in result.stderr


def test_import_checkpoint(tmp_path: Path) -> None:
    source = tmp_path / "other.pt"
    torch.save({"weight": torch.zeros(3)}, source)
    result = run("import-checkpoint", source, tmp_path / "model.safetensors")
    assert result.exit_code == 1 and result.stderr.startswith("error:")
    assert not (tmp_path / "model.safetensors").exists()


def test_sigterm_ends_a_real_run_with_a_checkpoint(dataset: Path, tmp_path: Path) -> None:
    """Fault 69 of the list of bad inputs."""
    write_config(tmp_path, training__steps=100_000, compute__workers=1)
    process = start_fit(tmp_path)
    wait_for("validation", tmp_path / "run/log.jsonl", process)
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert output == "" and "SIGTERM" in errors and "Traceback" not in errors
    checkpoint = read_checkpoint(tmp_path / "run/checkpoints/last.safetensors")
    assert f"after step {checkpoint.progress.step}," in errors


def test_a_killed_run_is_resumed_and_a_running_one_is_locked(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults 67 and 73 of the list of bad inputs."""
    config = write_config(tmp_path, training__steps=100_000, validation__every_steps=1)
    process = start_fit(tmp_path)
    wait_for('"step": 3,', tmp_path / "run/log.jsonl", process)
    second = run("fit", config, "--out", tmp_path / "run", "--resume")
    assert second.exit_code == 1 and "another process" in second.stderr
    process.kill()
    process.communicate()
    last = tmp_path / "run/checkpoints/last.safetensors"
    done = read_checkpoint(last).progress.step
    assert done >= 2
    interrupt_after(monkeypatch, done + 2)
    assert run("fit", config, "--out", tmp_path / "run", "--resume").exit_code == 143
    assert read_checkpoint(last).progress.step == done + 2


@pytest.mark.slow
def test_two_devices_share_a_run(dataset: Path, tmp_path: Path) -> None:
    write_config(tmp_path, compute__log_every_steps=1)
    process = start_fit(tmp_path, "--devices", "2", "--json")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    report = json.loads(output)  # one process answers
    assert report["steps"] == 6 and report["dice"][0]["cases"] == 2
    alone = run("fit", tmp_path / "run.yaml", "--out", tmp_path / "alone")
    assert alone.exit_code == 0, alone.stderr
    first = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0])
        for name in ("run", "alone")
    ]
    assert first[0]["spacing_mm"] == first[1]["spacing_mm"]
    assert first[0]["gradient_norm"] == pytest.approx(first[1]["gradient_norm"], rel=0.1)


@pytest.mark.slow
def test_the_run_ends_if_one_of_two_processes_dies(dataset: Path, tmp_path: Path) -> None:
    """Fault 74 of the list of bad inputs."""
    write_config(tmp_path, training__steps=100_000, validation__every_steps=20)
    process = start_fit(tmp_path, "--devices", "2")
    wait_for("validation", tmp_path / "run/log.jsonl", process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("the system does not list the children of a process")
    ranks = [
        int(pid)
        for pid in children.read_text().split()
        if b"hyperspace" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    os.kill(ranks[0], signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    lines = (tmp_path / "run/log.jsonl").read_text().splitlines()
    reached = max(json.loads(line)["step"] for line in lines)
    kept = read_checkpoint(tmp_path / "run/checkpoints/last.safetensors").progress.step
    assert reached - kept <= 20
