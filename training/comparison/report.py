"""The report of a comparison: a page, and figures and numbers in a folder beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from napari_hyperspace.core.files import write_text
from napari_hyperspace.nets.model_file import load_model
from training.comparison.page import block, renew
from training.comparison.results import Results
from training.comparison.runs import ComparedRun, State
from training.comparison.summary import summarize_table
from training.comparison.tables import blocks_of_table, runs_table
from training.evaluation.figures import draw_segment, save_figure
from training.evaluation.summary import plain


def describe_run(run: ComparedRun, state: State) -> dict[str, Any]:
    """Return what is known of a run as plain data."""
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
    """Write page, figures and ``summary.json``; return what the latter holds.

    Parameters
    ----------
    page
        Markdown file; its folder of figures and numbers is named as it is.
    results
        Of the runs that are done.
    runs, states
        All runs, and how far each is, by its label.
    """
    folder = page.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    section = results.comparison.section
    name = results.comparison.shared().name
    summary: dict[str, Any] = {
        "name": name,
        "runs": [describe_run(run, states[run.label]) for run in runs],
        "tables": {},
    }
    blocks = {"runs": runs_table(summary["runs"])}
    first = [f"# {name}", "## Runs", block("runs", "")]
    for key, table in section.tables.items():
        numbers = summarize_table(results, key)
        summary["tables"][key] = numbers
        own = blocks_of_table(key, numbers)
        if not section.times:
            own[f"{key}/seconds"] = "*Times were not compared: the machine did other work.*"
        own[f"{key}/figures"] = _figures(results, key, folder)
        blocks |= own
        first += [f"## {table.title}", *(block(name, "") for name in own)]
    summary = _rounded(plain(summary))
    write_text(folder / "summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    renew(page, blocks, "\n\n".join(first) + "\n")
    return summary


def _rounded(value: Any) -> Any:
    """Round to seven digits: the rest of a mean over cases is noise, and half of the file."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _figures(results: Results, key: str, folder: Path) -> str:
    """Draw a table's segments, and return the Markdown that shows them."""
    table = results.comparison.section.tables[key]
    seeds = results.seeds(table)
    if not seeds:
        return "*None of these runs is done yet.*"
    pooled = results.pool(seeds)
    segments = [group for group in pooled.groups if group.kind == "segment"]
    shown = []
    for number, group in enumerate(segments, start=1):
        stem = f"{key}-{number}"
        save_figure(
            draw_segment(pooled, group, results.comparison.section.times),
            folder,
            stem,
            (".png", ".svg"),
        )
        shown.append(f"![{table.title}: {group.name}]({folder.name}/{stem}.png)")
    return "\n\n".join(shown)
