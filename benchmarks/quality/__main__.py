"""Assess a gallery of good scans and wrong inputs, and write the page of results.

    python -m benchmarks.quality [--models hippocampus brain] [--json FILE] [--page FILE]

Needs ``HYPERSPACE_DATA``. Results are written after each scan; those that the file already has are
kept.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import napari_hyperspace as hs
from benchmarks.quality.gallery import Entry, brain_entries, held_out, hippocampus_entries
from benchmarks.quality.page import page
from napari_hyperspace.api.assessment.assess import expected_quality
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.nets.model import Model
from training.evaluation.quality.calibrate import AssessedScan, fit_calibration

OPTIONS = InferenceOptions(device="cpu", precision="fp32", outside="clamp", allow_implausible=True)
GOOD_MM: Triple = (2.0, 2.0, 2.0)
WRONG_MM: Triple = (4.0, 4.0, 4.0)  # of whole heads; coarser, to be cheap


def main() -> None:
    """Assess what is missing, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", nargs="+", default=["hippocampus", "brain"])
    parser.add_argument(
        "--files", nargs="*", default=[], help="NAME=FILE: a model file to use for a name"
    )
    parser.add_argument(
        "--scores", nargs="*", default=[], help="NAME=FILE: quality.json of evaluate-quality"
    )
    parser.add_argument("--synthetic", action="store_true", help="also make synthetic heads (slow)")
    parser.add_argument("--json", type=Path, default=Path("docs/results/quality.json"))
    parser.add_argument("--page", type=Path, default=Path("docs/results/quality.md"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    files = dict(each.split("=", 1) for each in given.files)
    scores = dict(each.split("=", 1) for each in given.scores)
    rows: dict[str, dict[str, Any]] = {}
    if given.json.exists():
        rows = json.loads(given.json.read_text(encoding="utf-8"))
    for name in given.models:
        model = hs.load_model(files.get(name, name))
        halves = [model, model]
        if name == "hippocampus" and name in scores:
            halves = [_without_half(model, Path(scores[name]), half) for half in (0, 1)]
        entries: Iterator[Entry] = hippocampus_entries()
        if name == "brain":
            entries = brain_entries(given.synthetic)
        for entry in entries:
            if entry.key not in rows:
                rows[entry.key] = assessed(entry, halves[entry.half])
                print(entry.key, rows[entry.key]["level"], rows[entry.key]["warnings"], flush=True)
                write_text(
                    given.json, json.dumps(rows, separators=(",", ":"), ensure_ascii=False) + "\n"
                )
    tables = {name: json.loads(Path(file).read_text("utf-8")) for name, file in scores.items()}
    write_text(given.page, page(rows, tables))


def assessed(entry: Entry, model: Model) -> dict[str, Any]:
    """Return what is said about an entry, before and after it is segmented."""
    scan = entry.load()
    before = hs.check_scan(scan, model)
    row: dict[str, Any] = {
        "model": entry.model,
        "kind": entry.kind,
        "source": entry.source,
        "half": entry.half,
        "good": entry.good,
        "before": before.level,
        "level": before.level,
        "warnings": list(before.warnings),
    }
    if before.level == "implausible":
        return row  # nobody should run it
    spacing: Triple | None = GOOD_MM if entry.good else WRONG_MM
    if entry.model != "brain" or entry.kind == "synthetic head":
        spacing = None  # the scan's own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = hs.segment(scan, model, spacing, OPTIONS)
            quality = hs.assess(scan, result, model, OPTIONS)
    except hs.HyperspaceError as error:
        return {**row, "level": "refused", "warnings": [error.problem]}
    seconds = result.metadata["record"].seconds
    row |= {"level": quality.level, "warnings": list(quality.warnings)}
    row |= {"estimated": quality.estimated_dice, "interval": quality.interval}
    row |= {"agreement": quality.agreement, "seconds": [seconds, quality.seconds]}
    if entry.truth is not None:
        truth = entry.truth()
        known = truth.array >= 0
        shown = result.with_array(np.where(known, result.array, 0))
        labels = truth.with_array(np.where(known, truth.array, 0))
        dice = {
            one.name: one.dice
            for one in hs.agreement(shown, labels).structures
            if one.name not in entry.without and np.isfinite(one.dice)
        }
        estimates = {
            one.name: one.estimated_dice
            for one in quality.structures
            if one.name in dice and one.estimated_dice is not None
        }
        if estimates:
            row["true"] = float(np.mean([dice[name] for name in estimates]))
            row["estimated_of_known"] = float(np.mean(list(estimates.values())))
            row["structures"] = {name: [estimates[name], dice[name]] for name in estimates}
    return row


def _without_half(model: Model, path: Path, half: int) -> Model:
    """Return a model whose calibration has not seen the cases of a half."""
    own = {name for name in held_out(model.name) if _half(name) == half}
    scans = [
        AssessedScan(
            one["case"],
            one["variant"],
            tuple(one["spacing_mm"]),
            {name: np.nan if value is None else value for name, value in one["agreement"].items()},
            {name: np.nan if value is None else value for name, value in one["dice"].items()},
            {},
        )
        for one in json.loads(path.read_text(encoding="utf-8"))["scans"]
        if one["case"] not in own
    ]
    config = expected_quality(model)
    assert config is not None
    config = config.model_copy(update={"calibration": fit_calibration(scans, "the other half")})
    return Model(model.factory, model.card.model_copy(update={"quality": config}))


def _half(source: str) -> int:
    return Entry("", "", source, True, lambda: hs.read("")).half


if __name__ == "__main__":
    main()
