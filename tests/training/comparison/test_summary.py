"""Numbers of the tables, against the files of rows."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon

from tests.training.comparison.conftest import (
    NAMES,
    RUNS,
)
from training.comparison.report import SUMMARY, read_summary
from training.comparison.tables import blocks_of_table
from training.evaluation.rows import SPACING, read_rows


def _samples(rows: list[pd.DataFrame], method: str, spacing: tuple[float, ...]) -> np.ndarray:
    """Dice of each case: mean over labels and seeds, from the files of rows."""
    every = pd.concat(rows)
    dice = [
        [row.dice_working for row in every.itertuples()
         if (row.model, row.case, row.z_mm, row.y_mm, row.x_mm) == (method, case, *spacing)]
        for case in NAMES
    ]  # fmt: skip
    return np.array([np.nanmean(each) for each in dice])


def test_numbers_by_hand(finished: Path) -> None:
    summary = read_summary(finished / "runs" / "report" / SUMMARY)
    assert [run["state"] for run in summary["runs"]] == ["done"] * 5
    table = summary["tables"]["main"]
    rows = {
        owner: [
            read_rows(finished / "runs" / f"{owner}-{seed}" / "evaluation" / "rows.csv", 2)
            for seed in seeds
        ]
        for owner, seeds in RUNS.items()
    }
    assert len(table["spacings"]) == 3  # 1.5 mm is on both segments
    for row in table["spacings"]:
        spacing = tuple(row["spacings_mm"][0])
        by_method = {m: _samples(rows[m], m, spacing) for m in ("HS", "AS", "FS")}
        for method, values in by_method.items():
            entry = row["methods"][method]["dice_working"]
            assert entry["mean"] == pytest.approx(values.mean())
            assert entry["std"] == pytest.approx(values.std(ddof=1))
            seed = str(RUNS[method][-1])
            alone = _samples(rows[method][-1:], method, spacing)
            assert row["by_seed"][method][seed]["dice_working"] == pytest.approx(alone.mean())
        tests = {(t["second"], t["metric"]): t for t in row["tests"]}
        # Only the seeds that both have.
        assert (tests["AS", "dice_working"]["seeds"], tests["FS", "dice_native"]["seeds"]) == (
            [0, 1], [0],
        )  # fmt: skip
        shared = _samples(rows["HS"][:1], "HS", spacing) - by_method["FS"]
        assert tests["FS", "dice_working"]["mean_difference"] == pytest.approx(shared.mean())
        test = tests["AS", "dice_working"]
        difference = by_method["HS"] - by_method["AS"]
        assert test["mean_difference"] == pytest.approx(difference.mean())
        assert test["p"] == pytest.approx(wilcoxon(difference).pvalue if difference.any() else 1)
        assert test["p_corrected"] == pytest.approx(min(1, test["p"] * 6))  # 3 rows × 2 pairs
        assert test["verdict"] == "tie"  # two cases can prove nothing
    inside = [row["trained"]["HS"] for row in table["spacings"]]
    assert inside == [True, False, False]


def test_missed_structures_are_counted(finished: Path) -> None:
    summary = read_summary(finished / "runs" / "report" / SUMMARY)
    rows = pd.concat(
        read_rows(finished / "runs" / f"FS-{seed}" / "evaluation" / "rows.csv", 2)
        for seed in RUNS["FS"]
    )
    rows = rows[rows["model"] == "FSNR"]
    for group in summary["tables"]["main"]["settings"]:
        entry = group["methods"]["FSNR"]
        spacings = {tuple(spacing) for spacing in group["spacings_mm"] or [(1.25, 1.5, 1.0)]}
        measured = [tuple(s) in spacings for s in rows[SPACING].round(6).to_numpy()]
        distances = rows[measured]["hd95_native_mm"].to_numpy()
        assert len(distances) == 2 * len(NAMES) * len(spacings)  # labels
        assert entry["missed"] == np.isinf(distances).sum()
        assert entry["structures"] == (~np.isnan(distances)).sum()
    table = copy.deepcopy(summary["tables"]["main"])
    for group in table["settings"]:
        for method, entry in group["methods"].items():
            entry["missed"], entry["structures"] = (4 if method == "FSNR" else 0), 12
    text = blocks_of_table("main", table)["main/hd95"]
    assert text.endswith(
        f"left out here: FSNR {4 * len(table['settings'])} of {12 * len(table['settings'])}."
    )
