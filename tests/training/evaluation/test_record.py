"""Dice against spacing in the cards of model files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import napari_hyperspace as hs
from training.cli import app
from training.evaluation.record import stored_dtype
from training.evaluation.rows import SPACING

NAMES = ("tiny_001", "tiny_004")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_the_card_gets_dice_against_spacing(
    dataset: Path, narrow_file: Path, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["tiny_000"], "validation": list(NAMES)}))
    before, size = hs.load_model(narrow_file), narrow_file.stat().st_size
    options = ("--split", split, "--outside", "clamp", "--write-card")
    drawn = ("--monte-carlo", "2", "--interval", "1:2")
    assert "fixed spacings" in _run(narrow_file, dataset, *options, *drawn).stderr
    result = _run(
        narrow_file,
        dataset,
        *options,
        "--spacings",
        "2;1.5,1,1;4",
        "--json",
        "--out",
        tmp_path / "out",
    )
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    after = hs.load_model(narrow_file)
    # Finest first; 4 mm was clamped, so no network of 4 mm was measured.
    assert [r.spacing_mm for r in after.card.dice] == [(1.5, 1.0, 1.0), (2.0, 2.0, 2.0)]
    assert after.card.dice[1].dice == printed["spacings"][0]["dice"]
    assert after.card.dice[1].mean == printed["spacings"][0]["mean"]
    assert after.card.dice[1].cases == 2
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    for record in after.card.dice:
        at = rows[list(SPACING)].to_numpy() == record.spacing_mm
        own = rows[at.all(axis=1)].groupby("label_name")["dice_native"].mean()
        assert record.native_mean == pytest.approx(own.mean(), abs=1e-12)
    assert after.identity == before.identity
    assert after.card.model_copy(update={"dice": ()}) == before.card
    assert stored_dtype(narrow_file) == "float16"
    assert narrow_file.stat().st_size < size + 1000
