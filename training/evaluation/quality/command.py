"""The command `evaluate-quality`: what a card expects of results, and how it estimates Dice."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, write_text
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.nets.base.quality import DiceCalibration, QualityConfig
from napari_hyperspace.nets.locations import find_model
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, save_model
from training.data.base import DataSet
from training.evaluation.quality.calibrate import (
    AssessedScan,
    estimated_and_true,
    fit_calibration,
)
from training.evaluation.quality.expected import (
    expected_quality_of,
    labels_of_files,
    like_ct_of,
)
from training.evaluation.quality.measure import (
    assess_known,
    matched_names,
    real_scans,
    synthetic_scans,
)
from training.evaluation.record import stored_dtype
from training.sampling.synthesize import SynthesisInput

_GOOD = 10.0  # percentile of Dice of scans as they are from which results widen the ranges


@dataclass(frozen=True)
class QualityRun:
    """The scans of an evaluation of quality.

    Parameters
    ----------
    training
        Cases whose labels the ranges are from.
    held_out
        Cases that the calibration is measured on.
    spacings_mm
        Working spacings of scans, or spacings of synthetic scans.
    contrasts
        Of synthetic scans.
    seed
        Seed of synthetic scans and of artificial defects.
    device
        Where to compute; `None`: the best.
    """

    training: Sequence[str]
    held_out: Sequence[str]
    spacings_mm: Sequence[Triple]
    contrasts: Sequence[str] = ()
    seed: int = 0
    device: str | None = None


@dataclass(frozen=True)
class QualityScores:
    """What was measured.

    Parameters
    ----------
    model
        Name of the model.
    config
        What its card should say.
    scans
        The results that the calibration is from.
    other_half
        Estimated and true Dice of each scan, with a calibration from the other half of the cases.
    """

    model: str
    config: QualityConfig
    scans: Sequence[AssessedScan]
    other_half: Sequence[tuple[str, float, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "model": self.model,
            "quality": self.config.model_dump(mode="json"),
            "scans": [
                {
                    "case": one.case,
                    "variant": one.variant,
                    "spacing_mm": list(one.spacing_mm),
                    "agreement": _plain(one.agreement),
                    "dice": _plain(one.dice),
                    "figures": {name: asdict(each) for name, each in one.figures.items()},
                }
                for one in self.scans
            ],
            "other_half": [list(each) for each in self.other_half],
        }

    def to_markdown(self) -> str:
        """Return how well Dice is estimated, by kind of scan."""
        lines = [
            f"# Estimated Dice of {self.model}",
            "",
            "Calibrated on one half of the cases, measured on the other, both ways.",
            "",
            "| scans | results | true Dice | estimated Dice | mean absolute error | correlation |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        kinds = ["all", *dict.fromkeys(kind for kind, _, _ in self.other_half)]
        for kind in kinds:
            rows = [(e, t) for each, e, t in self.other_half if kind in ("all", each)]
            estimated, true = np.array(rows).T
            varies = len(rows) > 2 and estimated.std() > 0 and true.std() > 0
            related = f"{np.corrcoef(estimated, true)[0, 1]:.2f}" if varies else "–"
            lines.append(
                f"| {kind or 'as they are'} | {len(rows)} | {true.mean():.3f} | "
                f"{estimated.mean():.3f} | {np.abs(estimated - true).mean():.3f} | {related} |"
            )
        return "\n".join(lines) + "\n"


def evaluate_quality(
    model: Model,
    data: DataSet | SynthesisInput,
    wanted: QualityRun,
    *,
    show: ReportProgress = lambda fraction, message: None,
) -> QualityScores:
    """Measure what a card says about good results.

    Parameters
    ----------
    model
        The model.
    data
        Scans with labels, or label maps that scans are made from.
    wanted
        The scans.
    show
        Called with the fraction done and the next scan.

    Raises
    ------
    HyperspaceError
        If labels of model and data have no name in common, or there are too few cases.
    """
    synthetic = isinstance(data, SynthesisInput)
    dataset = data.data if isinstance(data, SynthesisInput) else data
    names = matched_names(model, dataset)
    if isinstance(data, SynthesisInput):
        scans = synthetic_scans(
            data, names, wanted.held_out, wanted.spacings_mm, wanted.contrasts, wanted.seed
        )
        number = len(wanted.held_out) * len(wanted.spacings_mm) * len(wanted.contrasts)
    else:
        scans = real_scans(data, names, wanted.held_out, wanted.spacings_mm)
        number = len(wanted.held_out)
    assessed = assess_known(model, scans, number, seed=wanted.seed, device=wanted.device, show=show)
    measured_on = (
        f"{len(assessed)} results on {number} {'synthetic scans' if synthetic else 'cases'} "
        f"of {dataset.name}"
    )
    calibration = fit_calibration(assessed, measured_on)
    config = expected_quality_of(
        labels_of_files(dataset, wanted.training),
        list(names.values()),
        like_ct_of(dataset, wanted.training),
        [scan.figures for scan in _good(assessed)],
    )
    config = (config or QualityConfig()).model_copy(update={"calibration": calibration})
    return QualityScores(model.name, config, assessed, _halves(assessed))


def write_quality(
    scores: QualityScores, folder: Path | None, model: str | None = None
) -> list[Path]:
    """Write ``quality.md`` and ``quality.json``, and optionally the card of a model file.

    Parameters
    ----------
    scores
        What was measured.
    folder
        Folder to write to; `None`: none.
    model
        Model whose card gets the figures; `None`: none.
    """
    files = []
    if folder is not None:
        create_folder(folder)
        files = [folder / "quality.md", folder / "quality.json"]
        write_text(files[0], scores.to_markdown())
        write_text(files[1], json.dumps(scores.to_dict(), indent=1) + "\n")
    if model is not None:
        path = find_model(model)
        loaded = load_model(path)
        card = loaded.card.model_copy(update={"quality": scores.config})
        files.append(save_model(Model(loaded.factory, card), path, dtype=stored_dtype(path)))
    return files


def _good(scans: Sequence[AssessedScan]) -> list[AssessedScan]:
    """Return the results of scans as they are, without the worst."""
    means = {
        i: sum(dice for *_, dice in pairs) / len(pairs)
        for i, scan in enumerate(scans)
        if not scan.variant and (pairs := scan.pairs())
    }
    least = float(np.percentile(list(means.values()), _GOOD)) if means else math.inf
    return [scans[i] for i, mean in means.items() if mean >= least]


def _halves(scans: Sequence[AssessedScan]) -> list[tuple[str, float, float]]:
    """Estimate Dice with a calibration from the other half of the cases; none for one case."""
    cases = list(dict.fromkeys(scan.case for scan in scans))
    found = []
    for own in (0, 1):
        chosen = set(cases[own::2])
        here = [scan for scan in scans if scan.case in chosen and scan.pairs()]
        there = [scan for scan in scans if scan.case not in chosen]
        try:
            calibration: DiceCalibration = fit_calibration(there, "")
        except HyperspaceError:
            continue
        rows = estimated_and_true(here, calibration)
        found += [(scan.variant, *row) for scan, row in zip(here, rows, strict=True)]
    return found


def _plain(values: Any) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else round(value, 4) for name, value in values.items()}
