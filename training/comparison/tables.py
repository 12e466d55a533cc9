"""The numbers of a comparison as Markdown, in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_hyperspace.core.format import format_spacing
from training.evaluation.scores import markdown_table
from training.evaluation.summary import METRICS
from training.evaluation.tables import cell

NOTHING_FINISHED = "*None of these runs is done yet.*"
_SIGNS = {"win": "**{}**", "loss": "*{}*", "tie": "{}"}
_HIGHER_IS_BETTER = ("dice", "surface")
_NO_BEST = ("volume", "seconds", "peak")  # a signed error; costs, which vary from run to run
_MEASURES = {
    "dice": "dice_working",
    "native": "dice_native",
    "hd95": "hd95_native_mm",
    "volume": "volume_error_native_ml",
    "seconds": "seconds_working",
    "memory": "peak_bytes_working",
}


def blocks_of_table(name: str, numbers: dict[str, Any] | None) -> dict[str, str]:
    """Return the blocks of a table, by ``TABLE/BLOCK``.

    Parameters
    ----------
    name
        Name of the table.
    numbers
        From `training.comparison.summary.summarize_table`.
    """
    if numbers is None:
        return {f"{name}/{what}": NOTHING_FINISHED for what in ("methods", *_MEASURES, *_OTHERS)}
    blocks = {"methods": _methods(numbers)}
    blocks |= {what: settings_table(numbers, metric) for what, metric in _MEASURES.items()}
    blocks["hd95"] += _missed(numbers)
    blocks |= {what: make(numbers) for what, make in _OTHERS.items()}
    return {f"{name}/{what}": text for what, text in blocks.items()}


def settings_table(numbers: dict[str, Any], metric: str) -> str:
    """Return mean (std) with a row per setting and a column per method, the best mean in bold."""
    methods = list(numbers["methods"])
    rows = [[r["name"], *_best_in_bold(r, methods, metric)] for r in numbers["settings"]]
    header = METRICS[metric].replace("(bytes)", "(MB)")
    return markdown_table([header, *methods], rows)


def _missed(numbers: dict[str, Any]) -> str:
    """Return how many structures HD95 leaves out, in favor of the method that misses them."""
    shares = []
    for method in numbers["methods"]:
        out, of = (
            sum(row["methods"][method][key] for row in numbers["settings"])
            for key in ("missed", "structures")
        )
        if out:
            shares.append(f"{method} {out} of {of}")
    if not shares:
        return ""
    return (
        "\n\nStructures with voxels in only one of truth and prediction have no HD95 and are left "
        f"out here: {', '.join(shares)}."
    )


def _best_in_bold(row: dict[str, Any], methods: Sequence[str], metric: str) -> list[str]:
    texts = [cell(row["methods"][method][metric], metric) for method in methods]
    if metric.startswith(_NO_BEST):
        return texts
    # Compared as written: equal text is equally good.
    shown = {text: float(text.split()[0]) for text in texts if text != "–"}
    if not shown:
        return texts
    best = (max if metric.startswith(_HIGHER_IS_BETTER) else min)(shown.values())
    return [f"**{text}**" if shown.get(text) == best else text for text in texts]


def _spacings(numbers: dict[str, Any]) -> str:
    """Return Dice on the working grid at each spacing, and the differences of the pairs."""
    methods = list(numbers["methods"])
    pairs = _pairs(numbers)
    rows = []
    for row in numbers["spacings"]:
        means = [row["methods"][method]["dice_working"]["mean"] for method in methods]
        inside = row["trained"][methods[0]]
        name = format_spacing(row["spacings_mm"][0], unit=False)
        rows.append(
            [
                name if inside is not False else f"{name} (outside)",
                *("–" if value is None else f"{value:.3f}" for value in means),
                *(_difference(_find(row, pair, "dice_working")) for pair in pairs),
            ]
        )
    header = ["spacing (mm)", *methods, *(f"{first} − {second}" for first, second in pairs)]
    return markdown_table(header, rows)


def _differences(numbers: dict[str, Any]) -> str:
    """Return the differences of the pairs in each setting, on both grids."""
    pairs = _pairs(numbers)
    if not pairs:
        return "*No two of these methods are there to be tested.*"
    rows = [
        [f"{row['name']}, {grid} grid", *(_tested(_find(row, pair, metric)) for pair in pairs)]
        for metric, grid in (("dice_working", "working"), ("dice_native", "native"))
        for row in numbers["settings"]
    ]
    header = ["Dice, mean difference (p corrected)"]
    return markdown_table([*header, *(f"{first} − {second}" for first, second in pairs)], rows)


def _verdicts(numbers: dict[str, Any]) -> str:
    """Count where the first of each pair wins, ties and loses, and where it is worst."""
    rows = []
    for first, second in _pairs(numbers):
        for title, inside in (("inside", True), ("outside", False)):
            tests = [
                (row, _find(row, (first, second), "dice_working"))
                for row in numbers["spacings"]
                if row["trained"][first] is inside
            ]
            known = [(row, t) for row, t in tests if t["mean_difference"] is not None]
            if not known:
                continue
            worst, best = (
                choose(known, key=lambda found: found[1]["mean_difference"])
                for choose in (min, max)
            )
            counts = [sum(t["verdict"] == v for _, t in known) for v in ("win", "tie", "loss")]
            rows.append(
                [
                    f"{first} against {second}, {title}",
                    *map(str, counts),
                    *(f"{t['mean_difference']:+.3f} at {_where(row)}" for row, t in (worst, best)),
                ]
            )
    if not rows:
        return "*No two of these methods are there to be tested.*"
    header = ["trained range of the first", "wins", "ties", "losses", "worst", "best"]
    return markdown_table(header, rows)


def _where(row: dict[str, Any]) -> str:
    return format_spacing(row["spacings_mm"][0], unit=False)


def _seeds(numbers: dict[str, Any]) -> str:
    """Return the mean Dice of each seed in each setting."""
    columns = [(m, str(seed)) for m, one in numbers["methods"].items() for seed in one["seeds"]]
    rows = []
    for row in numbers["settings"]:
        values = [row["by_seed"][method][seed]["dice_working"] for method, seed in columns]
        rows.append([row["name"], *("–" if value is None else f"{value:.3f}" for value in values)])
    header = ["Dice, working grid", *(f"{method}, {seed}" for method, seed in columns)]
    return markdown_table(header, rows)


def _methods(numbers: dict[str, Any]) -> str:
    """Return a list of the methods."""
    lines = []
    for method, one in numbers["methods"].items():
        seeds = ", ".join(map(str, one["seeds"]))
        lines.append(f"- **{method}**: {one['about']} Seed{'s' * (len(one['seeds']) > 1)} {seeds}.")
    return "\n".join(lines) + _absent(numbers)


def _absent(numbers: dict[str, Any]) -> str:
    """Return a line that lists the missing runs of a table."""
    parts = [f"{method} (no run is done)" for method in numbers["absent"]]
    parts += [
        f"{method} (seed {', '.join(map(str, one['absent_seeds']))})"
        for method, one in numbers["methods"].items()
        if one["absent_seeds"]
    ]
    return f"\n\nNot there: {'; '.join(parts)}." if parts else ""


_OTHERS = {
    "spacings": _spacings,
    "verdicts": _verdicts,
    "differences": _differences,
    "seeds": _seeds,
}


def _pairs(numbers: dict[str, Any]) -> list[tuple[str, str]]:
    tests = [t for row in numbers["settings"] + numbers["spacings"] for t in row["tests"]]
    return list(dict.fromkeys((test["first"], test["second"]) for test in tests))


def _find(row: dict[str, Any], pair: tuple[str, str], metric: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        test
        for test in row["tests"]
        if (test["first"], test["second"]) == pair and test["metric"] == metric
    )
    return found


def _difference(test: dict[str, Any]) -> str:
    """Write a difference: bold if the first method wins, italic if it loses."""
    if test["mean_difference"] is None:
        return "–"
    return _SIGNS[test["verdict"]].format(f"{test['mean_difference']:+.3f}")


def _tested(test: dict[str, Any]) -> str:
    p = test["p_corrected"]
    return _difference(test) + ("" if p is None else f" ({p:.2g})")


def runs_table(runs: Sequence[dict[str, Any]]) -> str:
    """Return a table of all runs, finished or not."""
    rows = [
        [
            run["run"],
            run["state"],
            *(
                "–" if run.get(key) is None else text.format(run[key])
                for key, text in (
                    ("steps", "{}"),
                    ("minutes", "{:.1f}"),
                    ("factory_parameters", "{:,}"),
                    ("network_parameters", "{:,}"),
                    ("validation_dice", "{:.4f}"),
                )
            ),
        ]
        for run in runs
    ]
    header = [
        "run", "state", "steps", "minutes", "weights trained", "weights of a network",
        "Dice of the validation",
    ]  # fmt: skip
    return markdown_table(header, rows)
