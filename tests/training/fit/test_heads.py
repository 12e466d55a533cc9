"""Models with other heads than labels, from training to their use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import napari_hyperspace as hs
from tests.training.conftest import config_values
from training.config.fit import parse_config
from training.fit.losses import ConsistentLoss, make_loss
from training.fit.preflight import read_inputs
from training.fit.run_folder import RunFolder
from training.fit.trainer import fit
from training.sampling.batches import TrainingBatches


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


@pytest.mark.parametrize(
    ("head", "factory", "kind"),
    [
        ({"kind": "labels"}, {"kind": "hypernetwork", "rank": 2, "hidden": [4]}, "one-hot"),
        ({"kind": "signed-distance", "clip_mm": 4}, {"kind": "constant"}, "distances"),
    ],
)
def test_a_guided_run_makes_a_model_that_is_guided(
    dataset: Path, tmp_path: Path, head: dict, factory: dict, kind: str
) -> None:
    values = config_values(head=head, factory=factory)
    values["network"] = {**values["network"], "in_channels": 4}
    values["guidance"] = {"kind": kind, "spacing_mm": [2.0, 4.0], "clip_mm": 4.0}
    report = fit(parse_config(values), dataset.parent, tmp_path / "run")
    assert report is not None and 0 <= report["mean_dice"] <= 1
    model = hs.load_model(RunFolder(tmp_path / "run").model)
    assert model.card.guidance is not None and model.card.guidance.kind == kind
    assert model.guidance.spacing_mm == (2.0, 4.0) and model.guidance.optional
    guided = ("guidance: background", "guidance: front", "guidance: back")
    assert model.channel_names[1:] == guided and model.image_channels == 1
    scan = hs.read(next(iter(sorted((dataset / "imagesTr").glob("*.nii.gz")))))
    rough = np.zeros(scan.shape, np.uint8)
    rough[tuple(slice(n // 3, 2 * n // 3) for n in scan.shape)] = 2
    options = {"outside": "extrapolate", "precision": "fp32"}
    labels = hs.segment(scan, model, guidance=scan.with_array(rough), **options)
    other = hs.segment(scan, model, guidance=hs.Guidance(model, (3, 3, 3)), **options)
    assert labels.shape == other.shape == scan.shape


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_class_conditional_training_may_be_consistent(
    dataset: Path, tmp_path: Path, weight: float
) -> None:
    values = config_values(head={"kind": "class-conditional", "consistency_weight": weight})
    values["network"] |= {"in_channels": 4, "out_channels": 2}
    config = parse_config(values)
    inputs = read_inputs(config, dataset.parent, RunFolder(tmp_path), resume=False, init=None)
    batch = TrainingBatches(config, inputs.training)[0]
    assert len(batch.grids) == (2 if weight else 0)
    assert isinstance(make_loss(config), ConsistentLoss) == bool(weight)


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
