"""The numbers of a comparison's tables: means, standard deviations, and tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from napari_hyperspace.core.spacing import Range, in_ranges
from training.comparison.config import TableSection
from training.comparison.results import Results
from training.evaluation.evaluate import Evaluation
from training.evaluation.plan import Group, listed
from training.evaluation.summary import (
    TESTED,
    missed,
    paired_test,
    plain,
    rows_of,
    samples,
    samples_of,
    spreads,
)

_LEVEL = 0.05


def summarize_table(results: Results, name: str) -> dict[str, Any] | None:
    """Return the numbers of a table as plain data; `None` if none of its runs is finished.

    A sample is a case at a spacing: the mean over its labels and the method's seeds. Standard
    deviations (n - 1) are over samples. Each pair of methods is tested on the seeds they share, by
    Wilcoxon's signed rank over cases, each case's samples averaged first; p is corrected after
    Bonferroni for all tests of a measure in a block (``settings``, ``spacings``).

    Parameters
    ----------
    results
        Of the finished runs.
    name
        Name of the table.
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
            "settings": _block(shown, seeds, whole, settings),
            "spacings": _block(shown, seeds, whole, spacings),
        }
    )
    return numbers


def _block(
    shown: TableSection,
    seeds: Mapping[str, Sequence[int]],
    whole: Evaluation,
    groups: Sequence[Group],
) -> list[dict[str, Any]]:
    """Return the rows of a table with their tests."""
    rows: list[dict[str, Any]] = []
    for group in groups:
        measured = rows_of(whole, group)
        found = samples(measured)
        per_seed = samples(measured, "seed")[list(TESTED)].groupby(["model", "seed"]).mean()
        by_seed = per_seed.to_dict("index")
        rows.append(
            {
                "name": group.name,
                "spacings_mm": group.spacings_mm or None,
                "trained": {
                    label: _in_range(whole.models[label]["trained_range_mm"], group)
                    for label in seeds
                },
                "methods": {
                    label: {
                        **spreads(samples_of(found, label)),
                        **missed(measured[measured["model"] == label]),
                    }
                    for label in seeds
                },
                "by_seed": {
                    label: {str(seed): by_seed[label, seed] for seed in own}
                    for label, own in seeds.items()
                },
                "tests": _tests(measured, shown.pairs, seeds),
            }
        )
    _correct(rows)
    return rows


def _tests(
    measured: pd.DataFrame, pairs: Sequence[tuple[str, str]], seeds: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """Test each pair on the seeds that both have."""
    tests = []
    for first, second in pairs:
        shared = [seed for seed in seeds.get(first, []) if seed in seeds.get(second, [])]
        if not shared:
            continue
        found = samples(measured[measured["seed"].isin(shared)])
        tests += [
            {
                "first": first,
                "second": second,
                "metric": metric,
                "seeds": shared,
                **paired_test(found, first, second, metric),
            }
            for metric in TESTED
        ]
    return tests


def _in_range(ranges: Sequence[Range] | None, group: Group) -> bool | None:
    """Whether all spacings of a group lie in a trained range; `None` if that is unknown."""
    if ranges is None or not group.spacings_mm:
        return None
    return all(in_ranges(spacing, ranges) for spacing in group.spacings_mm)


def _correct(rows: Sequence[dict[str, Any]]) -> None:
    """Correct all p of a block after Bonferroni, and add the verdicts."""
    for metric in TESTED:
        tests = [t for row in rows for t in row["tests"] if t["metric"] == metric]
        known = sum(test["p"] is not None for test in tests)
        for test in tests:
            test["p_corrected"] = None if test["p"] is None else min(1.0, test["p"] * known)
            test["verdict"] = _verdict(test)


def _verdict(test: dict[str, Any]) -> str:
    p, difference = test["p_corrected"], test["mean_difference"]
    if p is None or p >= _LEVEL or difference == 0:
        return "tie"
    return "win" if difference > 0 else "loss"
