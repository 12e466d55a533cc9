"""Means, standard deviations and tests between methods."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from training.data.decathlon import Decathlon
from training.evaluation.evaluate import EvaluatedModel, Evaluation, evaluate
from training.evaluation.measure import Settings
from training.evaluation.methods import Method
from training.evaluation.plan import (
    NATIVE,
    interval,
    parse_interval,
)
from training.evaluation.rows import Row, to_frame
from training.evaluation.summary import signed_rank, spreads, summarize
from training.evaluation.tables import method_table


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
