"""Training on label maps alone, and evaluating the model on synthetic scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

from napari_hyperspace import load_model
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.intensity import Normalization
from tests.training.fit.runs import label_map_values
from training.cli import app
from training.config.fit import load_config, parse_config
from training.data import open_dataset
from training.fit.trainer import fit
from training.sampling.augment import working_shape
from training.sampling.batches import TrainingBatches, prepared
from training.sampling.patch import patch_shape
from training.sampling.synthesize import open_label_maps

CONFIGS = Path(__file__).parents[3] / "training" / "configs"


def test_a_patch_has_a_limit_in_mm(folder: Path) -> None:
    config = parse_config(label_map_values())
    assert config.training.patch_mm == (20, 20, 20)
    size = (50, 50, 9)
    assert patch_shape(config.training, (1, 2, 2), size) == (16, 10, 9)
    assert patch_shape(config.training, (3, 7, 30), size) == (7, 3, 1)
    free = config.training.model_copy(update={"patch_mm": None})
    assert patch_shape(free, (1, 2, 2), size) == (16, 16, 9)
    with pytest.raises(HyperspaceError, match="patch_mm"):
        parse_config(label_map_values(training={"steps": 4, "patch_mm": [1, 2]}))


def test_batches_are_a_function_of_the_step(folder: Path) -> None:
    config = parse_config(label_map_values(optimizer={"warm_up_steps": 1}))
    data = open_dataset(config.data, folder.parent)
    heads = data.sources([case.name for case in data.cases()], config.data.normalization.build())
    batches = TrainingBatches(config, heads)
    alone = [batches[step] for step in range(4)]
    shared = list(prepared(batches, 0, workers=1))
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)
        assert a.names == b.names and a.image.shape == (2, 1, *a.labels.shape[1:])
        expected = patch_shape(
            config.training,
            a.spacing_mm,
            np.max([working_shape(head, a.spacing_mm) for head in heads], axis=0),
        )
        assert a.labels.shape[1:] == expected
    assert set(torch.cat([b.labels.flatten() for b in alone]).tolist()) <= {0, 1, 2, 3}


def test_a_run_on_label_maps(folder: Path, tmp_path: Path) -> None:
    config = parse_config(label_map_values())
    report = fit(config, tmp_path, tmp_path / "run")
    assert report is not None and report["dice"][0]["cases"] == 2
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert [label.name for label in model.card.labels] == ["cortex", "white matter", "deep grey"]
    assert model.card.tile_mm == (20, 20, 20) and model.card.tile_shape == (16, 16, 16)
    assert fit(config, tmp_path, tmp_path / "run", resume=True) == report


@pytest.mark.parametrize("change", [{"normalization": {"kind": "window"}}, {"sparse": "axial"}])
def test_settings_that_do_not_apply_to_label_maps_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HyperspaceError, match=next(iter(change))):
        parse_config(label_map_values(data=label_map_values()["data"] | change))


def test_label_maps_are_checked_and_have_no_images(folder: Path, tmp_path: Path) -> None:
    description = tmp_path / "maps.yaml"
    description.write_text(json.dumps({"data": label_map_values()["data"]}))
    runner = CliRunner()
    result = runner.invoke(app, ["check", str(description), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["cases"] == 3 and not report["problems"]
    assert min(report["voxels"].values()) > 100
    with pytest.raises(HyperspaceError, match="no images"):
        open_label_maps(description).data.load(["head_0"], Normalization())
    values = label_map_values()["data"] | {"labels": {1: [3, 1001]}, "names": {1: "cortex"}}
    description.write_text(json.dumps({"data": values}))
    with pytest.raises(HyperspaceError, match="1001"):
        open_label_maps(description)


def test_evaluating_a_model_on_synthetic_scans(folder: Path, tmp_path: Path) -> None:
    config = parse_config(label_map_values())
    fit(config, tmp_path, tmp_path / "run")
    file = tmp_path / "run" / "model.safetensors"
    description = tmp_path / "maps.yaml"
    description.write_text(json.dumps({"data": label_map_values()["data"]}))
    out = tmp_path / "synthetic"
    options = ["--spacings", "3 2,2,4", "--contrasts", "t1 free", "--out", str(out)]
    runner = CliRunner()
    result = runner.invoke(
        app, ["evaluate-synthetic", str(file), str(description), *options, "--write-card"]
    )
    assert result.exit_code == 0, result.output
    text = (out / "synthetic.md").read_text()
    assert "| 2 × 2 × 4 |" in text and "| t1 | free | mean |" in text
    rows = json.loads((out / "synthetic.json").read_text())["rows"]
    assert len(rows) == 3 * 2 * 2 and set(rows[0]["dice"]) == {
        "cortex",
        "white matter",
        "deep grey",
    }
    records = load_model(file).card.dice
    assert [record.spacing_mm for record in records] == [(3, 3, 3), (2, 2, 4)]
    assert records[0].cases == 6


@pytest.mark.parametrize("name", ["brain", "brain-grouped"])
def test_the_configurations_of_the_brain_models(name: str) -> None:
    config, _ = load_config(CONFIGS / f"{name}.yaml")
    section = config.data
    count = len(section.labels) if section.labels else 13
    assert config.network.out_channels == count + 1
    assert set(section.colors) == set(range(1, count + 1))
    assert config.spacing.range_mm == ((0.4, 7.0),) * 3
