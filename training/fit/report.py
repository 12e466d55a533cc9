"""The report of a run: loss curve and Dice against spacing, as figures, Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from pydantic import JsonValue

from napari_hyperspace.core.files import replacing, write_text
from napari_hyperspace.core.format import format_range, format_seconds, format_spacing
from training.config.fit import parse_config
from training.evaluation.scores import SpacingScore, dice_table, mean_dice
from training.fit.checkpoint import Checkpoint
from training.fit.run_folder import LogEntry, RunFolder


class TrainingReport(TypedDict):
    """Content of `report.json`."""

    name: str
    model: str
    """Path of the model file."""
    steps: int
    """Steps of the run."""
    best_step: int
    """Step of the exported checkpoint."""
    seconds: float
    """Training time."""
    mean_dice: float
    """Mean over spacings and labels."""
    dice: list[dict[str, JsonValue]]
    """Scores at each spacing, by `SpacingScore.to_dict`."""


def write_report(
    run: RunFolder, best: Checkpoint, scores: Sequence[SpacingScore]
) -> TrainingReport:
    """Write `report.md`, `report.json`, `curves.png` and `dice.png` into the run's folder.

    Parameters
    ----------
    run
        Folder of the run.
    best
        The checkpoint that was exported.
    scores
        Its Dice at the spacings of the report.

    Returns
    -------
    dict
        The content of `report.json`.
    """
    entries = run.entries()
    _draw_curves(run.path / "curves.png", entries)
    _draw_dice(run.path / "dice.png", scores)
    report = TrainingReport(
        name=str(best.config["name"]),
        model=str(run.model),
        steps=entries[-1]["step"] if entries else best.progress.step,
        best_step=best.progress.best_step,
        seconds=max((entry.get("seconds", 0) for entry in entries), default=0),
        mean_dice=mean_dice(scores),
        dice=[score.to_dict() for score in scores],
    )
    write_text(run.path / "report.json", json.dumps(report, indent=1) + "\n")
    write_text(run.report, _markdown(best, report, scores))
    return report


def _markdown(best: Checkpoint, report: TrainingReport, scores: Sequence[SpacingScore]) -> str:
    config = parse_config(best.config)
    return f"""# {report["name"]}

{report["steps"]} steps. The exported checkpoint is that of step {report["best_step"]}, after
{format_seconds(best.progress.seconds)} of training; seed {config.seed};
trained range {format_range(config.spacing.range_mm)} (z, y, x);
{config.factory.kind} factory, {config.network.features}.

Dice on {scores[0].cases} validation cases, on the working grid:

{dice_table(scores)}

![Dice against spacing](dice.png)

![Loss and validation Dice](curves.png)
"""


def _draw_curves(path: Path, entries: Sequence[LogEntry]) -> None:
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_curve(left, entries, "training", "loss", "training loss", marker="")
    _draw_curve(right, entries, "validation", "dice", "validation Dice", marker=".")
    _save(figure, path)


def _draw_curve(
    axes: Axes,
    entries: Sequence[LogEntry],
    event: Literal["training", "validation"],
    key: Literal["loss", "dice"],
    title: str,
    *,
    marker: str,
) -> None:
    points = [(entry["step"], entry[key]) for entry in entries if entry.get("event") == event]
    if points:
        axes.plot(*zip(*points, strict=True), marker=marker)
    axes.set(title=title, xlabel="step")
    axes.grid(alpha=0.3)


def _draw_dice(path: Path, scores: Sequence[SpacingScore]) -> None:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    ticks = range(len(scores))
    for name in scores[0].dice:
        axes.plot(ticks, [score.dice[name] for score in scores], marker="o", label=name)
    axes.plot(ticks, [score.mean for score in scores], color="black", marker="s", label="mean")
    names = [format_spacing(score.spacing_mm, unit=False) for score in scores]
    axes.set_xticks(ticks, names, rotation=30, ha="right")
    axes.set(xlabel="spacing (mm, z × y × x)", ylabel="Dice")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
