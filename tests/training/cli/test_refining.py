"""The command that refines rough labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import napari_hyperspace as hs
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.hypernetwork.config import HypernetworkConfig
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.plain.config import UNetConfig
from tests.training.cli.conftest import run

RANGE = ((0.5, 4.0),) * 3


@pytest.fixture
def scan(dataset: Path) -> Path:
    return dataset / "imagesTr" / "tiny_001.nii.gz"


@pytest.fixture
def conditional_file(tmp_path: Path) -> Path:
    network = UNetConfig(in_channels=4, out_channels=2, channels=4, strides=((2, 2, 2),))
    factory = HypernetworkConfig(kind="hypernetwork", rank=2, hidden=(4,), range_mm=RANGE)
    card = ModelCard(
        name="conditional",
        labels=(LabelClass(value=1, name="structure"),),
        channel_names=("image", "rough mask", "voxels inside", "voxels outside"),
        head="class-conditional",
        trained_range_mm=RANGE,
    )
    path = tmp_path / "conditional.safetensors"
    hs.save_model(Model(build_factory(network, factory), card), path)
    return path


@pytest.fixture
def rough(scan: Path, tmp_path: Path) -> Path:
    volume = hs.read(scan)
    labels = np.zeros(volume.shape, np.uint8)
    labels[tuple(slice(n // 3, 2 * n // 3) for n in volume.shape)] = 7
    path = tmp_path / "rough.nii.gz"
    hs.write(volume.with_array(labels), path)
    return path


def test_refine_writes_what_python_returns(
    scan: Path, rough: Path, conditional_file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "fine.nii.gz"
    options = ("-m", conditional_file, "--spacing", "1.5", "--context-mm", "3", "--json")
    result = run("refine", scan, rough, target, *options)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["structures"] == [7]
    expected = hs.refine(
        hs.read(scan), hs.read(rough), hs.load_model(conditional_file), (1.5,) * 3, context_mm=3
    )
    written = hs.read(target)
    assert np.array_equal(written.array, expected.array)
    assert written.affine.tobytes() == hs.read(scan).affine.tobytes()


def test_the_rough_labels_are_not_overwritten(
    scan: Path, rough: Path, conditional_file: Path
) -> None:
    before = rough.read_bytes()
    result = run("refine", scan, rough, rough, "-m", conditional_file)
    assert result.exit_code == 1 and rough.read_bytes() == before


def test_a_model_of_all_labels_is_refused(
    scan: Path, rough: Path, model_file: Path, tmp_path: Path
) -> None:
    result = run("refine", scan, rough, tmp_path / "fine.nii.gz", "-m", model_file)
    assert result.exit_code == 1 and "Use segment" in result.stderr


def test_predict_refuses_a_class_conditional_model(
    scan: Path, conditional_file: Path, tmp_path: Path
) -> None:
    result = run("predict", scan, tmp_path / "labels.nii.gz", "-m", conditional_file)
    assert result.exit_code == 1
