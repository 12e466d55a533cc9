"""What cards say about good results: written by training, and by `evaluate-quality`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.quality.figures import figures_of
from tests.training.fit.runs import train
from training.cli import app
from training.data.base import Case
from training.data.labels import OUTSIDE
from training.evaluation.quality.expected import expected_quality_of, labels_of_sources


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate-quality", *map(str, arguments)])


def _case(size: int, *, known: bool = True) -> Case:
    labels = np.zeros((20, 22, 24), np.int16)
    labels[4 : 4 + size, 6:14, 8:16] = 1
    if not known:
        labels[0] = OUTSIDE
    image = torch.from_numpy(np.where(labels == 1, 5.0, 1.0).astype(np.float32))[None]
    return Case(str(size), image, torch.from_numpy(labels), Grid(labels.shape, np.eye(4)))


def test_ranges_are_those_of_the_completely_labeled_cases() -> None:
    cases = [_case(6), _case(8), _case(16, known=False)]
    config = expected_quality_of(labels_of_sources(cases), ["one"], None)
    assert config is not None and config.cases == 2
    one = config.structures["one"]
    assert one.volume_ml[0] < 0.384 and 0.512 < one.volume_ml[1] < 2
    assert one.always and one.brightness is not None and one.brightness[1] > 0.9
    (low, high), *_ = config.scan.field_of_view_mm
    assert low < 6 and high == pytest.approx(30)
    assert config.scan.like_ct is None
    assert expected_quality_of(labels_of_sources(cases[2:]), ["one"], None) is None


def test_good_results_widen_the_ranges() -> None:
    cases = [_case(6), _case(8)]
    narrow = expected_quality_of(labels_of_sources(cases), ["one"], None)
    more = expected_quality_of(labels_of_sources([_case(15), _case(14)]), ["one"], None)
    figures = [
        figures_of(labels, {"one": [1]}, image)
        for labels, image in labels_of_sources([_case(15), _case(14)])
    ]
    wide = expected_quality_of(labels_of_sources(cases), ["one"], None, figures)
    (low, high), largest = wide.structures["one"].volume_ml, figures[0]["one"].volume_ml
    assert low == narrow.structures["one"].volume_ml[0]
    # A tenth beyond the largest of them, far below what 15 slices alone would allow.
    assert high == pytest.approx(max(largest * np.exp(0.1), narrow.structures["one"].volume_ml[1]))
    assert high < more.structures["one"].volume_ml[1]


def test_models_that_users_train_have_ranges(dataset: Path) -> None:
    train(dataset.parent)
    card = hs.load_model(dataset.parent / "run" / "model.safetensors").card
    assert card.quality is not None and card.quality.calibration is None
    assert set(card.quality.structures) == {label.name for label in card.labels}
    assert card.quality.scan.like_ct is False
    check = hs.check_scan(
        Volume(np.zeros((8, 8, 8), np.float32), Grid((8, 8, 8), np.eye(4))),
        hs.load_model(dataset.parent / "run" / "model.safetensors"),
    )
    assert check.level == "implausible"


def test_the_command_writes_ranges_and_calibration(
    dataset: Path, narrow_file: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    names = [f"tiny_{i:03d}" for i in range(6)]
    split.write_text(json.dumps({"training": names[:3], "validation": names[3:]}))
    before = hs.load_model(narrow_file)
    out = tmp_path / "out"
    result = _run(
        narrow_file,
        dataset,
        *("--split", split, "--spacings", "1 2 1.5", "--write-card", "--out", out, "--json"),
    )
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    after = hs.load_model(narrow_file)
    config = after.card.quality
    assert config is not None and config.calibration is not None and config.cases == 3
    assert config.model_dump(mode="json") == printed["quality"]
    assert config.calibration.cases == len(printed["scans"]) == 3 * 3 + 3
    assert [one["variant"] for one in printed["scans"]].count("") == 9
    assert after.identity == before.identity and after.digest == before.digest
    assert after.card.model_copy(update={"quality": None}) == before.card
    told = CliRunner().invoke(app, ["info", str(narrow_file)]).stdout
    assert "ranges of 3 label maps; Dice calibrated on 12 results on 3 cases" in told
    assert (out / "quality.md").read_text().startswith("# Estimated Dice of ")
    assert json.loads((out / "quality.json").read_text()) == printed


def test_too_few_cases_are_refused(dataset: Path, narrow_file: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["tiny_000"], "validation": ["tiny_001"]}))
    result = _run(narrow_file, dataset, "--split", split, "--spacings", "1")
    assert result.exit_code == 1 and "too few results" in result.stderr
