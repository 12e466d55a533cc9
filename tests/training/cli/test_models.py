"""Models are listed, added, used by name and removed."""

from __future__ import annotations

import json
from pathlib import Path

import napari_hyperspace as hs
from tests.training.cli.conftest import run


def listed() -> dict[str, dict[str, str]]:
    return {each["name"]: each for each in json.loads(run("models", "list", "--json").stdout)}


def test_a_model_is_added_used_and_removed(model_file: Path, own_models: Path) -> None:
    assert list(listed()) == list(hs.bundled_models())
    result = run("models", "add", model_file, "--name", "mine", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == [
        {"name": "mine", "path": str(own_models / "mine.safetensors")}
    ]
    assert listed()["mine"]["origin"] == "own" and listed()["mine"]["description"]
    assert run("info", "mine").exit_code == 0
    assert "mine " in run("models", "list").stdout
    assert run("models", "remove", "mine").stdout == "removed: mine\n"
    assert "mine" not in listed()


def test_a_folder_is_added_and_removed(model_file: Path, own_models: Path) -> None:
    folder = model_file.parent
    (folder / "broken.safetensors").write_bytes(b"x" * 100)
    result = run("models", "add", folder)
    assert result.exit_code == 0 and model_file.stem in result.stdout
    assert listed()["broken"]["description"].startswith("not readable: ")
    assert run("models", "remove", folder).exit_code == 0
    assert list(listed()) == list(hs.bundled_models())
    assert model_file.exists()


def test_what_cannot_be_added_or_removed_is_an_error(
    model_file: Path, own_models: Path, own_log: Path
) -> None:
    for words in (
        ("add", "missing.safetensors"),
        ("add", model_file, "--name", "brain"),
        ("add", "http://127.0.0.1:1/a.safetensors"),
        ("add", "https://127.0.0.1:1/a.safetensors", "--sha256", "abc"),
        ("add", "https://127.0.0.1:1/a.safetensors"),
        ("remove", "brain"),
    ):
        result = run("models", *words)
        assert result.exit_code == 1 and result.stderr.startswith("error: "), words
    log = own_log.read_text("utf-8").splitlines()
    assert len(log) == 6 and " models add: HyperspaceError" in log[0]
    assert run("models", "add", "").exit_code == 2
    assert list(own_models.iterdir()) == []
