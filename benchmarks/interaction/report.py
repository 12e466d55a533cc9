"""Tables of the measurements, in a Markdown page whose other text is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.interaction.loop import COUNTS
from training.comparison.page import block, renew

Row = Mapping[str, Any]
_BLOCKS = ("about", "nothing", "brain", "times", "coarse", "memory")
_FIRST = """# Refinement, and corrections by strokes

```bash
python -m benchmarks.interaction --model refine
```
"""


def write_page(results: Mapping[str, Any], path: Path) -> None:
    """Write the tables of some results, or replace those of a page."""
    rows = results["interaction"]
    blocks = {
        "about": about(results),
        "nothing": dice_table([row for row in rows if row["scenario"] == "nothing"]),
        "brain": dice_table([row for row in rows if row["scenario"] == "brain"]),
        "times": time_table(rows),
        "coarse": coarse_table(results["coarse"]),
        "memory": memory_table(results["memory"]),
    }
    renew(path, blocks, _FIRST + "".join(f"\n{block(name, '')}\n" for name in _BLOCKS))


def about(results: Mapping[str, Any]) -> str:
    """Say what was measured with."""
    return (
        f"Model: digest `{results['model_digest'][:16]}`, {results['model_steps']} training steps. "
        f"Machine: {results['machine']}. Seed {results['seed']}."
    )


def dice_table(rows: Sequence[Row]) -> str:
    """Return Dice after each number of strokes, and in brackets that of unpainted voxels."""
    if not rows:
        return "Not measured."
    counts = [count for count in COUNTS if count or any(_answer(row, 0)["dice"] for row in rows)]
    lines = [
        _line(["scans", "structures", "n", "method", *(_strokes(count) for count in counts)]),
        _line(["---", "---", "---:", "---", *["---:"] * len(counts)]),
    ]
    for (group, structures), each in _groups(rows):
        for method, some in _by(each, lambda row: row["method"]):
            cells = [
                f"{_mean(_answer(row, count)['dice'] for row in some):.3f} "
                f"({_mean(_answer(row, count)['dice_unpainted'] for row in some):.3f})"
                for count in counts
            ]
            lines.append(_line([group, structures, str(len(some)), method, *cells]))
    return "\n".join(lines)


def time_table(rows: Sequence[Row]) -> str:
    """Return the time of the answers, by kind of scan and method."""
    if not rows:
        return "Not measured."
    lines = [
        _line(["scans", "method", "answers", "median (s)", "95th percentile (s)", "longest (s)"]),
        _line(["---", "---", "---:", "---:", "---:", "---:"]),
    ]
    for (group, method), some in _by(rows, lambda row: (row["group"], row["method"])):
        times = sorted(
            answer["seconds"] for row in some for answer in row["answers"] if answer["strokes"]
        )
        if method == "strokes alone":
            continue
        high = times[min(len(times) - 1, int(0.95 * len(times)))]
        cells = [f"{t:.2f}" for t in (statistics.median(times), high, times[-1])]
        lines.append(_line([group, method, str(len(times)), *cells]))
    return "\n".join(lines)


def coarse_table(rows: Sequence[Row]) -> str:
    """Return Dice and HD95 from masks of each spacing."""
    if not rows:
        return "Not measured."
    spacings = sorted({row["coarse_mm"] for row in rows})
    lines = [
        _line(["scans", "structures", "n", "method", *(f"{s:g} mm" for s in spacings)]),
        _line(["---", "---", "---:", "---", *["---:"] * len(spacings)]),
    ]
    for (group, structures), each in _groups(rows):
        for method, some in _by(each, lambda row: row["method"]):
            cells = []
            for spacing in spacings:
                here = [row for row in some if row["coarse_mm"] == spacing]
                cells.append(
                    f"{_mean(row['dice'] for row in here):.3f} / "
                    f"{_mean(row['hd95_mm'] for row in here):.2f}"
                    if here
                    else "–"
                )
            n = len({(row["name"], row["structure"]) for row in some})
            lines.append(_line([group, structures, str(n), method, *cells]))
    return "\n".join(lines)


def memory_table(rows: Sequence[Row]) -> str:
    """Return memory and time against the number of structures."""
    if not rows:
        return "Not measured."
    lines = [
        _line(["structures", "peak memory (MB)", "time (s)", "all logits at once (MB)"]),
        _line(["---:"] * 4),
    ]
    lines += [
        _line(
            [
                str(row["structures"]),
                f"{row['peak_bytes'] / 1e6:.0f}",
                f"{row['seconds']:.1f}",
                f"{row['logits_bytes'] / 1e6:.0f}",
            ]
        )
        for row in rows
    ]
    return "\n".join(lines)


def _groups(rows: Sequence[Row]) -> list[tuple[tuple[str, str], list[Row]]]:
    """Group rows by kind of scan, held-out structures first."""

    def key(row: Row) -> tuple[str, str]:
        held_out = row["held_out"]
        return row["group"], f"{row['structure']}, held out" if held_out else "seen in training"

    return _by(rows, key)


def _by(rows: Sequence[Row], key: Callable[[Row], Any]) -> list[tuple[Any, list[Row]]]:
    """Group rows by a key, in the order of their first occurrence."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.items())


def _answer(row: Row, count: int) -> Row:
    answer: Row = next(each for each in row["answers"] if each["strokes"] == count)
    return answer


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _strokes(count: int) -> str:
    return f"{count} stroke{'' if count == 1 else 's'}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
