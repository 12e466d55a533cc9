"""Models with other heads than labels, from training to their use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import napari_hyperspace as hs
from tests.training.conftest import config_values
from training.config.fit import parse_config
from training.fit.run_folder import RunFolder
from training.fit.trainer import fit


def test_a_class_conditional_run_makes_a_model_that_refines(dataset: Path, tmp_path: Path) -> None:
    values = config_values(head={"kind": "class-conditional", "held_out": ["back"]})
    values["network"] |= {"in_channels": 4, "out_channels": 2}
    report = fit(parse_config(values), dataset.parent, tmp_path / "run")
    assert report is not None and 0 <= report["mean_dice"] <= 1
    model = hs.load_model(RunFolder(tmp_path / "run").model)
    assert model.head == "class-conditional"
    assert model.channel_names[-3:] == ("rough mask", "voxels inside", "voxels outside")
    assert model.label_names == {1: "structure"}
    scan = hs.read(next(iter(sorted((dataset / "imagesTr").glob("*.nii.gz")))))
    labels = np.zeros(scan.shape, np.uint8)
    labels[tuple(slice(n // 3, 2 * n // 3) for n in scan.shape)] = 2
    refined = hs.refine(scan, scan.with_array(labels), model, outside="extrapolate")
    assert refined.shape == scan.shape and set(np.unique(refined.array)) <= {0, 2}


def test_a_run_with_signed_distances_makes_a_model_that_segments(
    dataset: Path, tmp_path: Path
) -> None:
    values = config_values(head={"kind": "signed-distance", "clip_mm": 4})
    report = fit(parse_config(values), dataset.parent, tmp_path / "run")
    assert report is not None and 0 <= report["mean_dice"] <= 1
    model = hs.load_model(RunFolder(tmp_path / "run").model)
    assert model.head == "labels"
    scan = hs.read(next(iter(sorted((dataset / "imagesTr").glob("*.nii.gz")))))
    labels = hs.segment(scan, model, (1.5, 1.5, 1.5))
    assert labels.shape == scan.shape
