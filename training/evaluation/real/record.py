"""What the measurements on real scans leave behind: numbers, a page, and fields of the card."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, write_text
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.nets.card import Contrast, RealDice
from napari_hyperspace.nets.locations import find_model
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, save_model
from training.evaluation.real.measure import ACCURACY, AGREEMENT, RealScores, as_spacing
from training.evaluation.real.page import page
from training.evaluation.record import stored_dtype
from training.evaluation.rows import SPACING
from training.evaluation.summary import plain

_SAME_FACTOR = 1.25  # own spacings of scans up to this factor from their mean are joined


def to_dict(scores: RealScores) -> dict[str, Any]:
    """Return the measurements as plain data; `None` stands for NaN and infinity."""
    scans = [
        scan.model_dump(include={"name", "contrast", "visit", "without"})
        for scan in scores.scans.scans
    ]
    result: dict[str, Any] = plain(
        {
            "data": scores.scans.name,
            "model": scores.model,
            "digest": scores.digest,
            "peer": scores.peer,
            "scans": scans,
            "rows": scores.rows.to_dict("records"),
        }
    )
    return result


def card_records(scores: RealScores) -> tuple[RealDice, ...]:
    """Return the means over scans, by contrast and spacing: accuracy, then agreement.

    Scans at their own spacings are one record at the geometric mean of these, if all are near it.
    """
    rows = scores.rows[scores.rows["method"] == scores.model]
    records = []
    for kind in (ACCURACY, AGREEMENT):
        of_kind = rows[rows["kind"] == kind]
        contrasts = dict.fromkeys(scan.contrast for scan in scores.scans.scans)
        for contrast in contrasts:
            records += [
                _record(scores, kind, contrast, spacing, part)
                for spacing, part in _by_spacing(of_kind[of_kind["contrast"] == contrast])
            ]
    return tuple(records)


def _by_spacing(rows: pd.DataFrame) -> Iterator[tuple[Triple, pd.DataFrame]]:
    groups = rows[~rows["own"]].groupby(SPACING, sort=False)
    fixed = [(as_spacing(cast(Triple, spacing)), part) for spacing, part in groups]
    own = rows[rows["own"]]
    if len(own):
        mean = np.exp(np.log(own[SPACING]).mean())
        near = (np.log(own[SPACING] / mean).abs() <= math.log(_SAME_FACTOR)).all(axis=None)
        if near and not any(np.allclose(mean, spacing) for spacing, _ in fixed):
            fixed.append((as_spacing(round(float(step), 2) for step in mean), own))
    yield from sorted(fixed, key=lambda pair: (math.prod(pair[0]), pair[0]))


def _record(
    scores: RealScores, kind: str, contrast: Contrast, spacing_mm: Triple, rows: pd.DataFrame
) -> RealDice:
    dice = {
        str(name): round(float(value), 4)
        for name, value in rows.groupby("structure", sort=False)["dice"].mean().items()
        if not math.isnan(value)
    }
    mean = round(sum(dice.values()) / len(dice), 4)
    other = scores.scans.labels_of
    if kind == AGREEMENT:
        other = f"{scores.peer} on T1 of the same visit"
    return RealDice(
        spacing_mm=spacing_mm,
        dice=dice,
        mean=mean,
        native_mean=mean,
        cases=rows["scan"].nunique(),
        contrast=contrast,
        compared_with=other,
        agreement=kind == AGREEMENT,
    )


def write_real_scores(
    scores: RealScores, folder: Path, page_file: Path | None = None, model: str | None = None
) -> list[Path]:
    """Write ``real.json`` and a Markdown page, and optionally the means into the model's card.

    Parameters
    ----------
    scores
        The measurements.
    folder
        Folder for the numbers, and for the page if that has no place of its own.
    page_file
        Markdown page; the numbers are then written beside it, too.
    model
        Model in whose card the means are stored; `None`: none.
    """
    create_folder(folder)
    text = json.dumps(to_dict(scores), indent=None, separators=(",", ":"), ensure_ascii=False)
    files = [folder / "real.json", page_file or folder / "real.md"]
    write_text(files[0], text + "\n")
    if page_file is not None:
        files.append(page_file.with_suffix(".json"))
        write_text(files[-1], text + "\n")
    write_text(files[1], page(scores))
    if model is not None:
        path = find_model(model)
        loaded = load_model(path)
        if loaded.digest != scores.digest:
            raise HyperspaceError("the model file has changed since it was evaluated", where=path)
        card = loaded.card.model_copy(update={"real": card_records(scores)})
        files.append(save_model(Model(loaded.factory, card), path, dtype=stored_dtype(path)))
    return files
