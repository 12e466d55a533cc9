"""A small comparison of three trained methods, and its report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from tests.training.conftest import config_values, write_dataset
from training.cli import app

COMPARISON: dict[str, Any] = {
    "methods": {
        "HS": {"about": "Hypernetwork."},
        "AS": {"about": "Plain.", "set": {"factory": {"kind": "constant"}}},
        "FS": {
            "about": "Fixed.",
            "set": {"factory": {"kind": "constant"}, "spacing.range_mm": [[1.5, 1.5]] * 3},
            "outside": "clamp",
            "seeds": [0],
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
    "segments": [[1.5, 4], [[1.5, 1.5, 1.5], [3, 1.5, 1.5]]],
    "intervals": ["1.2:2"],
    "draws": 1,
    "tile_shape": [16, 12, 20],
}
NAMES = ["tiny_001", "tiny_004"]
RUNS = {"HS": (0, 1), "AS": (0, 1), "FS": (0,)}
"""Seeds of the trained methods."""


def write_comparison(folder: Path, section: dict[str, Any], **changes: Any) -> Path:
    """Write the configuration of a comparison, and its split."""
    parts = {"training": [f"tiny_{i:03d}" for i in (0, 2, 5, 6)], "validation": NAMES}
    (folder / "split.json").write_text(json.dumps(parts))
    values = config_values(training__steps=3, data__split="split.json", **changes)
    path = folder / "compare.yaml"
    path.write_text(yaml.safe_dump({**values, "comparison": section}, sort_keys=False))
    return path


def run_compare(*arguments: object) -> Result:
    """Run the command `compare`."""
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished comparison, made by the command."""
    folder = tmp_path_factory.mktemp("comparison")
    write_dataset(folder / "tiny")
    result = run_compare(write_comparison(folder, COMPARISON), "--out", folder / "runs")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(folder / "runs" / "report.md")
    return folder
