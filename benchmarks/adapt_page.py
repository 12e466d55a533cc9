"""The page of results of `benchmarks.adapt`, from its JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.files import write_text

SAMPLES = 10_000
UNCHANGED = "unchanged"
AT = (1.0, 2.0, 3.0)
KINDS = ("contrast", "outline", "boundary")
DECISION = "0030-adapting"
AIM = 0.01  # gain at each spacing
_INTRODUCTION = """# Adapting to one corrected scan

Does one corrected scan improve a model on further scans of the same kind, also at other spacings?
The bundled model `hippocampus` is adapted to one scan at 2 mm, as `hyperspace adapt` does it, and
judged on {scans} other scans at 1, 2 and 3 mm: mean Dice of the two labels on the scans' own grids
of 1 mm. The model was not trained on any of these scans; but its checkpoint was chosen by their
mean Dice, so that the model as it is may look a little better than it is. Learning rate, steps,
spread and what is adapted were chosen with other scans
([decision](../decisions/{decision}.md)).

Further scans are simulated by a change of all scans. *Contrast*: the image is inverted, to the
negative between its 0.5th and 99.5th percentile. *Outline*: the outline of the labels is 1 mm
further out. *Boundary*: what lies behind the anterior part, up to 4 mm from it, belongs to it and
not to the posterior part.

Each row is the mean of {seeds} runs, adapted to different scans, unless it says how many.
Differences are paired by scan; in brackets is the 95 % interval of a bootstrap over runs and scans.
An interrupted command continues:

```bash
python -m benchmarks.adapt
```

All numbers: [summary.json](adapt/summary.json).
"""
_ROWS = {
    "adapted": "`hyperspace adapt`: the part of the weights that all spacings share is trained at "
    "2 mm, and in every second step at 1 or 4 mm. One model for all spacings.",
    "all weights": "the same steps, but all weights of the factory are trained (`--weights all`).",
    "plain, as it is": "the network that the factory makes for 2 mm, all its weights trained at "
    "2 mm in as many steps, and used at each spacing. Before it is adapted, it is already worse "
    "at 1 and 3 mm than the networks that the factory makes for them.",
    "plain, resampled": "the same network, always run at 2 mm on the scan of 1 mm, whatever "
    "spacing is asked for. At 3 mm it does more than three times the work of the others.",
}


def write_page(values: Mapping[str, Any], path: Path) -> None:
    """Write the page."""
    write_text(path, page(values))


def page(values: Mapping[str, Any]) -> str:
    """Return the page in Markdown, also of runs that are not complete."""
    table = _Table(values)
    introduction = _INTRODUCTION.format(
        scans=len(table.scans), seeds=len(table.seeds), decision=DECISION
    )
    parts = [
        introduction,
        "## Summary\n",
        "\n".join(_summary(table)),
        "\n## Further scans of the same kind\n",
        "\n".join(f"- **{name}**: {text}" for name, text in _ROWS.items()) + "\n",
    ]
    parts += [f"### {kind.capitalize()}\n\n{table.of_kind(kind)}\n" for kind in table.kinds]
    parts += [
        "## Scans as they are\n",
        "The adapted models at 2 mm on the same scans and labels without the change. The bundled "
        f"model reaches {table.bundled(UNCHANGED, 2.0).mean():.3f}. Where another convention was "
        "learned, a loss is what was asked for.\n",
        table.unchanged(),
        "\n## Single runs\n",
        table.runs(values["runs"]),
        f"\n{values['machine']}, beside other programs. The Dice of the corrected scan is that of "
        "2 mm, before and after.\n",
    ]
    return "\n".join(parts)


class _Table:
    """The rows of the JSON file as arrays."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.scans: Sequence[str] = values["scans"]
        keys = ("kind", "method", "seed", "scored_on", "spacing_mm")
        self._dice = {tuple(row[key] for key in keys): row["dice"] for row in values["rows"]}
        self.seeds = sorted({row["seed"] for row in values["rows"]})
        self.kinds = [kind for kind in KINDS if "adapted" in self.rows(kind)]

    def rows(self, kind: str) -> list[str]:
        """Return the rows of a table that there are runs of."""
        return [name for name in _ROWS if self.runs_of(kind, name)]

    def runs_of(self, kind: str, name: str) -> list[int]:
        """Return the seeds of the runs of a row."""
        return [i for i in self.seeds if (kind, name.split(",")[0], i, kind, 2.0) in self._dice]

    def bundled(self, kind: str, spacing: float) -> NDArray[np.float64]:
        """Return the Dice of the bundled model (scans,)."""
        return np.array(self._dice[kind, "bundled", 0, kind, spacing])

    def adapted(
        self, kind: str, method: str, spacing: float, scored_on: str | None = None
    ) -> NDArray[np.float64]:
        """Return the Dice of the adapted models (runs, scans)."""
        on = scored_on or kind
        seeds = self.runs_of(kind, method)
        return np.array([self._dice[kind, method, seed, on, spacing] for seed in seeds])

    def row(self, kind: str, name: str) -> list[NDArray[np.float64]]:
        """Return the Dice of a row of a table, at each spacing."""
        method = name.split(",")[0]
        return [self.adapted(kind, method, 2.0 if "resampled" in name else at) for at in AT]

    def differences(self, kind: str, name: str) -> list[NDArray[np.float64]]:
        """Return how much better ``adapted`` is than a row, run by run, at each spacing."""
        shared = [self.runs_of(kind, "adapted").index(i) for i in self.runs_of(kind, name)]
        own, other = self.row(kind, "adapted"), self.row(kind, name)
        return [a[shared] - b for a, b in zip(own, other, strict=True)]

    def of_kind(self, kind: str) -> str:
        """Return the table of a kind of scans."""
        before = [self.bundled(kind, at) for at in AT]
        lines = [
            "| Dice | " + " | ".join(f"{at:g} mm" for at in AT) + " |",
            "| --- |" + " ---: |" * len(AT),
            _line("as it is", [f"{dice.mean():.3f}" for dice in before]),
        ]
        rows = {name: self.row(kind, name) for name in self.rows(kind)}
        for name, row in rows.items():
            cells = [
                f"{dice.mean():.3f}: {_with_interval(dice - own)}"
                for dice, own in zip(row, before, strict=True)
            ]
            n_runs = len(self.runs_of(kind, name))
            some = "" if n_runs == len(self.seeds) else f" (runs: {n_runs})"
            lines.append(_line(f"{name}{some}", cells))
        for name in list(rows)[1:]:
            cells = [_with_interval(difference) for difference in self.differences(kind, name)]
            lines.append(_line(f"adapted − {name}", cells))
        return "\n".join(lines)

    def unchanged(self) -> str:
        """Return the table of the scans as they are."""
        before = self.bundled(UNCHANGED, 2.0)
        lines = ["| adapted to | difference at 2 mm |", "| --- | ---: |"]
        for kind in self.kinds:
            after = self.adapted(kind, "adapted", 2.0, UNCHANGED)
            lines.append(_line(kind, [_with_interval(after - before)]))
        return "\n".join(lines)

    def runs(self, runs: Sequence[Mapping[str, Any]]) -> str:
        """Return the table of single runs of ``adapted``."""
        heads = [f"gain at {at:g} mm" for at in AT]
        lines = [
            _line(
                "kind",
                ["adapted to", *heads, "on the corrected scan", "steps", "processor time"],
            ),
            "| --- | --- |" + " ---: |" * (len(AT) + 3),
        ]
        for run in runs:
            if run["method"] != "adapted" or run["kind"] not in self.kinds:
                continue
            place = self.runs_of(run["kind"], "adapted").index(run["seed"])
            gains = [
                self.adapted(run["kind"], "adapted", at)[place] - self.bundled(run["kind"], at)
                for at in AT
            ]
            cells = [run["adapted_to"], *(f"{gain.mean():+.3f}" for gain in gains)]
            cells.append(f"{run['dice_before']:.3f} → {run['dice_after']:.3f}")
            cells += [str(run["steps"]), f"{run['cpu_seconds']:.0f} s"]
            lines.append(_line(run["kind"], cells))
        return "\n".join(lines)


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | " + " | ".join(cells) + " |"


def interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of differences (runs, scans), by bootstrap over both."""
    rng = np.random.default_rng(0)
    runs, scans = differences.shape
    a = rng.integers(runs, size=(SAMPLES, runs))
    b = rng.integers(scans, size=(SAMPLES, scans))
    means = differences[a[:, :, None], b[:, None, :]].mean(axis=(1, 2))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _with_interval(differences: NDArray[np.float64]) -> str:
    low, high = interval(differences)
    text = f"{differences.mean():+.3f}"
    return f"{f'**{text}**' if low > 0 or high < 0 else text} [{low:+.3f}, {high:+.3f}]"


def _summary(table: _Table) -> list[str]:
    """Return what is seen in the tables: gains, and how the other methods compare."""
    lines = []
    for kind in table.kinds:
        own, rows = table.row(kind, "adapted"), table.rows(kind)
        gains = [dice - table.bundled(kind, at) for dice, at in zip(own, AT, strict=True)]
        parts = [f"{gain.mean():+.3f} at {at:g} mm" for gain, at in zip(gains, AT, strict=True)]
        reached = all(gain.mean() >= AIM and interval(gain)[0] > 0 for gain in gains)
        missed = "" if reached else f" The aim, {AIM:+.2f} and an interval above 0, is missed."
        lines.append(f"- *{kind.capitalize()}*: {', '.join(parts)}.{missed}")
        for name in rows[1:]:
            words = [
                f"{_verdict(difference)} at {at:g} mm"
                for difference, at in zip(table.differences(kind, name), AT, strict=True)
            ]
            lines.append(f"  Compared with {name}: {', '.join(words)}.")
    return lines


def _verdict(difference: NDArray[np.float64]) -> str:
    low, high = interval(difference)
    if low <= 0 <= high:
        return "no clear difference"
    return f"{abs(difference.mean()):.3f} {'better' if low > 0 else 'worse'}"
