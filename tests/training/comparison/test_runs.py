"""States of runs: missing, unfinished, done, and those of another configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.comparison.conftest import (
    COMPARISON,
    run_compare,
    write_comparison,
)
from tests.training.conftest import interrupt_after
from training.comparison.config import load_comparison
from training.comparison.runs import State, compared_runs


def test_a_run_of_another_split_is_refused(finished: Path) -> None:
    file = finished / "split.json"
    before = file.read_text()
    parts = json.loads(before)
    parts["training"][0], parts["validation"][0] = parts["validation"][0], parts["training"][0]
    file.write_text(json.dumps(parts))
    try:
        refused = run_compare(finished / "compare.yaml", "--out", finished / "runs", "--no-train")
    finally:
        file.write_text(before)
    assert refused.exit_code == 1 and "1 of the validation cases" in refused.stderr


def test_missing_unfinished_and_foreign_runs(
    tmp_path: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {
        **COMPARISON,
        "report": "results/page.md",
        "tables": {"main": {**COMPARISON["tables"]["main"], "seeds": [0]}},
        "segments": [[1, 2]],
        "intervals": [],
        "native": False,
        "times": False,
    }
    path, out = write_comparison(tmp_path, section), tmp_path / "runs"
    monkeypatch.chdir(tmp_path)
    nothing = run_compare(path, "--out", out, "--no-train")
    assert nothing.exit_code == 1 and "none of the runs is done" in nothing.stderr
    assert "no such method" in run_compare(path, "--out", out, "--only", "XS").stderr
    interrupt_after(monkeypatch, 2)
    assert run_compare(path, "--out", out, "--only", "AS").exit_code == 128 + 15
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    states = {run.label: run.state() for run in compared_runs(load_comparison(path), out)}
    assert states.pop("AS-0") is State.unfinished and {*states.values()} == {State.missing}
    (out / "AS-0" / "checkpoints" / "last.safetensors").unlink()  # killed before there was one
    result = run_compare(path, "--out", out, "--only", "AS", "--json")
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
    changed = write_comparison(tmp_path, section, optimizer__learning_rate=0.02)
    refused = run_compare(changed, "--out", out, "--no-train")
    assert refused.exit_code == 1
    assert "optimizer.learning_rate" in refused.stderr and "AS-0" in refused.stderr
    (out / "AS-0" / "config.json").write_text("{")
    assert "not valid JSON" in run_compare(path, "--out", out, "--no-train").stderr
    (out / "AS-0" / "config.json").write_text("[1]")
    assert "a mapping is expected" in run_compare(path, "--out", out, "--no-train").stderr
