"""Comparisons: which runs they need, what they measure, what they report."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import wilcoxon
from typer.testing import CliRunner, Result

import napari_hyperspace as hs
from napari_hyperspace.core.errors import HyperspaceError
from tests.training.conftest import config_values, interrupt_after, write_dataset
from training.cli import app
from training.comparison.config import load_comparison
from training.comparison.page import block, renew
from training.comparison.report import SUMMARY, read_summary
from training.comparison.runs import State, compared_runs
from training.comparison.tables import blocks_of_table
from training.config.fit import changes, load_config
from training.evaluation.rows import NETWORK_SPACING, SPACING, read_rows

COMPARISON: dict[str, Any] = {
    "methods": {
        "HS": {"about": "Hypernetwork."},
        "AS": {"about": "Plain.", "set": {"factory": {"kind": "constant"}}},
        "FS": {
            "about": "Fixed.",
            "set": {"factory": {"kind": "constant"}, "spacing.range_mm": [[1.5, 1.5]] * 3},
            "outside": "clamp",
        },
        "FSNR": {"run": "FS"},
        "HS MaxRes": {"run": "HS", "outside": "clamp"},
    },
    "tables": {
        "main": {
            "title": "All",
            "methods": ["HS", "AS", "FS", "FSNR", "HS MaxRes"],
            "seeds": [0, 1],
            "pairs": [["HS", "AS"], ["HS", "FS"]],
        },
        "one": {"title": "One", "methods": ["AS"], "seeds": [0]},
    },
    "segments": [[1, 1.5, 4], [[1, 1.5, 1.5], [3, 1.5, 1.5]]],
    "intervals": ["1.2:2"],
    "draws": 2,
    "tile_shape": [16, 12, 20],
}
NAMES = ["tiny_001", "tiny_003", "tiny_004"]


def _write(folder: Path, section: dict[str, Any], **changes: Any) -> Path:
    parts = {"training": [f"tiny_{i:03d}" for i in (0, 2, 5, 6)], "validation": NAMES}
    (folder / "split.json").write_text(json.dumps(parts))
    values = config_values(training__steps=3, data__split="split.json", **changes)
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump({**values, "comparison": section}, sort_keys=False))
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a comparison that has been run, by the command."""
    folder = tmp_path_factory.mktemp("comparison")
    write_dataset(folder / "tiny")
    result = _run(_write(folder, COMPARISON), "--out", folder / "runs")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(folder / "runs" / "report.md")
    return folder


def test_runs_are_the_ones_that_set_would_make(tmp_path: Path, dataset: Path) -> None:
    path = _write(tmp_path, COMPARISON)
    comparison = load_comparison(path)
    assert comparison.runs() == [(m, seed) for m in ("HS", "AS", "FS") for seed in (0, 1)]
    ranges = "spacing.range_mm=[[1.5, 1.5], [1.5, 1.5], [1.5, 1.5]]"
    overrides = ["factory={kind: constant}", ranges]
    expected, base = load_config(path, [*overrides, "name=tiny run-FS-1", "seed=1"])
    assert comparison.config("FS", 1) == expected and comparison.base == base
    assert comparison.config("HS", 0).factory.kind == "hypernetwork"
    assert [m.label for m in comparison.used("HS", Path("x"))] == ["HS", "HS MaxRes"]


def test_a_method_may_have_fewer_seeds(tmp_path: Path, dataset: Path) -> None:
    section = copy.deepcopy(COMPARISON)
    section["methods"]["FS"]["seeds"] = [0]
    comparison = load_comparison(_write(tmp_path, section))
    assert comparison.runs() == [*((m, seed) for m in ("HS", "AS") for seed in (0, 1)), ("FS", 0)]
    table = comparison.section.tables["main"]
    assert comparison.section.seeds(table, "FSNR") == [0]
    assert comparison.section.seeds(table, "HS MaxRes") == [0, 1]


def test_a_run_of_the_file_knows_nothing_of_the_comparison(tmp_path: Path, dataset: Path) -> None:
    with_it, _ = load_config(_write(tmp_path, COMPARISON))
    (tmp_path / "plain").mkdir()
    plain = tmp_path / "plain" / "run.yaml"
    plain.write_text(yaml.safe_dump(config_values(training__steps=3, data__split="split.json")))
    assert with_it == load_config(plain)[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": {"A": {"run": "B"}}}, "'B' is not a method with runs"),
        ({"methods": {"A": {}, "B": {"run": "A", "set": {"seed": 1}}}}, "runs of its own"),
        (
            {"tables": {"t": {"title": "", "methods": ["HSS"], "seeds": [0]}}},
            "'HSS' is not",
        ),
        ({"methods": {"A": {}, "B": {"run": "A", "seeds": [1]}}}, "runs of its own"),
        ({"intervals": ["5:1"]}, "not an interval"),
        ({"segment": [[1, 2]]}, "segments"),
    ],
)
def test_a_wrong_section_is_refused(
    tmp_path: Path, dataset: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(HyperspaceError, match=words):
        load_comparison(_write(tmp_path, {**COMPARISON, **change}))


def test_refused_without_section_or_split(tmp_path: Path, dataset: Path) -> None:
    path = _write(tmp_path, COMPARISON)
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if k != "comparison"}))
    with pytest.raises(HyperspaceError, match="no section"):
        load_comparison(path)
    del values["data"]["split"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(HyperspaceError, match="validation cases"):
        load_comparison(path)


def test_every_run_is_done_and_its_card_tells_its_dice(finished: Path) -> None:
    for label in ("HS-0", "HS-1", "AS-0", "AS-1", "FS-0", "FS-1"):
        folder = finished / "runs" / label
        assert json.loads((folder / "config.json").read_text())["name"] == f"tiny run-{label}"
        rows = read_rows(folder / "evaluation" / "rows.csv", 2)
        card = hs.load_model(folder / "model.safetensors").card
        assert card.tile_shape == (16, 12, 20)
        shown = {(1, 1, 1), (1.5, 1.5, 1.5), (4, 4, 4), (1, 1.5, 1.5), (3, 1.5, 1.5)}
        if label.startswith("FS"):  # elsewhere its network does not run
            shown = {(1.5, 1.5, 1.5)}
        assert {record.spacing_mm for record in card.dice} == shown
        for record in card.dice:
            own = rows[rows["model"] == label[:2]]
            found = own[(own[SPACING] == list(record.spacing_mm)).all(axis=1)]["dice_working"]
            assert record.mean == pytest.approx(found.mean()) and record.cases == 3


def test_methods_use_the_networks_that_they_should(finished: Path) -> None:
    rows = read_rows(finished / "runs" / "FS-0" / "evaluation" / "rows.csv", 2)
    assert (rows.loc[rows["model"] == "FS", NETWORK_SPACING] == 1.5).all(axis=None)
    fsnr = rows[rows["model"] == "FSNR"]
    np.testing.assert_array_equal(fsnr[NETWORK_SPACING], fsnr[SPACING])
    rows = read_rows(finished / "runs" / "HS-0" / "evaluation" / "rows.csv", 2)
    coarse = rows[(rows[SPACING] == 4).all(axis=1)].groupby("model")[NETWORK_SPACING].first()
    assert coarse.loc["HS"].to_list() == [4, 4, 4]
    assert coarse.loc["HS MaxRes"].to_list() == [2.5, 3.0, 2.0]


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
    assert [run["state"] for run in summary["runs"]] == ["done"] * 6
    table = summary["tables"]["main"]
    rows = {
        owner: [
            read_rows(finished / "runs" / f"{owner}-{seed}" / "evaluation" / "rows.csv", 2)
            for seed in (0, 1)
        ]
        for owner in ("HS", "AS", "FS")
    }
    assert len(table["spacings"]) == 5  # 1.5 mm lies on the first segment only
    for row in table["spacings"]:
        spacing = tuple(row["spacings_mm"][0])
        by_method = {m: _samples(rows[m], m, spacing) for m in ("HS", "AS", "FS")}
        for method, values in by_method.items():
            entry = row["methods"][method]["dice_working"]
            assert entry["mean"] == pytest.approx(values.mean())
            assert entry["std"] == pytest.approx(values.std(ddof=1))
            alone = _samples(rows[method][1:], method, spacing)
            assert row["by_seed"][method]["1"]["dice_working"] == pytest.approx(alone.mean())
        tests = {(t["second"], t["metric"]): t for t in row["tests"]}
        test = tests["AS", "dice_working"]
        difference = by_method["HS"] - by_method["AS"]
        assert test["mean_difference"] == pytest.approx(difference.mean())
        assert test["p"] == pytest.approx(wilcoxon(difference).pvalue if difference.any() else 1)
        assert test["p_corrected"] == pytest.approx(min(1, test["p"] * 10))  # 5 rows × 2 pairs
        assert test["verdict"] == "tie"  # three cases can prove nothing
    inside = [row["trained"]["HS"] for row in table["spacings"]]
    assert inside == [False, True, False, True, False]


def test_the_page_shows_every_table_and_figure(finished: Path) -> None:
    page = (finished / "runs" / "report.md").read_text()
    assert "# tiny run\n" in page and "## All" in page and "## One" in page
    assert "| HS-1 | done | 3 |" in page
    assert "| Dice, working grid | HS | AS | FS | FSNR | HS MaxRes |" in page
    assert "HS against AS, outside" in page
    for stem in ("main-1", "main-2", "one-1"):
        assert f"](report/{stem}.png)" in page
        assert (finished / "runs" / "report" / f"{stem}.png").stat().st_size < 60_000


def test_again_nothing_is_trained_or_measured(finished: Path) -> None:
    report, summary = (finished / "runs" / name for name in ("report.md", "report/summary.json.gz"))
    before = report.read_text(), summary.read_bytes()
    report.write_text(report.read_text().replace("# tiny run\n", "# My words\n\nAnd more.\n"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.evaluation.measure.Measurer.measure", None)
        patch.setattr("training.fit.trainer.fit", None)
        assert _run(finished / "compare.yaml", "--out", finished / "runs").exit_code == 0
    words = "# My words\n\nAnd more.\n"
    assert report.read_text() == before[0].replace("# tiny run\n", words)
    assert summary.read_bytes() == before[1]


def test_missed_structures_are_counted(finished: Path) -> None:
    summary = read_summary(finished / "runs" / "report" / SUMMARY)
    rows = pd.concat(
        read_rows(finished / "runs" / f"FS-{seed}" / "evaluation" / "rows.csv", 2)
        for seed in (0, 1)
    )
    rows = rows[rows["model"] == "FSNR"]
    for group in summary["tables"]["main"]["settings"]:
        entry = group["methods"]["FSNR"]
        spacings = {tuple(spacing) for spacing in group["spacings_mm"] or [(1.25, 1.5, 1.0)]}
        measured = [tuple(s) in spacings for s in rows[SPACING].round(6).to_numpy()]
        distances = rows[measured]["hd95_native_mm"].to_numpy()
        assert len(distances) == 2 * 2 * len(NAMES) * len(spacings)  # seeds, labels
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


def test_a_run_of_another_split_is_refused(finished: Path) -> None:
    file = finished / "split.json"
    before = file.read_text()
    parts = json.loads(before)
    parts["training"][0], parts["validation"][0] = parts["validation"][0], parts["training"][0]
    file.write_text(json.dumps(parts))
    try:
        refused = _run(finished / "compare.yaml", "--out", finished / "runs", "--no-train")
    finally:
        file.write_text(before)
    assert refused.exit_code == 1 and "1 of the validation cases" in refused.stderr


def test_missing_unfinished_and_strange_runs(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {
        **COMPARISON,
        "report": "results/page.md",
        "segments": [[1, 2]],
        "intervals": [],
        "native": False,
        "times": False,
    }
    path, out = _write(tmp_path, section), tmp_path / "runs"
    monkeypatch.chdir(tmp_path)
    nothing = _run(path, "--out", out, "--no-train")
    assert nothing.exit_code == 1 and "none of the runs is done" in nothing.stderr
    assert "no such method" in _run(path, "--out", out, "--only", "XS").stderr
    interrupt_after(monkeypatch, 2)
    assert _run(path, "--out", out, "--only", "AS").exit_code == 128 + 15
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    states = {run.label: run.state() for run in compared_runs(load_comparison(path), out)}
    assert states.pop("AS-0") is State.unfinished and {*states.values()} == {State.missing}
    (out / "AS-0" / "checkpoints" / "last.safetensors").unlink()  # killed before there was one
    result = _run(path, "--out", out, "--only", "AS", "--json")
    assert result.exit_code == 0, result.stderr
    numbers = json.loads(result.stdout)["tables"]["main"]
    assert [*numbers["methods"]] == ["AS"]
    assert numbers["absent"] == ["HS", "FS", "FSNR", "HS MaxRes"]
    log = (out / "AS-0" / "log.jsonl").read_text()
    steps = [json.loads(line)["step"] for line in log.splitlines()]
    assert steps[-1] == 3
    page = (tmp_path / "results" / "page.md").read_text()
    assert "Not there: HS (no run is done); FS" in page and "| HS-0 | missing |" in page
    assert "Times were not compared" in page and "| seconds" not in page
    changed = _write(tmp_path, section, optimizer__learning_rate=0.02)
    refused = _run(changed, "--out", out, "--no-train")
    assert refused.exit_code == 1
    assert "optimizer.learning_rate" in refused.stderr and "AS-0" in refused.stderr
    (out / "AS-0" / "config.json").write_text("{")
    assert "cannot be read" in _run(path, "--out", out, "--no-train").stderr


def test_a_page_keeps_its_words_and_loses_no_block(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    renew(path, {"a": "1", "b": "2"}, f"x\n{block('a', '')}\ny\n")
    assert path.read_text() == "x\n<!-- begin a -->\n1\n<!-- end a -->\ny\n"
    path.write_text(path.read_text().replace("x", "z"))
    renew(path, {"a": r"\1", "b": "2"}, "unused")
    assert path.read_text() == "z\n<!-- begin a -->\n\\1\n<!-- end a -->\ny\n"
    with pytest.raises(HyperspaceError, match="does not make"):
        renew(path, {"b": "2"}, "")


def test_the_repository_s_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[3]
    comparison = load_comparison(root / "training" / "configs" / "hippocampus-comparison.yaml")
    configs = {run: comparison.config(*run) for run in comparison.runs()}
    assert {seed for method, seed in configs if method == "HS"} == {0, 1}
    shared = comparison.shared()
    for (method, seed), config in configs.items():
        assert (config.name, config.seed) == (f"{shared.name}-{method}-{seed}", seed)
        assert (config.data, config.optimizer, config.loss) == (
            shared.data, shared.optimizer, shared.loss,
        )  # fmt: skip
        # The same budget for all but those that need larger patches; other keys as they say.
        differs = {key.partition(".")[0] for key in comparison.section.methods[method].set}
        assert ("training" in differs) == (method in ("HS-wide", "HS-strides"))
        if "spacing" in differs:
            differs.add("factory")  # its range is that of the spacings
        for section in {"training", "network", "augmentation", "spacing", "factory"} - differs:
            assert getattr(config, section) == getattr(shared, section), (method, section)


@pytest.mark.parametrize(
    ("name", "methods", "differs"),
    [
        ("ranks", {"HS": "HS"}, set()),
        ("work", {"FS": "FS"}, set()),
        ("work", {"HS-slices": "HS-slices"}, {"training.steps", "validation.every_steps"}),
    ],
)
def test_the_repository_s_smaller_comparisons_differ_as_they_say(
    name: str, methods: dict[str, str], differs: set[str]
) -> None:
    configs = Path(__file__).parents[3] / "training" / "configs"
    whole = load_comparison(configs / "hippocampus-comparison.yaml")
    other = load_comparison(configs / f"hippocampus-{name}.yaml")
    assert other.section.groups() == whole.section.groups()
    for own, same in methods.items():
        values = [c.model_dump(mode="json") for c in (whole.config(same, 0), other.config(own, 0))]
        assert {*changes(*values)} == {"name", *differs}
