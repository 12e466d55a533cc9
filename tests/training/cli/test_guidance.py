"""Guidance on the command line: files, folders and coarse passes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_hyperspace as hs
from napari_hyperspace.api.reproduce import ResultOrigin, command_for, python_code, scan_file
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import GuidanceConfig, LabelClass, ModelCard
from napari_hyperspace.nets.plain.config import ConstantConfig, UNetConfig
from tests.rates import CALIBRATION
from tests.training.cli.conftest import run


@pytest.fixture
def guided_file(tmp_path: Path) -> Path:
    """An untrained model of the small data set that is guided, also trained without."""
    torch.manual_seed(0)
    network = UNetConfig(
        in_channels=4, out_channels=3, channels=4, strides=((2, 2, 2),), convs_per_level=1
    )
    card = ModelCard(
        name="guided",
        labels=tuple(LabelClass(value=v, name=f"structure {v}") for v in (1, 2)),
        channel_names=("image", "g0", "g1", "g2"),
        guidance=GuidanceConfig(spacing_mm=(2.0, 4.0), optional=True),
    )
    model = hs.Model(build_factory(network, ConstantConfig()), card)
    return hs.save_model(model, tmp_path / "guided.safetensors")


def test_predict_with_guidance_from_a_file_or_by_a_coarse_pass(
    dataset: Path, guided_file: Path, model_file: Path, tmp_path: Path
) -> None:
    name = "tiny_000.nii.gz"
    scan, target = dataset / "imagesTr" / name, tmp_path / "labels.nii.gz"
    rough = dataset / "labelsTr" / name
    fixed = ("-m", guided_file, "--precision", "fp32", "--device", "cpu")
    model, volume = hs.load_model(guided_file), hs.read(scan)
    coarse = hs.load_model(model_file)
    spacing = "2.0,2.5,2.0"
    for given, guidance in (
        (rough, hs.read(rough)),
        (dataset / "labelsTr", hs.read(rough)),
        (f"{model_file}@{spacing}", hs.Guidance(coarse, (2.0, 2.5, 2.0))),
    ):
        result = run("predict", scan, target, *fixed, "--guidance", given)
        assert result.exit_code == 0, result.stderr
        expected = hs.segment(volume, model, guidance=guidance, precision="fp32", device="cpu")
        written = hs.read(target)
        assert np.array_equal(written.array, expected.array)
    # What the record says, as a command, gives the same labels.
    record = written.metadata["record"]
    assert record.guidance is not None and record.guidance.spacing_mm == (2.0, 2.5, 2.0)
    origin = ResultOrigin(str(guided_file), (scan_file(volume),), guidance_model=str(model_file))
    again = shlex.split(command_for(record, origin, windows=False))
    again[again.index("labels.nii.gz")] = str(tmp_path / "again.nii.gz")
    result = run(*again[1:])
    assert result.exit_code == 0, result.stderr
    assert np.array_equal(hs.read(tmp_path / "again.nii.gz").array, written.array)
    code = python_code(record, origin).replace("labels.nii.gz", str(tmp_path / "code.nii.gz"))
    exec(compile(code, "code", "exec"), {})
    assert np.array_equal(hs.read(tmp_path / "code.nii.gz").array, written.array)


def test_guidance_that_is_missing_or_cannot_be_used_is_refused(
    dataset: Path, guided_file: Path, model_file: Path, tmp_path: Path
) -> None:
    scan, target = dataset / "imagesTr" / "tiny_000.nii.gz", tmp_path / "labels.nii.gz"
    for verb in (("predict", scan, target), ("estimate", scan)):
        result = run(*verb, "-m", guided_file)
        assert result.exit_code == 1 and "MODEL@SPACING" in result.stderr
        result = run(*verb, "-m", guided_file, "--guidance", "no-such-file.nii.gz")
        assert result.exit_code == 1 and "no such file" in result.stderr
        result = run(*verb, "-m", model_file, "--guidance", f"{guided_file}@3")
        assert result.exit_code == 1 and "not guided" in result.stderr
        result = run(*verb, "-m", guided_file, "--guidance", f"{model_file}@fine")
        assert result.exit_code == 2
    assert not target.exists()


def test_the_estimate_says_what_the_coarse_pass_takes(
    dataset: Path, guided_file: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_hyperspace.api.estimate.calibrate", lambda device: CALIBRATION)
    scan = dataset / "imagesTr" / "tiny_000.nii.gz"
    fixed = ("estimate", scan, "-m", guided_file)
    both = run(*fixed, "--guidance", f"{model_file}@2", "--json")
    assert both.exit_code == 0, both.stderr
    values = json.loads(both.stdout)
    assert 0 < values["guidance_seconds"] < values["seconds"]
    labels = run(*fixed, "--guidance", dataset / "labelsTr", "--json")
    assert "guidance_seconds" not in json.loads(labels.stdout)
    assert "coarse pass" in run(*fixed, "--guidance", f"{model_file}@2").stdout


def test_the_card_says_that_a_model_is_guided(guided_file: Path) -> None:
    result = run("info", guided_file)
    assert result.exit_code == 0 and "the same structures at 2 to 4 mm" in result.stdout
