"""Tables of the measurements, in a Markdown page whose other text is kept."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.interaction.loop import COUNTS
from training.comparison.page import block, renew

Row = Mapping[str, Any]
_FEWEST = 5  # structures for an interval
_OPPONENTS = ("random walker, its own strokes", "fronts alone", "strokes alone")
_FIRST = f"""# Corrections by strokes, and coarse masks made fine

What the class-conditional model makes of a few strokes, and of coarse masks, on scans that it was
not trained on; the hippocampus was left out of its training altogether. All tables come from one
command:

```bash
HYPERSPACE_DATA=… python -m benchmarks.interaction --model refine
```

{block("about", "")}

## How it was measured

- **The user is simulated.** Each stroke goes along the center of the largest connected region of
  the error, in the slice that shows most of it, with a round brush of 5 mm. It paints at most 20
  mm from tip to tip. Strokes on missed voxels add, strokes on false voxels take away. Like a
  careful user, the robot stays on its side of the border: a stroke that adds covers no voxel
  outside of the structure, and the other way round.
- **Dice** is measured on all voxels after 1, 3, 5 and 10 strokes, and in brackets on the voxels
  that no stroke covers: the strokes themselves are always right.
- **Scans**: MR crops around a hippocampus (Medical Segmentation Decathlon, 1 mm); whole heads at
  1 mm, made from two label maps that were kept back, T1 and T2; two real heads (ICBM152 at 1 mm,
  MNE's sample subject at 3 mm). One side of each structure is corrected; sides that touch count
  as one structure.
- **Model**: from nothing, it gets all strokes, and the mask that `hs.refine` makes of them by two
  fronts; in one row of the crops, the answer before instead of that mask. A result that is
  corrected is the rough mask of the first answer, and each answer that of the next one.
- **Fronts alone**: where the front from inside arrives first, without the model. Parameters were
  chosen on six other hippocampi.
- **Random walker**: that of scikit-image, in the same box, with the border of the box as
  background. Its edge penalty is the best of six on six other hippocampi. "Same strokes" are
  those that the robot painted for the model; "its own strokes" are painted in reply to its own
  answers, which is how it would be used.
- **Strokes alone** is what painting by hand comes to.

## From nothing

{block("nothing", "")}

Difference of the model's Dice to that of the other methods, paired by structure; in brackets the
95 % interval of a bootstrap over structures. An interval that contains 0 shows no difference.

{block("differences", "")}

## From the result of `brain`

The result of the model `brain` at 2 mm (at 3 mm where the scan has 3 mm) is corrected; it needs
more of the head than the crops show. The random walker has it as seeds, more than 2 mm from its
surface and more than 4 mm from strokes that contradict it.

{block("brain", "")}

## Time of an answer

{block("times", "")}

## From coarse masks

True labels, reduced to a coarse grid by the label that covers most of each voxel, are refined all
in one call. Dice / HD95 in mm; cortex, white matter and cerebellum are left out.

{block("coarse", "")}

## Memory

Balls of 12 mm in a scan of 160³ voxels, refined in one call; growth of the resident memory of a
new process that has answered once. Beside it the logits that a model of all classes would have at
least.

{block("memory", "")}
"""


def write_page(results: Mapping[str, Any], path: Path) -> None:
    """Write the tables of some results, or replace those of a page."""
    rows = results["interaction"]
    blocks = {
        "about": about(results),
        "nothing": dice_table([row for row in rows if row["scenario"] == "nothing"]),
        "differences": difference_table([row for row in rows if row["scenario"] == "nothing"]),
        "brain": dice_table([row for row in rows if row["scenario"] == "brain"]),
        "times": time_table(rows),
        "coarse": coarse_table(results["coarse"]),
        "memory": memory_table(results["memory"]),
    }
    renew(path, blocks, _FIRST)


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


def difference_table(rows: Sequence[Row]) -> str:
    """Return the difference of the model to the other methods, with its interval."""
    counts = COUNTS[1:]
    lines = [
        _line(["scans", "structures", "n", "model minus", *(_strokes(count) for count in counts)]),
        _line(["---", "---", "---:", "---", *["---:"] * len(counts)]),
    ]
    for (group, structures), each in _groups(rows):
        methods = dict(_by(each, lambda row: row["method"]))
        own = methods.pop("model", [])
        for method, some in methods.items():
            if len(own) < _FEWEST or len(some) != len(own) or method not in _OPPONENTS:
                continue
            cells = []
            for count in counts:
                pairs = zip(own, some, strict=True)
                gains = [_answer(a, count)["dice"] - _answer(b, count)["dice"] for a, b in pairs]
                low, high = bootstrap_interval(gains)
                cells.append(f"{_mean(gains):+.3f} ({low:+.3f} to {high:+.3f})")
            lines.append(_line([group, structures, str(len(own)), method, *cells]))
    return "\n".join(lines) if len(lines) > 2 else "Too few structures."


def bootstrap_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values."""
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(drawn.mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


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
