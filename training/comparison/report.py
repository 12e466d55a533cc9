"""The report of a comparison: a page, and figures and numbers in a folder beside it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import nn

from napari_hyperspace.core.files import create_folder, write_bytes
from napari_hyperspace.nets.model_file import load_model
from training.comparison.config import ComparisonSection
from training.comparison.page import block, renew
from training.comparison.results import Results
from training.comparison.runs import ComparedRun, State
from training.comparison.summary import summarize_table
from training.comparison.tables import NOTHING_FINISHED, blocks_of_table, runs_table
from training.evaluation.figures import Curves, draw_segment, save_small_figure
from training.evaluation.plan import Group
from training.evaluation.summary import METRICS, plain

SUMMARY = "summary.json.gz"
"""Name of the file of numbers in the folder of a report."""


def describe_run(run: ComparedRun, state: State) -> dict[str, Any]:
    """Return the description of a run as plain data."""
    about: dict[str, Any] = {"run": run.label, "method": run.method, "seed": run.seed}
    about["state"] = state.value
    if state is not State.done:
        return about
    model = load_model(run.folder.model)
    trained = model.card.training
    network = model.network([low for low, _ in run.config.spacing.range_mm])
    return {
        **about,
        "steps": trained["steps"],
        "minutes": trained["seconds"] / 60,
        "validation_dice": trained["validation_dice"],
        "factory_parameters": _count(model.factory),
        "network_parameters": _count(network),
        "machine": trained["machine"],
        "commit": trained.get("commit"),
        "identity": model.identity,
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def write_report(
    page: Path, results: Results, runs: Sequence[ComparedRun], states: Mapping[str, State]
) -> dict[str, Any]:
    """Write page, figures and numbers; return the numbers.

    Parameters
    ----------
    page
        Markdown file; figures and numbers are written to a folder of the same name beside it.
    results
        Of the finished runs.
    runs, states
        All runs, and the state of each by its label.
    """
    section = results.comparison.section
    summary: dict[str, Any] = _rounded(
        plain(
            {
                "name": results.comparison.shared().name,
                "data": results.data,
                "cases": results.n_cases,
                "runs": [describe_run(run, states[run.label]) for run in runs],
                "tables": {key: summarize_table(results, key) for key in section.tables},
            }
        )
    )
    folder = page.with_suffix("")
    create_folder(folder)
    write_summary(folder / SUMMARY, summary)
    for path, figure in report_figures(section, summary, folder).items():
        save_small_figure(figure, path)
    blocks = report_blocks(section, summary, folder)
    first = [f"# {summary['name']}", "## Runs", block("runs", "")]
    for key, table in section.tables.items():
        own = [name for name in blocks if name.startswith(f"{key}/")]
        first += [f"## {table.title}", *(block(name, "") for name in own)]
    renew(page, blocks, "\n\n".join(first) + "\n")
    return summary


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write the numbers of a report as compressed JSON; the same numbers give the same file."""
    text = json.dumps(summary, separators=(",", ":"), ensure_ascii=False)
    write_bytes(path, gzip.compress(text.encode(), mtime=0))


def read_summary(path: Path) -> dict[str, Any]:
    """Read what `write_summary` wrote."""
    summary: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return summary


def _rounded(value: Any) -> Any:
    """Round to seven digits, more than a mean over cases has."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def report_blocks(
    section: ComparisonSection, summary: dict[str, Any], folder: Path
) -> dict[str, str]:
    """Return the generated parts of a page.

    Parameters
    ----------
    section
        The comparison.
    summary
        Its numbers.
    folder
        Folder of its figures.
    """
    blocks = {"runs": runs_table(summary["runs"])}
    for key, table in section.tables.items():
        numbers = summary["tables"][key]
        blocks |= blocks_of_table(key, numbers)
        if not section.times:
            blocks[f"{key}/seconds"] = (
                "*Times were not compared: the machine was shared with other work.*"
            )
        figures = [
            f"![{table.title}: {group.name}]({folder.name}/{key}-{number}.png)"
            for number, group in enumerate(_segments(section), start=1)
        ]
        blocks[f"{key}/figures"] = "\n\n".join(figures) if numbers else NOTHING_FINISHED
    return blocks


def report_figures(
    section: ComparisonSection, summary: dict[str, Any], folder: Path
) -> dict[Path, Figure]:
    """Return the figures of a report, by the file to write them to; parameters as above."""
    figures = {}
    for key, numbers in summary["tables"].items():
        if numbers is None:
            continue
        rows = {tuple(row["spacings_mm"][0]): row for row in numbers["spacings"]}
        ranges = {name: one["trained_range_mm"] for name, one in numbers["methods"].items()}
        for number, group in enumerate(_segments(section), start=1):
            means = [
                {
                    name: {metric: one[metric]["mean"] for metric in METRICS}
                    for name, one in rows[spacing]["methods"].items()
                }
                for spacing in group.spacings_mm
            ]
            title = f"{summary['data']}, {summary['cases']} cases, {group.name} (z × y × x)"
            figure = draw_segment(Curves(title, group.spacings_mm, means, ranges), section.times)
            figures[folder / f"{key}-{number}.png"] = figure
    return figures


def _segments(section: ComparisonSection) -> list[Group]:
    return [group for group in section.groups() if group.kind == "segment"]
