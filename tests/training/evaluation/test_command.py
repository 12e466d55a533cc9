"""The command `evaluate`: its files, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner, Result

from tests.training.conftest import config_values
from training.cli import app
from training.data.decathlon import Decathlon
from training.data.splits import random_split
from training.evaluation.rows import read_rows
from training.evaluation.summary import METRICS

NAMES = ("tiny_001", "tiny_004")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def _one_case(description: dict[str, Any], dataset: Path) -> dict[str, Any]:
    (left,) = (dataset / "labelsTr").glob("*")
    kept = [entry for entry in description["training"] if left.name in entry["label"]]
    return {**description, "training": kept}


def test_the_command_writes_rows_summary_and_figures(
    dataset: Path, model_file: Path, narrow_file: Path, tmp_path: Path
) -> None:
    split, out = tmp_path / "split.json", tmp_path / "out"
    split.write_text(json.dumps({"training": ["tiny_000"], "validation": list(NAMES)}))
    arguments = (model_file, narrow_file, dataset, "--split", split, "--out", out)
    more = ("--segment", "1.5:3:2", "--native", "--outside", "extrapolate", "--max-res", "--json")
    result = _run(*arguments, *more)
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["cases"] == list(NAMES)
    assert {path.name for path in out.iterdir() if path.name[0] != "."} == {
        *("evaluation.json", "rows.csv", "summary.json", "summary.md"),
        *("segment-1.png", "segment-1.svg", "case-tiny_001.png"),
    }
    summary = json.loads((out / "summary.json").read_text())
    assert summary == printed["summary"]
    methods = ["tiny", "tiny MaxRes", "other", "other MaxRes"]
    assert list(summary["models"]) == methods
    assert [group["name"] for group in summary["groups"]] == ["Tiny native", "Tiny 1.5 to 3 mm"]
    with open(out / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 4 * 2  # cases, spacings, methods, labels
    assert all(row["model"] in methods for row in rows)
    text = (out / "summary.md").read_text()
    assert all(
        f"| {title.replace('(bytes)', '(MB)')} | tiny |" in text for title in METRICS.values()
    )
    drawn = (out / "segment-1.svg").read_bytes()
    again = _run(*arguments, *more)
    assert json.loads(again.stdout) == printed
    assert (out / "segment-1.svg").read_bytes() == drawn


def test_parquet_holds_what_csv_does(dataset: Path, model_file: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    for path in list((dataset / "labelsTr").glob("*"))[1:]:
        path.unlink()
    (dataset / "dataset.json").write_text(
        json.dumps(_one_case(json.loads((dataset / "dataset.json").read_text()), dataset))
    )
    arguments = (model_file, dataset, "--spacings", "2", "--out", tmp_path / "out")
    result = _run(*arguments, "--rows", "all.parquet")
    assert result.exit_code == 0, result.stderr
    stored = pd.read_parquet(tmp_path / "out" / "all.parquet")
    assert_frame_equal(stored, read_rows(tmp_path / "out" / "all.csv", 2))
    assert _run(*arguments, "--rows", "all.xlsx").exit_code == 1


def test_the_split_of_a_configuration_is_used(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    parts = {"training": ["tiny_000", "tiny_001"], "validation": ["tiny_004"]}
    (tmp_path / "split.json").write_text(json.dumps(parts))
    config = tmp_path / "run.yaml"
    config.write_text("data: {folder: tiny, split: split.json}\n")
    for options, expected in (((), "validation"), (("--part", "training"), "training")):
        result = _run(model_file, config, "--spacings", "3", "--json", *options)
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["cases"] == parts[expected]


def test_a_configuration_without_a_split_has_the_one_of_fit(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    values = config_values()
    config = tmp_path / "run.yaml"
    config.write_text(json.dumps(values))
    names = [case.name for case in Decathlon(dataset).cases()]
    drawn = random_split(names, values["data"]["validation_cases"], values["seed"])
    for part, expected in (("validation", drawn.validation), ("training", drawn.training)):
        result = _run(model_file, config, "--spacings", "3", "--json", "--part", part)
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["cases"] == list(expected)


def test_invalid_requests_are_refused_before_measuring(
    dataset: Path, model_file: Path, tmp_path: Path
) -> None:
    for options, words in (
        (("--spacings", " "), "no spacing to measure at"),
        (("--spacings", "3", "--picture", "nobody"), "no such case"),
        (("--spacings", "3", "--part", "test"), "unknown part"),
    ):
        result = _run(model_file, dataset, *options, "--out", tmp_path / "out")
        assert result.exit_code == 1 and words in result.stderr, result.stderr
        assert not (tmp_path / "out").exists()
