"""The numbers of a comparison's tables: means, spreads, and whether methods differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.comparison.config import TableSection
from training.comparison.results import Results
from training.evaluation.evaluate import Evaluation
from training.evaluation.methods import Method, within
from training.evaluation.plan import Group, listed
from training.evaluation.summary import (
    METRICS,
    TESTED,
    mean,
    missed,
    plain,
    signed_rank,
    spread,
    table,
)

_LEVEL = 0.05


def summarize_table(results: Results, name: str) -> dict[str, Any] | None:
    """Return the numbers of a table as plain data; `None` where none of its runs is done.

    A sample is a case at a spacing: the mean over its labels and the method's seeds. Standard
    deviations (n - 1) are over samples. Each pair of methods is tested on the seeds they share, by
    Wilcoxon's signed rank over cases, each case's samples averaged first; p is corrected after
    Bonferroni for all tests of a measure in a block (``settings``, ``spacings``).

    Parameters
    ----------
    results
        Of the runs that are done.
    name
        Of the table.
    """
    section = results.comparison.section
    shown = section.tables[name]
    seeds = results.seeds(shown)
    if not seeds:
        return None
    whole = results.pool(seeds)
    spacings = listed(
        [s for group in whole.groups if group.kind == "segment" for s in group.spacings_mm]
    )
    settings = [group for group in whole.groups if group.kind != "segment"]
    numbers: dict[str, Any] = plain(
        {
            "title": shown.title,
            "methods": {
                method: {
                    "about": section.methods[method].about,
                    "outside": section.methods[method].outside,
                    "trained_range_mm": whole.models[method]["trained_range_mm"],
                    "seeds": own,
                    "absent_seeds": [s for s in section.seeds(shown, method) if s not in own],
                }
                for method, own in seeds.items()
            },
            "absent": [method for method in shown.methods if method not in seeds],
            "settings": _block(results, shown, seeds, whole, settings),
            "spacings": _block(results, shown, seeds, whole, spacings),
        }
    )
    return numbers


def _block(
    results: Results,
    shown: TableSection,
    seeds: dict[str, list[int]],
    whole: Evaluation,
    groups: Sequence[Group],
) -> list[dict[str, Any]]:
    """Return the rows of a table with their tests."""
    labels = {method.label: method for method in whole.methods}
    rows: list[dict[str, Any]] = []
    for group in groups:
        means = {}
        for label, method in labels.items():
            samples = table(whole, group, method)
            means[label] = {
                **{metric: spread(samples[metric]) for metric in METRICS},
                **missed(whole, group, method),
            }
        rows.append(
            {
                "name": group.name,
                "spacings_mm": list(group.spacings_mm) or None,
                "trained": {
                    label: _in_range(whole.models[label]["trained_range_mm"], group)
                    for label in labels
                },
                "methods": means,
                "by_seed": {label: {} for label in labels},
                "tests": [],
            }
        )
    for label, own in seeds.items():
        for seed in own:
            alone = results.pool({label: [seed]})
            for row, group in zip(rows, groups, strict=True):
                samples = table(alone, group, labels[label])
                row["by_seed"][label][str(seed)] = {
                    metric: spread(samples[metric])["mean"] for metric in TESTED
                }
    for first, second in shown.pairs:
        shared = [seed for seed in seeds.get(first, []) if seed in seeds.get(second, [])]
        if not shared:
            continue
        pair = results.pool({first: shared, second: shared})
        for row, group in zip(rows, groups, strict=True):
            sides = [_by_case(pair, group, labels[label]) for label in (first, second)]
            for metric in TESTED:
                row["tests"].append(
                    {
                        "first": first,
                        "second": second,
                        "metric": metric,
                        "seeds": shared,
                        **_test(sides[0][metric] - sides[1][metric]),
                    }
                )
    _correct(rows)
    return rows


def _in_range(ranges: Any, group: Group) -> bool | None:
    """Whether all spacings of a group lie in a trained range; `None` where that is not known."""
    if ranges is None or not group.spacings_mm:
        return None
    return all(within(ranges, spacing) for spacing in group.spacings_mm)


def _by_case(
    evaluation: Evaluation, group: Group, method: Method
) -> dict[str, NDArray[np.float64]]:
    samples = table(evaluation, group, method)
    return {metric: np.array([mean(line) for line in samples[metric]]) for metric in TESTED}


def _test(difference: NDArray[np.float64]) -> dict[str, Any]:
    known = difference[np.isfinite(difference)]
    return {
        "cases": len(known),
        "mean_difference": float(known.mean()) if known.size else None,
        "p": signed_rank(known),
    }


def _correct(rows: Sequence[dict[str, Any]]) -> None:
    """Correct all p of a block after Bonferroni, and say what they mean."""
    for metric in TESTED:
        tests = [t for row in rows for t in row["tests"] if t["metric"] == metric]
        known = sum(test["p"] is not None for test in tests)
        for test in tests:
            test["p_corrected"] = None if test["p"] is None else min(1.0, test["p"] * known)
            test["verdict"] = _verdict(test)


def _verdict(test: dict[str, Any]) -> str:
    p, difference = test["p_corrected"], test["mean_difference"]
    if p is None or p >= _LEVEL or not difference:
        return "tie"
    return "win" if difference > 0 else "loss"
