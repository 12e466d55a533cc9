"""What an evaluation leaves behind: summary, tests, figures, files, cards."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from typer.testing import CliRunner, Result

import napari_hyperspace as hs
from tests.training.conftest import config_values
from training.cli import app
from training.data.decathlon import Decathlon
from training.data.splits import random_split
from training.evaluation.evaluate import EvaluatedModel, Evaluation, evaluate
from training.evaluation.figures import trained_zone
from training.evaluation.measure import Settings
from training.evaluation.methods import Method, name_methods
from training.evaluation.plan import (
    NATIVE,
    interval,
    parse_interval,
    segment_between,
)
from training.evaluation.record import stored_dtype
from training.evaluation.rows import Row, read_rows, to_frame
from training.evaluation.summary import METRICS, signed_rank, spreads, summarize
from training.evaluation.tables import method_table

NAMES = ("tiny_001", "tiny_004")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_summary_by_hand(dataset: Path, model_file: Path, narrow_file: Path) -> None:
    methods = [
        Method("first", str(model_file)),
        Method("other", str(narrow_file), "extrapolate"),
    ]
    names = [f"tiny_{i:03d}" for i in range(4)]
    drawn = interval(parse_interval("1.2:2.4"), 2, seed=0)
    found = evaluate(methods, Decathlon(dataset), names, [drawn])
    summary = summarize(found)
    (group,) = summary["groups"]
    assert group["name"] == "Tiny [1.2, 2.4]³"
    cells = {
        label: np.array(
            [
                [found.at(m, name, s)["dice_working"].mean() for s in drawn.spacings_mm]
                for name in names
            ]
        )
        for label, m in zip(("first", "other"), methods, strict=True)
    }
    for label, values in cells.items():
        entry = group["methods"][label]["dice_working"]
        assert entry["mean"] == pytest.approx(values.mean())
        assert entry["std"] == pytest.approx(values.std(ddof=1))
        assert entry["n"] == 8
    test = group["tests"][0]
    differences = cells["first"].mean(axis=1) - cells["other"].mean(axis=1)
    assert test["mean_difference"] == pytest.approx(differences.mean())
    assert test["cases"] == 4 and test["p"] == test["p_corrected"] == signed_rank(differences)
    header, _, row = method_table(summary, "dice_working").splitlines()
    assert header == "| Dice, working grid | first | other |"
    mean, std = cells["first"].mean(), cells["first"].std(ddof=1)
    assert row.startswith(f"| Tiny [1.2, 2.4]³ | {mean:.3f} ({std:.3f}) | ")


def _made_up(values: dict[str, list[float]]) -> Evaluation:
    """Return an evaluation at native spacing with these Dice values, by method."""
    row = Row(
        "", "digest", "refuse", "", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, True, 1, "one",
        0.5, 0.5, 1.0, math.inf, 0.5, 0.5, 0.1, 0.1, 2.0, 1.0,
        0.1, 0.1, 0.1, 100, 100, "fp32", "cpu",
    )  # fmt: skip
    cases = [f"c{i}" for i in range(len(next(iter(values.values()))))]
    rows = [
        dataclasses.replace(row, model=label, case=case, dice_working=value)
        for label, column in values.items()
        for case, value in zip(cases, column, strict=True)
    ]
    return Evaluation(
        data="data",
        label_names={1: "one"},
        methods=[Method(label, "") for label in values],
        models={
            label: EvaluatedModel(
                identity="digest", outside="refuse", trained_range_mm=None, applied={}
            )
            for label in values
        },
        cases=dict.fromkeys(cases, (1.0, 1.0, 1.0)),
        groups=[NATIVE],
        rows=to_frame(rows),
        settings=Settings(),
    )


def test_signed_rank_is_corrected_for_the_pairs() -> None:
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])) == pytest.approx(2 / 2**6)
    assert signed_rank(np.zeros(5)) == 1
    assert signed_rank(np.array([0.1])) is None
    low = [0.1, 0.2, 0.3, 0.4, 0.5, math.nan, 0.6]
    columns = {
        "a": low,
        "b": [value + 0.1 + 0.01 * i for i, value in enumerate(low)],
        "c": [value + 0.3 + 0.02 * i for i, value in enumerate(low)],
    }
    group = summarize(_made_up(columns))["groups"][0]
    tests = [test for test in group["tests"] if test["metric"] == "dice_working"]
    assert [(t["first"], t["second"]) for t in tests] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert all(t["cases"] == 6 for t in tests)
    assert all(t["p"] == pytest.approx(2 / 64) for t in tests)
    assert all(t["p_corrected"] == pytest.approx(6 / 64) for t in tests)
    assert group["methods"]["a"]["missed"] == 7
    assert group["methods"]["a"]["hd95_native_mm"] == {"mean": None, "std": None, "n": 0}
    values = pd.DataFrame({"x": [1.0, math.inf, 3.0, math.nan]})
    assert spreads(values) == {"x": {"mean": 2.0, "std": pytest.approx(math.sqrt(2)), "n": 2}}


def test_trained_zone_on_a_segment() -> None:
    isotropic = segment_between((1.0, 1.0, 1.0), (5.0, 5.0, 5.0), 3).spacings_mm
    assert trained_zone([(2.0, 4.0), (0.5, 3.0), (2.0, 9.0)], isotropic) == (0.25, 0.5)
    assert trained_zone([(6.0, 7.0)] * 3, isotropic) is None
    along_z = segment_between((5.0, 1.0, 1.0), (1.0, 1.0, 1.0), 3).spacings_mm
    assert trained_zone([(2.0, 4.0), (0.5, 3.0), (0.5, 3.0)], along_z) == (0.25, 0.75)
    assert trained_zone([(2.0, 4.0), (2.0, 3.0), (0.5, 3.0)], along_z) is None


def test_names_of_methods(model_file: Path, narrow_file: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.safetensors"
    second.write_bytes(model_file.read_bytes())

    def names(*arguments: object) -> list[str]:
        return [method.label for method in name_methods([str(a) for a in arguments], "refuse")]

    assert names(model_file, narrow_file) == ["tiny", "other"]
    assert names(model_file, second) == ["first", "second"]
    assert names(f"HS={model_file}", second) == ["HS", "tiny"]
    with pytest.raises(hs.HyperspaceError, match="same name"):
        names(model_file, model_file)


def test_the_command_leaves_rows_summary_and_figures(
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


def _one_case(description: dict[str, Any], dataset: Path) -> dict[str, Any]:
    (left,) = (dataset / "labelsTr").glob("*")
    kept = [entry for entry in description["training"] if left.name in entry["label"]]
    return {**description, "training": kept}


def test_the_card_gets_the_curve(dataset: Path, narrow_file: Path, tmp_path: Path) -> None:
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"training": ["tiny_000"], "validation": list(NAMES)}))
    before, size = hs.load_model(narrow_file), narrow_file.stat().st_size
    options = ("--split", split, "--outside", "clamp", "--write-card")
    drawn = ("--monte-carlo", "2", "--interval", "1:2")
    assert "fixed spacings" in _run(narrow_file, dataset, *options, *drawn).stderr
    result = _run(narrow_file, dataset, *options, "--spacings", "2;1.5,1,1;4", "--json")
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    after = hs.load_model(narrow_file)
    # Finest first; 4 mm was clamped: it says nothing of a network for 4 mm.
    assert [r.spacing_mm for r in after.card.dice] == [(1.5, 1.0, 1.0), (2.0, 2.0, 2.0)]
    assert after.card.dice[1].dice == printed["spacings"][0]["dice"]
    assert after.card.dice[1].mean == printed["spacings"][0]["mean"]
    assert after.card.dice[1].cases == 2
    assert after.identity == before.identity
    assert after.card.model_copy(update={"dice": ()}) == before.card
    assert stored_dtype(narrow_file) == "float16"
    assert narrow_file.stat().st_size < size + 1000


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


def test_a_configuration_without_a_split_has_the_one_that_is_drawn(
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


def test_what_cannot_be_measured_is_refused_before_anything_is(
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
