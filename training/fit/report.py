"""The report of a run: curves and Dice against spacing, as pictures, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from napari_hyperspace.core.files import write_text
from training.config.fit import parse_config
from training.evaluation.scores import SpacingScore, dice_table, mean_dice, spacing_text
from training.fit.checkpoint import Checkpoint
from training.fit.run_folder import RunFolder


def write_report(
    run: RunFolder, best: Checkpoint, scores: Sequence[SpacingScore]
) -> dict[str, Any]:
    """Write `report.md`, `report.json`, `curves.png` and `dice.png` into the run's folder.

    Parameters
    ----------
    run
        The run.
    best
        The checkpoint that was exported.
    scores
        Its Dice at the spacings of the report.

    Returns
    -------
    dict
        What `report.json` holds.
    """
    entries = run.entries()
    _draw_curves(run.path / "curves.png", entries)
    _draw_dice(run.path / "dice.png", scores)
    last = entries[-1]["step"] if entries else best.progress.step
    summary = {
        "name": best.config["name"],
        "model": str(run.model),
        "steps": last,
        "best_step": best.progress.best_step,
        "seconds": max((entry.get("seconds", 0) for entry in entries), default=0),
        "mean_dice": mean_dice(scores),
        "dice": [score.to_dict() for score in scores],
    }
    write_text(run.path / "report.json", json.dumps(summary, indent=1) + "\n")
    write_text(run.report, _markdown(best, summary, scores))
    return summary


def _markdown(best: Checkpoint, summary: dict[str, Any], scores: Sequence[SpacingScore]) -> str:
    config = best.config
    ranges = ", ".join(f"{low:g} to {high:g}" for low, high in config["spacing"]["range_mm"])
    return f"""# {summary["name"]}

{summary["steps"]} steps in {best.progress.seconds / 60:.1f} minutes (up to the exported
checkpoint, of step {summary["best_step"]}); seed {config["seed"]}; trained range {ranges} mm
(z, y, x); {config["factory"]["kind"]} factory, {parse_config(config).network.features}.

Dice on {scores[0].cases} validation cases, on the working grid:

{dice_table(scores)}

![Dice against spacing](dice.png)

![Loss and validation Dice](curves.png)
"""


def _draw_curves(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, event, key, title in (
        (left, "training", "loss", "training loss"),
        (right, "validation", "dice", "validation Dice"),
    ):
        points = [(e["step"], e[key]) for e in entries if e.get("event") == event]
        if points:
            axes.plot(*zip(*points, strict=True), marker="." if event == "validation" else "")
        axes.set(title=title, xlabel="step")
        axes.grid(alpha=0.3)
    _save(figure, path)


def _draw_dice(path: Path, scores: Sequence[SpacingScore]) -> None:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    ticks = range(len(scores))
    for name in scores[0].dice:
        axes.plot(ticks, [score.dice[name] for score in scores], marker="o", label=name)
    axes.plot(ticks, [score.mean for score in scores], color="black", marker="s", label="mean")
    axes.set_xticks(ticks, [spacing_text(s.spacing_mm) for s in scores], rotation=30, ha="right")
    axes.set(xlabel="spacing (mm, z × y × x)", ylabel="Dice")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=120)
