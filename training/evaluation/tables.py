"""The summary as Markdown, in the form of table 2 of Joutard et al., MICCAI 2024."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training.evaluation.scores import markdown_table
from training.evaluation.summary import METRICS, TESTED

_DIGITS = {"dice": 3, "hd95": 2, "surface": 3, "volume": 3, "seconds": 3}


def method_table(summary: dict[str, Any], metric: str) -> str:
    """Return a Markdown table of mean (std) with a row per group and a column per method."""
    methods = list(summary["models"])
    rows = [
        [group["name"], *(cell(group["methods"][m][metric], metric) for m in methods)]
        for group in summary["groups"]
    ]
    return markdown_table([METRICS[metric].replace("(bytes)", "(MB)"), *methods], rows)


def cell(value: dict[str, Any], metric: str) -> str:
    """Write the mean (std) of a metric."""
    if value["mean"] is None:
        return "–"
    scale, digits = (1e6, 1) if metric.startswith("peak") else (1.0, _DIGITS[metric.split("_")[0]])
    text = f"{value['mean'] / scale:.{digits}f}"
    return text if value["std"] is None else f"{text} ({value['std'] / scale:.{digits}f})"


def test_table(summary: dict[str, Any]) -> str:
    """Return a Markdown table of the tests between methods; empty for a single method."""
    rows = [
        [
            group["name"],
            METRICS[test["metric"]],
            f"{test['first']} − {test['second']}",
            "–" if test["mean_difference"] is None else f"{test['mean_difference']:+.4f}",
            str(test["cases"]),
            *("–" if test[p] is None else f"{test[p]:.2g}" for p in ("p", "p_corrected")),
        ]
        for group in summary["groups"]
        for test in group["tests"]
        if test["metric"] in TESTED
    ]
    header = ["", "measure", "methods", "mean difference", "cases", "p", "p, corrected"]
    return markdown_table(header, rows) if rows else ""


def report(summary: dict[str, Any], pictures: Sequence[Path]) -> str:
    """Return the whole summary as Markdown.

    Parameters
    ----------
    summary
        From `training.evaluation.summary.summarize`.
    pictures
        Figures to show; files in the folder of the summary.
    """
    tolerance = summary["tolerance_mm"]
    within = "1 mm, or the scan's largest step" if tolerance is None else f"{tolerance:g} mm"
    missed = {
        label: sum(group["methods"][label]["missed"] for group in summary["groups"])
        for label in summary["models"]
    }
    parts = [
        f"# Evaluation on {summary['data']}",
        f"{len(summary['cases'])} cases. Mean (standard deviation) over cases and spacings of the "
        "mean over labels. *Working grid*: the scan is the image resampled to the spacing. *Native "
        "grid*: the scan as it is, segmented at the spacing, labels on its own grid. Surface Dice "
        f"within {within}. Volume errors are signed. Times include making the network.",
        *(method_table(summary, metric) for metric in METRICS),
    ]
    if any(missed.values()):
        counts = ", ".join(f"{label} {count}" for label, count in missed.items())
        parts.append(
            "Structures with voxels in only one of truth and prediction have no surface distance "
            f"and are left out of HD95; their number on the native grid: {counts}."
        )
    tests = test_table(summary)
    if tests:
        parts += [
            "## Differences between methods",
            "Wilcoxon's signed rank over cases (samples of a case averaged first); p corrected "
            "after Bonferroni for the pairs of methods in a row of the table.",
            tests,
        ]
    parts += [f"![{path.stem}]({path.name})" for path in pictures]
    return "\n\n".join(parts) + "\n"
