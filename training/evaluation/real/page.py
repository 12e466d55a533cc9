"""Measurements on real scans as a Markdown page."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import cast

import pandas as pd

from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from training.evaluation.real.measure import (
    ACCURACY,
    AGREEMENT,
    NEITHER,
    RealScores,
    as_spacing,
    means,
)
from training.evaluation.rows import SPACING
from training.evaluation.scores import markdown_table

_OWN = "own"
_CONTRASTS = {"t1": "T1", "t2": "T2", "pd": "PD", "flair": "FLAIR"}
_TITLES = {"dice": "Dice", "hd95_mm": "HD95 (mm)"}


def page(scores: RealScores) -> str:
    """Return the page: accuracy, agreement, volumes of scans without a reference."""
    return "\n\n".join(part for part in _parts(scores) if part) + "\n"


def _parts(scores: RealScores) -> Iterator[str]:
    rows, peer = scores.rows, scores.peer
    yield f"# {scores.model} on real scans"
    yield scores.scans.about
    yield (
        "Every scan is segmented at each working spacing (mm; z × y × x, or isotropic; *own*: that "
        "of the scan) and scored on its own grid, as users get it, without post-processing. Means "
        "are over scans for each structure, then over structures."
    )
    accuracy, agreement = (rows[rows["kind"] == kind] for kind in (ACCURACY, AGREEMENT))
    if len(accuracy):
        yield f"## Accuracy\n\nAgainst labels: {scores.scans.labels_of}."
        for metric in _TITLES:
            yield _by_scan(scores, accuracy, metric)
        yield from _by_structure(scores, accuracy, "scan")
    if len(agreement):
        yield (
            f"## Agreement\n\nScans without labels, against the labels that {peer} gives the "
            "T1-weighted scan of the same visit (at 1 mm), brought over by affine transforms. This "
            "is how far two programs agree, not how right either is; lesions are in no label."
        )
        for metric in _TITLES:
            yield _by_scan(scores, agreement, metric)
        yield _by_contrast(agreement)
        yield from _by_structure(scores, agreement, "contrast")
    yield _without_reference(rows[rows["kind"] == NEITHER])


def _columns(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return the working spacings with their rows: the scan's own, then the fixed ones."""
    columns = [(_OWN, rows[rows["own"]])] if rows["own"].any() else []
    for spacing, part in rows[~rows["own"]].groupby(SPACING, sort=False):
        columns.append((_short(as_spacing(cast(Triple, spacing))), part))
    return columns


def _short(spacing_mm: Triple) -> str:
    return format_spacing(spacing_mm, unit=False, collapse=True)


def _by_scan(scores: RealScores, rows: pd.DataFrame, metric: str) -> str:
    """Return a table with a row per scan, and a column per spacing and for the peer."""
    ours, theirs = (rows[rows["method"] == name] for name in (scores.model, scores.peer))
    columns = _columns(ours)
    header = [_TITLES[metric], *(name for name, _ in columns)]
    if len(theirs):
        header.append(scores.peer)
    table = []
    for scan, _ in ours.groupby("scan", sort=False):
        parts = [part for _, part in columns] + ([theirs] if len(theirs) else [])
        own = ours[(ours["scan"] == scan) & ours["own"]]
        label = f"{scan} ({_short(tuple(own.iloc[0][SPACING]))})" if len(own) else str(scan)
        table.append([label, *(_mean(part[part["scan"] == scan], metric) for part in parts)])
    return markdown_table(header, table)


def _by_contrast(rows: pd.DataFrame) -> str:
    """Return a table of Dice with a row per contrast and a column per spacing."""
    columns = _columns(rows)
    table = [
        [
            f"{_CONTRASTS[str(contrast)]} ({group['scan'].nunique()})",
            *(_mean(part[part["contrast"] == contrast], "dice") for _, part in columns),
        ]
        for contrast, group in rows.groupby("contrast", sort=False)
    ]
    return markdown_table(["Dice, mean (scans)", *(name for name, _ in columns)], table)


def _by_structure(scores: RealScores, rows: pd.DataFrame, by: str) -> Iterator[str]:
    """Yield a table per scan or contrast, with a row per structure and a column per spacing."""
    for key, group in rows.groupby(by, sort=False):
        ours, theirs = (group[group["method"] == name] for name in (scores.model, scores.peer))
        columns = _columns(ours) + ([(scores.peer, theirs)] if len(theirs) else [])
        title = _CONTRASTS.get(str(key), str(key))
        table = [
            [str(structure), *(_cell(part, str(structure)) for _, part in columns)]
            for structure in ours["structure"].unique()
        ]
        heading = f"{title}: Dice / HD95 (mm)"
        yield markdown_table([heading, *(name for name, _ in columns)], table)


def _cell(rows: pd.DataFrame, structure: str) -> str:
    one = rows[rows["structure"] == structure]
    dice = one["dice"].mean()
    if math.isnan(dice):
        return "–"
    return f"{dice:.2f} / {one['hd95_mm'].replace(math.inf, math.nan).mean():.1f}"


def _mean(rows: pd.DataFrame, metric: str) -> str:
    if rows[metric].isna().all():
        return "–"
    value = means(rows.assign(all=0), ["all"], metric).iloc[0]
    return f"{value:.3f}" if metric == "dice" else f"{value:.1f}"


def _without_reference(rows: pd.DataFrame) -> str:
    """Return what is known of scans that nothing can be compared with: how much was found."""
    if not len(rows):
        return ""
    table = [
        [
            f"{scan} ({_short(tuple(part.iloc[0][SPACING]))})",
            f"{part['volume_ml'].sum() / 1000:.2f}",
        ]
        for scan, part in rows.groupby("scan", sort=False)
    ]
    return (
        "## Scans with nothing to compare with\n\nNo label map, and no T1-weighted scan of the "
        "same visit: only the volume of all structures together.\n\n"
        + markdown_table(["scan", "liters, own"], table)
    )


def summary(scores: RealScores) -> Sequence[str]:
    """Return the first table of each kind, for the command line."""
    tables = []
    for kind in (ACCURACY, AGREEMENT):
        rows = scores.rows[scores.rows["kind"] == kind]
        if len(rows):
            tables.append(f"{kind}:\n\n{_by_scan(scores, rows, 'dice')}")
    return tables
