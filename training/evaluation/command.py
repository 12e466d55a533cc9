"""The command `evaluate`: measure, and write rows, summary and figures."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import resolved, write_text
from napari_hyperspace.core.progress import ReportProgress
from training.data.base import DataSet
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.figures import Curves, draw_segment, save_figure
from training.evaluation.measure import Measurer, Settings
from training.evaluation.methods import Method
from training.evaluation.pictures import draw_case
from training.evaluation.plan import Group
from training.evaluation.record import write_card
from training.evaluation.rows import check_format, write_rows
from training.evaluation.scores import dice_table, mean_dice
from training.evaluation.summary import plain, spacing_scores, summarize
from training.evaluation.tables import method_table, report, test_table


@dataclass(frozen=True)
class Output:
    """The files that an evaluation writes.

    Parameters
    ----------
    folder
        Folder for rows, summary and figures; `None`: nothing is written.
    rows
        Name of the file of rows in it: CSV, or Parquet, which is written at the end beside the CSV.
    picture
        Case to draw; empty: the first.
    cards
        Whether to store the Dice in the model files.
    """

    folder: Path | None = None
    rows: str = "rows.csv"
    picture: str = ""
    cards: bool = False


def run(
    methods: Sequence[Method],
    dataset: DataSet,
    names: Sequence[str],
    groups: Sequence[Group],
    settings: Settings,
    output: Output,
    *,
    processes: int = 1,
    show: ReportProgress = lambda fraction, message: None,
) -> tuple[dict[str, Any], str]:
    """Evaluate, write the files, and return the result as data and as text.

    Parameters
    ----------
    methods, dataset, names, groups, settings, processes, show
        As in `training.evaluation.evaluate.evaluate`.
    output
        The files to write.

    Raises
    ------
    HyperspaceError
        As in `evaluate`, or if the files of ``output`` cannot be made from these spacings or cases.
    """
    folder = output.folder
    if output.cards and not any(group.kind in ("spacing", "segment") for group in groups):
        raise HyperspaceError(
            "a card stores Dice at fixed spacings, but none is given",
            field="--write-card",
            fix="Give --spacings or --segment",
        )
    if output.picture and output.picture not in names:
        raise HyperspaceError(
            "no such case among those to measure",
            field="--picture",
            found=output.picture,
            expected=f"one of {len(names)} such as {names[0]}",
        )
    if folder is not None:
        _check_inside(folder, output.rows)
        check_format(folder / output.rows)
    rows_file = None if folder is None else (folder / output.rows).with_suffix(".csv")
    evaluation = evaluate(
        methods,
        dataset,
        names,
        groups,
        settings=settings,
        rows_file=rows_file,
        processes=processes,
        show=show,
    )
    summary = summarize(evaluation)
    files: list[Path] = []
    if folder is not None:
        show(1.0, "drawing")
        files = _write(evaluation, summary, folder, Measurer(dataset, settings), output)
    if output.cards:
        for model in {method.model: method for method in reversed(methods)}.values():
            files.append(write_card(evaluation, model))
    return _result(evaluation, summary, files), _text(evaluation, summary, files)


def _check_inside(folder: Path, rows: str) -> None:
    """Refuse rows outside of their folder, where they could replace a file of something else."""
    if not resolved(folder / rows).is_relative_to(resolved(folder)):
        raise HyperspaceError(
            "the rows are written to the folder of the evaluation",
            field="--rows",
            found=rows,
            expected="the name of a file in it",
        )


def _write(
    evaluation: Evaluation,
    summary: dict[str, Any],
    folder: Path,
    measurer: Measurer,
    output: Output,
) -> list[Path]:
    files = [folder / output.rows, folder / "summary.json", folder / "summary.md"]
    if files[0].suffix == ".parquet":
        write_rows(files[0], evaluation.rows)
    pictures = []
    segments = [group for group in summary["groups"] if group["kind"] == "segment"]
    for number, group in enumerate(segments, start=1):
        curves = Curves(
            f"{evaluation.data}, {len(evaluation.cases)} cases, "
            f"{group['name'].removeprefix(evaluation.data).strip()} (z × y × x)",
            [tuple(each["spacing_mm"]) for each in group["by_spacing"]],
            [each["methods"] for each in group["by_spacing"]],
            {label: model["trained_range_mm"] for label, model in evaluation.models.items()},
        )
        pictures += save_figure(draw_segment(curves), folder, f"segment-{number}", (".png", ".svg"))
    case = output.picture or next(iter(evaluation.cases))
    stem = "case-" + re.sub(r"[^\w.-]+", "-", case)
    pictures += save_figure(draw_case(evaluation, measurer, case), folder, stem, (".png",))
    write_text(files[1], json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    write_text(files[2], report(summary, [path for path in pictures if path.suffix == ".png"]))
    return [*files, *pictures]


def _result(evaluation: Evaluation, summary: dict[str, Any], files: list[Path]) -> dict[str, Any]:
    """Return the summary, and of a single model also its scores at fixed spacings."""
    result: dict[str, Any] = {
        "data": evaluation.data,
        "cases": list(evaluation.cases),
        "grid": "working",
        "summary": summary,
        "files": [str(path) for path in files],
    }
    if len(evaluation.methods) == 1:
        (method,) = evaluation.methods
        scores = spacing_scores(evaluation, method)
        result = {
            "model": method.label,
            "identity": evaluation.models[method.label]["identity"],
            **result,
            "mean_dice": plain(mean_dice(scores)),
            "spacings": [score.to_dict() for score in scores],
        }
    return result


def _text(evaluation: Evaluation, summary: dict[str, Any], files: list[Path]) -> str:
    parts = [method_table(summary, metric) for metric in ("dice_working", "dice_native")]
    if len(evaluation.methods) == 1:
        scores = spacing_scores(evaluation, evaluation.methods[0])
        if scores:
            parts.insert(0, dice_table(scores))
    parts += [test_table(summary), "\n".join(map(str, files))]
    return "\n\n".join(part for part in parts if part)
