"""Tiny runs, and their comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.training.conftest import config_values
from training.config.fit import parse_config
from training.fit.report import TrainingReport
from training.fit.trainer import fit


def train(base: Path, out: str = "run", **changes: Any) -> TrainingReport:
    """Train on the data set `tiny`; keys of the configuration are joined by two underscores."""
    options = {key: changes.pop(key) for key in ("resume", "init") if key in changes}
    report = fit(parse_config(config_values(**changes)), base, base / out, **options)
    assert report is not None
    return report


def same_tensors(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def log_entries(run: Path) -> list[dict[str, Any]]:
    """Read a log without its times."""
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in entries]


def same_run(a: Path, b: Path) -> bool:
    names = ("checkpoints/last.safetensors", "checkpoints/best.safetensors", "model.safetensors")
    same = all(same_tensors(a / name, b / name) for name in names)
    return same and log_entries(a) == log_entries(b)


def label_map_values(**changes: Any) -> dict[str, Any]:
    """Return a configuration that trains on the label maps of the fixture `folder`."""
    return {
        "name": "tiny brain",
        "seed": 1,
        "data": {
            "kind": "label-maps",
            "folder": "maps",
            "validation_cases": 1,
            "labels": {1: [3, 42], 2: [2, 41], 3: [10, 49, 13, 52]},
            "names": {1: "cortex", 2: "white matter", 3: "deep grey"},
        },
        "spacing": {"range_mm": [[1.0, 4.0]] * 3, "thick_slice_probability": 0.5},
        "network": {
            "out_channels": 4,
            "channels": 4,
            "strides": [[2, 2, 2]],
            "convs_per_level": 1,
        },
        "factory": {"kind": "hypernetwork", "rank": 2, "hidden": [4]},
        "optimizer": {"warm_up_steps": 2},
        "training": {"steps": 4, "batch_size": 2, "patch_shape": [16, 16, 16], "patch_mm": 20},
        "validation": {
            "every_steps": 2,
            "pairs_per_map": 2,
            "spacings_mm": [[2, 2, 2], [1.5, 1.5, 4]],
            "report_spacings_mm": [[2, 2, 2]],
        },
        "compute": {"device": "cpu", "threads": 1, "workers": 0, "log_every_steps": 2},
        **changes,
    }
