"""The command that exports a network."""

from __future__ import annotations

import json
from pathlib import Path

from tests.training.cli.conftest import run


def test_a_network_is_exported_with_its_description(model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "net.pt2"
    options = ("--spacing", "1,1,1.5", "--out", out, "--size", "4,5,6")
    result = run("export-network", model_file, *options, "--format", "torch-export", "--json")
    assert result.exit_code == 0, result.stderr
    done = json.loads(result.stdout)
    assert (done["dynamic"], done["shape"]) == (False, [1, 1, 4, 5, 6])
    side = json.loads((tmp_path / "net.pt2.json").read_text())
    assert side["spacing_mm"] == [1, 1, 1.5]
    assert out.is_file()


def test_wrong_formats_and_sizes_are_refused(model_file: Path, tmp_path: Path) -> None:
    options = ("--spacing", "1", "--out", tmp_path / "net.zip")
    result = run("export-network", model_file, *options)
    assert result.exit_code == 1
    assert ".onnx for onnx or .pt2 for torch-export" in result.stderr
    result = run("export-network", model_file, *options, "--size", "4")
    assert result.exit_code == 1
    assert not list(tmp_path.glob("net*"))
