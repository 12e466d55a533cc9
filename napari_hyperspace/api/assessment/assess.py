"""How good is a result? A second opinion, and what the model's card expects."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Unpack

import numpy as np

from napari_hyperspace.api.agreement import Agreement, agreement
from napari_hyperspace.api.assessment.second_opinion import (
    coarser_spacing,
    second_opinion_steps,
    second_spacing,
)
from napari_hyperspace.api.estimate import Estimate, estimate
from napari_hyperspace.api.guidance import AnyGuidance, CoarselyGuidedModel
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.structures import SIDE_VALUES
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.inputs import as_volumes
from napari_hyperspace.inference.options import InferenceOptions, OptionKeywords, options_from
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.nets.base.quality import DiceCalibration, QualityConfig
from napari_hyperspace.nets.model import Model
from napari_hyperspace.quality.figures import figures_of
from napari_hyperspace.quality.remarks import Level, Remark, worst
from napari_hyperspace.quality.result import Interval, Quality, ScanCheck, StructureQuality
from napari_hyperspace.quality.rules import result_remarks
from napari_hyperspace.quality.scan import scan_remarks

__all__ = ["assess", "assess_steps", "check_scan", "estimate_assessment", "expected_quality"]

LEAST_DICE = 0.4
"""Estimated Dice below which a result is implausible."""
LEAST_AGREEMENT = (0.75, 0.5)
"""Mean agreement below which a result is doubtful and implausible, if nothing was calibrated."""

_SECOND = 0.9  # fraction of the progress for the second opinion


def expected_quality(model: SpacingModel) -> QualityConfig | None:
    """Return what the card of a model says about good results; `None`: nothing."""
    if isinstance(model, CoarselyGuidedModel):
        return expected_quality(model.model)
    return model.card.quality if isinstance(model, Model) else None


def check_scan(volume: Volume | Sequence[Volume], model: SpacingModel) -> ScanCheck:
    """Check whether a scan can be one for a model; nothing runs.

    Empty scans, label maps and noise are recognized for every model; field of view and modality if
    its card states what it expects.

    Parameters
    ----------
    volume
        A scan, or one scan per image that the model wants.
    model
        The model that is to segment it.
    """
    volumes = [volume] if isinstance(volume, Volume) else list(volume)
    expected = expected_quality(model)
    return ScanCheck.of(scan_remarks(volumes, None if expected is None else expected.scan))


def assess(
    volume: Volume | Sequence[Volume],
    labels: Volume,
    model: SpacingModel,
    options: InferenceOptions | None = None,
    *,
    guidance: AnyGuidance | None = None,
    second_opinion: bool = True,
    disagreement: bool = False,
    **keywords: Unpack[OptionKeywords],
) -> Quality:
    """Return how good a result is; use `assess_steps` for progress and to be able to stop.

    Parameters
    ----------
    volume, labels, model, options, guidance, second_opinion, disagreement, **keywords
        As in `assess_steps`.
    """
    return run_to_end(
        assess_steps(
            volume,
            labels,
            model,
            options,
            guidance=guidance,
            second_opinion=second_opinion,
            disagreement=disagreement,
            **keywords,
        )
    )


def assess_steps(
    volume: Volume | Sequence[Volume],
    labels: Volume,
    model: SpacingModel,
    options: InferenceOptions | None = None,
    *,
    guidance: AnyGuidance | None = None,
    second_opinion: bool = True,
    disagreement: bool = False,
    should_stop: ShouldStop | None = None,
    **keywords: Unpack[OptionKeywords],
) -> Generator[Progress, None, Quality]:
    """Assess a result step by step.

    The model segments the mirrored scan at 1.5 times the spacing, and the agreement with the labels
    gives the estimated Dice, by the calibration in the model's card. Volumes, positions and parts
    of the structures are compared with the ranges in the card, and the scan is checked as by
    `check_scan`. A card without these figures leaves the level to the agreement; a note says so.

    Parameters
    ----------
    volume
        The scan, or one scan per image that the model wants.
    labels
        Labels of the scan that the model made, on its grid.
    model
        The model that made them.
    options
        How to run the second opinion; see `InferenceOptions`.
    guidance
        As in `napari_hyperspace.segment_steps`.
    second_opinion
        Whether to run it; without it, there is no estimated Dice.
    disagreement
        Whether to return where the second opinion has other labels.
    should_stop
        As in `napari_hyperspace.segment_steps`.
    **keywords
        The fields of `InferenceOptions`, instead of ``options``.

    Yields
    ------
    Progress
        Before each step.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If scan, labels and model do not match, or the second opinion cannot be run.
    """
    started = time.perf_counter()
    options = options_from(options, keywords)
    if model.head != "labels":
        raise HyperspaceError(
            "only labels of models with structures of their own can be assessed",
            where=model.name,
            found=f"a {model.head} model",
        )
    volumes = as_volumes(volume, model)
    stop = should_stop or (lambda: False)
    expected = expected_quality(model)
    remarks = scan_remarks(volumes, None if expected is None else expected.scan)
    labels = _named(labels, model)
    if not labels.grid.canonical().is_close(volumes[0].grid.canonical()):
        raise HyperspaceError(
            "the labels are not on the grid of the scan",
            where=labels.name or None,
            found=labels.shape,
            expected=volumes[0].shape,
        )
    compared, spacing = None, None
    if second_opinion:
        spacing = second_spacing(labels, model)
        second = yield from as_part(
            second_opinion_steps(
                volumes, labels, model, options, guidance=guidance, should_stop=should_stop
            ),
            0.0,
            _SECOND,
            "second opinion",
        )
        compared = agreement(labels, second, stop)
    yield Progress(_SECOND if second_opinion else 0.0, "measuring the structures")
    groups = _groups(labels, model)
    found = figures_of(labels, groups, volumes[0], stop)
    remarks += result_remarks(found, {} if expected is None else expected.structures)
    calibration = None if expected is None else expected.calibration
    volumes_ml = {name: found[name].volume_ml if name in found else 0.0 for name in groups}
    structures = _structures(volumes_ml, compared, calibration)
    quality = _judged(structures, remarks, expected, compared is not None)
    different = None
    if disagreement and compared is not None:
        different = labels.with_array((compared.different > 0).astype(np.uint8), metadata={})
    seconds = time.perf_counter() - started
    return replace(quality, second_spacing_mm=spacing, seconds=seconds, disagreement=different)


def estimate_assessment(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    *,
    guidance: AnyGuidance | None = None,
) -> Estimate:
    """Estimate time and memory of the second opinion on a result.

    Parameters
    ----------
    volume, model, spacing_mm, options, guidance
        As in `napari_hyperspace.estimate`, of the result.
    """
    options = options or InferenceOptions()
    once = replace(options, best=False, uncertainty=False)
    first = estimate(volume, model, spacing_mm, once, guidance=guidance)
    second = replace(once, outside="clamp", allow_implausible=True)
    spacing = coarser_spacing(first.spacing_mm, model)
    return estimate(volume, model, spacing, second, guidance=guidance)


def _named(labels: Volume, model: SpacingModel) -> Volume:
    """Return labels with the model's names, if they have none of their own."""
    if labels.metadata.get("label_names"):
        return labels
    return labels.with_array(
        labels.array,
        metadata={
            **labels.metadata,
            "label_names": dict(model.label_names),
            "label_sides": dict(model.label_sides),
        },
    )


def _groups(labels: Volume, model: SpacingModel) -> dict[str, list[int]]:
    """Return the values of each structure of a model in labels, divided into sides or not."""
    names = {name.casefold(): name for name in model.label_names.values()}
    groups: dict[str, list[int]] = {name: [] for name in model.label_names.values()}
    for value, name in labels.metadata.get("label_names", {}).items():
        wholes = (model.label_names.get(value - more) for more in SIDE_VALUES.values())
        for each in (names.get(name.casefold()), *wholes):
            if each is not None:
                groups[each].append(value)
                break
    return groups


def _structures(
    volumes_ml: Mapping[str, float],
    compared: Agreement | None,
    calibration: DiceCalibration | None,
) -> tuple[StructureQuality, ...]:
    known = {} if compared is None else {one.name.casefold(): one for one in compared.structures}
    structures = []
    for name, volume in volumes_ml.items():
        one = known.get(name.casefold())
        if one is None or math.isnan(one.dice):
            structures.append(StructureQuality(name, volume))
            continue
        if calibration is None:
            structures.append(StructureQuality(name, volume, one.dice))
            continue
        dice = calibration.dice(name, one.dice)
        interval = _interval(dice, calibration.residuals)
        structures.append(StructureQuality(name, volume, one.dice, dice, interval))
    return tuple(structures)


def _interval(dice: float, residuals: Interval) -> Interval:
    low, high = (min(max(dice + each, 0.0), 1.0) for each in residuals)
    return min(low, dice), max(high, dice)


def _judged(
    structures: Sequence[StructureQuality],
    remarks: Sequence[Remark],
    expected: QualityConfig | None,
    has_opinion: bool,
) -> Quality:
    """Return the level that follows from remarks, agreement and estimated Dice."""
    texts = [each.text for each in remarks]
    levels: list[Level] = [each.level for each in remarks]
    notes = []
    known = [each.agreement for each in structures if each.agreement is not None]
    agreed = sum(known) / len(known) if known else None
    dice, interval = None, None
    calibration = None if expected is None else expected.calibration
    if calibration is not None:
        estimates = [each.estimated_dice for each in structures if each.estimated_dice is not None]
        if estimates:
            dice = sum(estimates) / len(estimates)
            interval = _interval(dice, calibration.mean_residuals)
            level = _level(dice, calibration.usual_dice, min(LEAST_DICE, calibration.usual_dice))
            if level != "ok":
                levels.append(level)
                usual = f"{calibration.usual_dice:.2f}"
                texts.append(f"estimated Dice {dice:.2f}: usually at least {usual}")
    elif agreed is not None:
        level = _level(agreed, *LEAST_AGREEMENT)
        notes.append("the model's card has no calibration: the level is that of the agreement")
        if level != "ok":
            levels.append(level)
            texts.append(f"two passes of the model agree with a Dice of {agreed:.2f} only")
    if not has_opinion:
        notes.append("without a second opinion, the accuracy is not estimated")
    if expected is None or not expected.structures:
        notes.append("the model's card has no figures to compare the structures with")
    return Quality(
        worst(levels), dice, interval, tuple(structures), tuple(texts), tuple(notes), agreed
    )


def _level(value: float, doubtful: float, implausible: float) -> Level:
    if value < implausible:
        return "implausible"
    return "doubtful" if value < doubtful else "ok"
