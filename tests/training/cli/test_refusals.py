"""Targets that are no folders, empty arguments, and commands that would replace their own input."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import napari_hyperspace as hs
from tests.training.cli.conftest import run, write_config


def content(folder: Path) -> dict[Path, bytes]:
    """Read all files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "", "labels.nii.gz"),
        ("predict", "tiny/imagesTr", ""),
        ("predict", "tiny/imagesTr", "labels", "--spacing", ""),
        ("predict", "tiny/imagesTr", "labels", "--spacing="),
        ("estimate", "tiny/imagesTr/tiny_000.nii.gz", "--spacing", ""),
        ("evaluate", "first.safetensors", "tiny", "--out", ""),
        ("evaluate", "first.safetensors", "tiny", "--out="),
        ("evaluate", "first.safetensors", "tiny", "--spacings", ""),
        ("fit", "run.yaml", "--out", ""),
        ("fit", ""),
        ("export", "run", ""),
        ("cka", "first.safetensors", "tiny", "--out", ""),
        ("synthesize", "maps", ""),
        ("compare", "run.yaml", "--report", ""),
        ("info", ""),
    ],
)
def test_an_empty_argument_is_wrong_usage(
    words: tuple[str, ...],
    dataset: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    result = run(*words)
    assert result.exit_code == 2 and "empty" in result.stderr
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    "words",
    [
        ("export", "LONG", "new.safetensors"),
        ("import-checkpoint", "LONG", "new.safetensors"),
        ("synthesize", "LONG", "new"),
        ("compare", "run.yaml", "--report", "LONG.md"),
    ],
)
def test_a_name_that_is_too_long_is_refused(
    words: tuple[str, ...], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    result = run(*(word.replace("LONG", "x" * 300) for word in words))
    assert result.exit_code == 1 and result.stderr.startswith("error:"), result.output
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("predict", "tiny/imagesTr", "FILE", "--model", "first.safetensors"), 1),
        (("predict", "tiny/imagesTr", "FILE/new", "--model", "first.safetensors"), 1),
        (("evaluate", "first.safetensors", "tiny", "--out", "FILE"), 2),
        (("evaluate", "first.safetensors", "tiny", "--out", "FILE/new"), 1),
        (("evaluate", "first.safetensors", "tiny", "--out", "new", "--rows", "../run.csv"), 1),
        (("fit", "run.yaml", "--out", "FILE"), 2),
        (("fit", "run.yaml", "--out", "FILE/new"), 1),
        (("fit", "run.yaml", "--set", "compute.device=mps"), 1),
        (("fit", "run.yaml", "--set", "compute.threads=1000000"), 1),
        (("fit", "run.yaml", "--set", "seed=1", "--set", "seed={a: 1, a: 2}"), 1),
        (("cka", "first.safetensors", "tiny", "--out", "FILE"), 2),
        (("synthesize", "maps", "FILE"), 2),
        (("evaluate-synthetic", "first.safetensors", "maps", "--out", "FILE"), 2),
        (("compare", "run.yaml", "--out", "FILE"), 2),
    ],
)
def test_a_file_is_no_folder(
    words: tuple[str, ...],
    status: int,
    dataset: Path,
    folder: Path,
    model_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    write_config(tmp_path)
    (tmp_path / "FILE").write_text("text")
    monkeypatch.chdir(tmp_path)
    before = content(tmp_path)
    result = run(*words)
    assert result.exit_code == status, result.output
    assert result.stderr and isinstance(result.exception, SystemExit)
    assert content(tmp_path) == before


def test_export_does_not_replace_a_file_of_the_run_or_another_file(
    dataset: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert run("fit", write_config(tmp_path, training__steps=3), "--out", folder).exit_code == 0
    (tmp_path / "other.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:999])
    (tmp_path / "link.safetensors").symlink_to(folder / "checkpoints" / "last.safetensors")
    before = content(tmp_path)
    targets = [
        *("checkpoints/best.safetensors", "checkpoints/last.safetensors", "config.json"),
        *("model.safetensors", "split.json", "log.jsonl", "m.txt", "m", "../other.safetensors"),
        *("checkpoints/../checkpoints/best.safetensors", "../link.safetensors"),
    ]
    for source in (folder, folder / "checkpoints/best.safetensors"):
        for target in targets:
            result = run("export", source, folder / target)
            assert result.exit_code == 1 and result.stderr.startswith("error:"), target
            assert content(tmp_path) == before
    (folder / "checkpoints/best.safetensors").unlink()
    missing = run("export", folder, folder / "checkpoints/best.safetensors")
    assert missing.exit_code == 1 and "of the run itself" in missing.stderr
    assert run("export", folder, tmp_path / "m.safetensors").exit_code == 0
    assert hs.load_model(tmp_path / "m.safetensors").name == "tiny run"


def test_fit_does_not_replace_the_model_that_it_starts_from(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    model = folder / "model.safetensors"
    model.write_bytes(model_file.read_bytes())
    result = run("fit", write_config(tmp_path), "--out", folder, "--init", model)
    assert result.exit_code == 1 and "of the run itself" in result.stderr
    assert model.read_bytes() == model_file.read_bytes()


def test_import_checkpoint_does_not_replace_its_source(model_file: Path, tmp_path: Path) -> None:
    source = tmp_path / "checkpoint.safetensors"
    torch.save({"weight": torch.zeros(3)}, source)
    for path in (source, model_file):
        before = path.read_bytes()
        result = run("import-checkpoint", path, path)
        assert result.exit_code == 1 and result.stderr.startswith("error:")
        assert path.read_bytes() == before


def test_compare_replaces_only_its_own_pages(dataset: Path, tmp_path: Path) -> None:
    from tests.training.comparison.conftest import COMPARISON, run_compare, write_comparison

    config = write_comparison(tmp_path, COMPARISON)
    other = tmp_path / "notes.md"
    other.write_bytes("Größe".encode("latin-1"))
    (tmp_path / "empty.md").touch()
    before = content(tmp_path)
    for page in (config, other, tmp_path / "empty.md", tmp_path, tmp_path / "new"):
        result = run_compare(config, "--out", tmp_path / "runs", "--report", page)
        assert result.exit_code == 1 and result.stderr.startswith("error:"), page
        assert content(tmp_path) == before


def test_synthesize_does_not_replace_a_label_map(folder: Path) -> None:
    (folder / "head_0.nii.gz").rename(folder / "head.nii.gz")
    (folder / "head_1.nii.gz").rename(folder / "head-001.nii.gz")
    before = content(folder)
    result = run("synthesize", folder, folder, "-n", 2, "--spacing", 4, "--size", 16)
    assert result.exit_code == 1 and "label maps" in result.stderr
    assert content(folder) == before


def test_predict_does_not_replace_its_scan(dataset: Path, model_file: Path) -> None:
    images = dataset / "imagesTr"
    before = content(images)
    assert run("predict", images, images, "--model", model_file).exit_code == 1
    assert content(images) == before
