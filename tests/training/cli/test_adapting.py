"""The command that adapts a model to a corrected scan."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_hyperspace as hs
from tests.training.cli.conftest import run


@pytest.fixture
def scan(dataset: Path) -> Path:
    return dataset / "imagesTr" / "tiny_001.nii.gz"


@pytest.fixture
def corrected(dataset: Path) -> Path:
    return dataset / "labelsTr" / "tiny_001.nii.gz"


def test_adapt_writes_what_python_returns(
    scan: Path, corrected: Path, model_file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "own.safetensors"
    options = ("--steps", "2", "--seconds", "0", "--spacing", "2", "--slices", "0:3,4", "--json")
    result = run("adapt", model_file, scan, corrected, target, *options, "--name", "own")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["steps"] == 2 and printed["name"] == "own"
    labels = hs.read(corrected)
    assert sum(printed["voxels"].values()) == labels.array[3:5].size
    expected = hs.adapt(
        hs.load_model(model_file),
        hs.read(scan),
        labels,
        (2, 2, 2),
        slices={0: [3, 4]},
        steps=2,
        seconds=None,
    )
    assert hs.load_model(target).digest == expected.digest


def test_the_model_itself_is_not_overwritten(scan: Path, corrected: Path, model_file: Path) -> None:
    before = model_file.read_bytes()
    result = run("adapt", model_file, scan, corrected, model_file)
    assert result.exit_code == 1 and "the model that is adapted" in result.stderr
    assert model_file.read_bytes() == before


def test_slices_that_are_no_numbers_are_refused(
    scan: Path, corrected: Path, model_file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "own.safetensors"
    result = run("adapt", model_file, scan, corrected, target, "--slices", "2:a")
    assert result.exit_code == 1 and "2:10,14" in result.stderr
    assert not target.exists()


def test_a_corrupt_label_value_is_refused(
    scan: Path, corrected: Path, model_file: Path, tmp_path: Path
) -> None:
    labels = hs.read(corrected)
    wrong = tmp_path / "wrong.nii.gz"
    hs.write(labels.with_array(np.full(labels.shape, 77, np.uint8)), wrong)
    result = run("adapt", model_file, scan, wrong, tmp_path / "own.safetensors")
    assert result.exit_code == 1 and "unknown" in result.stderr
