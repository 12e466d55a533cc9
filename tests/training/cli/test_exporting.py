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


def test_names_of_a_result_are_written_as_a_table(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    scan, labels = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    assert run("predict", scan, labels, "--model", model_file).exit_code == 0
    result = run("label-names", labels, tmp_path / "labels_dseg.tsv")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(tmp_path / "labels_dseg.tsv")
    lines = (tmp_path / "labels_dseg.tsv").read_text().splitlines()
    assert lines[0] == "index\tname\tcolor"
    assert len(lines) == 3
    result = run("label-names", scan, tmp_path / "scan_dseg.tsv")
    assert result.exit_code == 1
    assert "no names" in result.stderr
