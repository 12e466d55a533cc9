"""The page of results: confusion tables, and estimated against true Dice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Row = Mapping[str, Any]
_BINS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0)
_NOT_MEASURED = """\
- Synthetic heads are in the gallery only with `--synthetic`, which takes long. Of 32 synthetic
  heads (T1, T2, PD, FLAIR), good results of which widened the ranges of `brain`, 4 are flagged, all
  of them proton density with a Dice below 0.48.
- Wrong orientations and wrong spacings of heads take long with `brain`, and are in the gallery only
  as far as the table shows. The command adds what is missing.
- The estimated Dice of `brain` on real heads rests on two heads with labels.
- A contrast that a model reads wrongly in the same way twice is estimated too well: inverted
  hippocampi have a Dice of 0.01 and an estimate of 0.2, and proton density of heads 0.47 and up to
  0.67. The level is right for the former, not always for the latter."""
_LEVELS = ("ok", "doubtful", "implausible", "refused")


def page(rows: Mapping[str, Row], scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page as Markdown.

    Parameters
    ----------
    rows
        One per entry of the gallery.
    scores
        What `evaluate-quality` wrote, by name of the model.
    """
    known = list(rows.values())
    parts = [
        "# Quality of results",
        "Assessments of good scans and of inputs that are wrong for a model, by `python -m "
        "benchmarks.quality`. How an assessment works: [How good is a result](../guide/quality.md)."
        " A result is flagged if its level is not *ok*. `brain` runs at 2 mm on real heads, at "
        "4 mm on wrong inputs and at their own spacing on synthetic heads; `hippocampus` at 1 mm.",
        "Sources (persons, files, patterns) are divided into two halves. The calibration of "
        "`hippocampus` that a case is judged with is from the cases of the other half; that of "
        "`brain` is from other synthetic scans of the same two label maps, and has seen no real "
        "scan. The limits that no card contains were set before the gallery was run, and not "
        "changed afterwards. The ranges of both models include results of scans that are not in "
        "the gallery or, for `hippocampus`, of all its good cases.",
        "Inputs that are implausible before running are not run.",
        "## Flagged",
        _summary(known),
    ]
    for model in dict.fromkeys(row["model"] for row in known):
        own = [row for row in known if row["model"] == model]
        parts += [f"## Gallery of {model}", _gallery(own)]
    missed = [row for row in known if not row["good"] and row["level"] == "ok"]
    false = [row for row in known if row["good"] and row["level"] != "ok"]
    parts += ["## Missed and false alarms", _listed("Not flagged", missed)]
    parts += [_listed("Good scans that are flagged", false)]
    parts += ["## Estimated and true Dice", _calibration(known)]
    if scores:
        parts += [_other_half(scores)]
    parts += ["## Cost", _cost(known)]
    parts += ["## What is not measured", _NOT_MEASURED]
    return "\n\n".join(parts) + "\n"


def _flagged(rows: Sequence[Row]) -> str:
    count = sum(row["level"] != "ok" for row in rows)
    return f"{count} of {len(rows)} ({100 * count / len(rows):.0f} %)" if rows else "–"


def _summary(rows: Sequence[Row]) -> str:
    lines = [
        "| model | half | wrong inputs flagged | before running | good real scans flagged | "
        "synthetic ones |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        for half in (0, 1, None):
            own = [r for r in rows if r["model"] == model and half in (None, r["half"])]
            wrong = [r for r in own if not r["good"]]
            early = sum(r["before"] != "ok" for r in wrong)
            real = [r for r in own if r["good"] and "synthetic" not in r["kind"]]
            made = [r for r in own if r["good"] and "synthetic" in r["kind"]]
            name = "both" if half is None else ("first", "second")[half]
            lines.append(
                f"| {model} | {name} | {_flagged(wrong)} | {early} | {_flagged(real)} | "
                f"{_flagged(made)} |"
            )
    return "\n".join(lines)


def _gallery(rows: Sequence[Row]) -> str:
    lines = [
        "| input | number | flagged before | ok | doubtful | implausible | refused | an example |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        early = sum(row["before"] != "ok" for row in own)
        counts = [sum(row["level"] == level for row in own) for level in _LEVELS]
        said = next((row["warnings"][0] for row in own if row["warnings"]), "")
        what = f"{kind} (good)" if own[0]["good"] else kind
        cells = " | ".join(str(count) if count else "–" for count in counts)
        lines.append(f"| {what} | {len(own)} | {early or '–'} | {cells} | {said} |")
    return "\n".join(lines)


def _listed(title: str, rows: Iterable[Row]) -> str:
    lines = []
    for row in rows:
        text = "; ".join(row["warnings"]) or "nothing was noticed"
        dice = row.get("estimated")
        more = "" if dice is None else f", estimated Dice {dice:.2f}"
        lines.append(f"- {row['model']}: {row['kind']}, {row['source']}{more}: {text}")
    return f"**{title}**\n\n" + ("\n".join(lines) or "None.")


def _calibration(rows: Sequence[Row]) -> str:
    lines = [
        "Mean over the structures of each scan whose labels are known.",
        "",
        "| scans | number | true Dice | estimated Dice | mean absolute error | correlation | "
        "in the interval |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    known = [row for row in rows if "true" in row]
    for kind in dict.fromkeys((row["model"], row["kind"]) for row in known):
        own = [row for row in known if (row["model"], row["kind"]) == kind]
        true = np.array([row["true"] for row in own])
        estimated = np.array([row["estimated_of_known"] for row in own])
        varies = len(own) > 2
        related = f"{np.corrcoef(true, estimated)[0, 1]:.2f}" if varies else "–"
        inside = [
            row["interval"][0] <= row["true"] <= row["interval"][1]
            for row in own
            if row["interval"] is not None
        ]
        lines.append(
            f"| {kind[0]}, {kind[1]} | {len(own)} | {true.mean():.3f} | {estimated.mean():.3f} | "
            f"{np.abs(true - estimated).mean():.3f} | {related} | {sum(inside)} of {len(inside)} |"
        )
    lines += [
        "",
        "Structures of these scans, by estimated Dice:",
        "",
        "| estimated Dice | structures | mean estimated | mean true | |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    pairs = [pair for row in known for pair in row["structures"].values()]
    for low, high in pairwise(_BINS):
        inside_bin = [pair for pair in pairs if low <= pair[0] < high]
        if inside_bin:
            estimated_mean, true_mean = np.mean(inside_bin, axis=0)
            bar = "█" * round(40 * true_mean)
            lines.append(
                f"| {low:.2f}–{high:.2f} | {len(inside_bin)} | {estimated_mean:.3f} | "
                f"{true_mean:.3f} | {bar} |"
            )
    error = np.mean([abs(a - b) for a, b in pairs])
    lines += ["", f"Mean absolute error of all {len(pairs)} structures: {error:.3f}."]
    return "\n".join(lines)


def _other_half(scores: Mapping[str, Mapping[str, Any]]) -> str:
    lines = [
        "The cases that the calibrations are from, also with artificial defects: calibrated on one "
        "half of them, measured on the other, both ways (`hyperspace evaluate-quality`).",
        "",
        "| scans | results | true Dice | estimated Dice | mean absolute error | correlation |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for model, found in scores.items():
        rows = [(kind, estimated, true) for kind, estimated, true in found["other_half"]]
        for wanted in ("all", *dict.fromkeys(kind for kind, _, _ in rows)):
            pairs = [row[1:] for row in rows if wanted in ("all", row[0])]
            estimated, true = np.array(pairs).T
            related = f"{np.corrcoef(estimated, true)[0, 1]:.2f}" if len(pairs) > 2 else "–"
            lines.append(
                f"| {model}, {wanted or 'as they are'} | {len(pairs)} | {true.mean():.3f} | "
                f"{estimated.mean():.3f} | {np.abs(estimated - true).mean():.3f} | {related} |"
            )
    return "\n".join(lines)


def _cost(rows: Sequence[Row]) -> str:
    lines = ["Time of the assessment relative to that of the segmentation, median:"]
    for model in dict.fromkeys(row["model"] for row in rows):
        spent = [row["seconds"] for row in rows if row["model"] == model and "seconds" in row]
        share = np.median([second / first for first, second in spent if first > 0])
        lines.append(f"{model} {share:.2f}.")
    return " ".join(lines)
