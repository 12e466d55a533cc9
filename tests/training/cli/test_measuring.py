"""The command `evaluate`, against Dice by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import napari_hyperspace as hs
from napari_hyperspace.core.resample import resample_labels, resample_to_spacing
from tests.training.cli.conftest import run


def test_evaluate(dataset: Path, model_file: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["tiny_000"], "validation": ["tiny_001", "tiny_005"]}))
    arguments = ("evaluate", model_file, dataset, "--spacings", "2 1.5,2,1", "--split", split)
    result = run(*arguments, "--json")
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
    # The former name of --precision.
    assert "1.5 × 2 × 1" in run(*arguments, "--form", "fp32").stdout
    wrong = run(*arguments, "--precision", "fp4")
    assert wrong.exit_code == 1 and "fp4" in wrong.stderr


def test_evaluate_refuses_other_labels(make_dataset: Callable[..., Path], model_file: Path) -> None:
    result = run("evaluate", model_file, make_dataset("other", values=(4, 9)))
    assert result.exit_code == 1 and "label values" in result.stderr


def test_evaluate_real(dataset: Path, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "peer.py").write_text(
        "import sys, nibabel\n"
        "image = nibabel.load(sys.argv[1])\n"
        "labels = (image.get_fdata() > 150).astype('uint8')\n"
        "nibabel.save(nibabel.Nifti1Image(labels, image.affine), sys.argv[2])\n"
    )
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / f"{folder}.nii.gz").write_bytes(
            (dataset / folder / "tiny_001.nii.gz").read_bytes()
        )
    (tmp_path / "scans.yaml").write_text(
        "name: tiny\nspacings_mm: [null, 2]\nscans:\n"
        "  - {name: one, image: imagesTr.nii.gz, labels: labelsTr.nii.gz, contrast: t1}\n"
        "  - {name: two, image: imagesTr.nii.gz, contrast: t1}\n"
    )
    page = tmp_path / "page.md"
    result = run(
        *("evaluate-real", model_file, tmp_path / "scans.yaml", "--out", tmp_path / "out"),
        *("--peer", f"other={tmp_path / 'peer.py'}", "--page", page, "--write-card", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    # By hand: the definition of Dice over the labels that `segment` gives.
    scan, truth = (hs.read(tmp_path / f"{name}.nii.gz") for name in ("imagesTr", "labelsTr"))
    found = hs.segment(scan, hs.load_model(model_file), (2, 2, 2), precision="fp32").array == 1
    expected = 2 * (found & (truth.array == 1)).sum() / (found.sum() + (truth.array == 1).sum())
    (row,) = [
        row
        for row in rows
        if (row["scan"], row["structure"], row["method"]) == ("one", "structure 1", "tiny")
        and not row["own"]
    ]
    assert row["dice"] == pytest.approx(expected)
    assert {row["kind"] for row in rows} == {"accuracy", "agreement"}
    assert "## Agreement" in page.read_text(encoding="utf-8")
    card = hs.load_model(model_file).card
    assert [(one.agreement, one.contrast) for one in card.real[::2]] == [
        (False, "t1"),
        (True, "t1"),
    ]
    shown = run("info", model_file).stdout
    assert "Dice on real scans" in shown and "agreement with other" in shown
