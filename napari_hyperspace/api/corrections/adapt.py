"""Adapt a model to scans like this one: a few seconds of fine-tuning on corrected labels."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from napari_hyperspace.api.corrections.corrected import CorrectedLabels
from napari_hyperspace.api.corrections.tuning import TuningOptions, tune_steps
from napari_hyperspace.api.segment import (
    Localized,
    SegmentResult,
    localize_steps,
    segment_box_steps,
    segment_steps,
)
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import as_volumes, straight_grid
from napari_hyperspace.inference.localize import crop
from napari_hyperspace.inference.options import InferenceOptions, Outside
from napari_hyperspace.inference.plan import make_plan, working_spacing
from napari_hyperspace.nets.card import ModelCard
from napari_hyperspace.nets.model import Model

AdaptedWeights = Literal["common", "all"]
"""What is fine-tuned."""

STEPS = 40
SECONDS = 30.0
LEARNING_RATE = 1e-3
PULL = 0.0
SPREAD = 2.0

_MOST_BYTES = 1 << 30  # that a step keeps for the gradients
_LOCALIZED, _BEFORE, _TUNED = 0.05, 0.15, 0.85  # fractions of the progress


@dataclass(frozen=True, eq=False)
class AdaptResult:
    """An adapted model, and what adapting it changed on the corrected scan.

    Parameters
    ----------
    model
        The adapted model, with its card.
    dice_before, dice_after
        Dice of the corrected voxels, by label value, for the labels that they contain. It is
        measured on what the model was adapted to: on other scans, less is gained.
    labels_before, labels_after
        Labels by the original and by the adapted model at the working spacing, on the scan's grid.
    spacing_mm
        Working spacing, canonical order (z, y, x).
    steps
        Steps done.
    voxels
        Number of corrected voxels by label value, the background included.
    adapted
        Names of the factory's parameters that were changed.
    seconds
        Wall time.
    """

    model: Model
    dice_before: dict[int, float]
    dice_after: dict[int, float]
    labels_before: Volume
    labels_after: Volume
    spacing_mm: Triple
    steps: int
    voxels: dict[int, int]
    adapted: tuple[str, ...]
    seconds: float

    @property
    def mean_dice_before(self) -> float:
        """Mean of `dice_before`."""
        return float(np.mean(list(self.dice_before.values())))

    @property
    def mean_dice_after(self) -> float:
        """Mean of `dice_after`."""
        return float(np.mean(list(self.dice_after.values())))


def adapt(
    model: Model,
    volume: Volume | Sequence[Volume],
    corrected: Volume,
    spacing_mm: Sequence[float] | None = None,
    *,
    known: Volume | None = None,
    slices: Mapping[int, Sequence[int]] | None = None,
    steps: int = STEPS,
    seconds: float | None = SECONDS,
    learning_rate: float = LEARNING_RATE,
    pull: float = PULL,
    spread: float = SPREAD,
    weights: AdaptedWeights = "common",
    seed: int = 0,
    name: str | None = None,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
) -> Model:
    """Adapt a model; use `adapt_steps` for progress, the accuracy, and to be able to stop.

    Parameters
    ----------
    model, volume, corrected, spacing_mm
        As in `adapt_steps`.
    known, slices, steps, seconds, learning_rate, pull, spread, weights, seed, name, device, outside
        As in `adapt_steps`.

    Returns
    -------
    Model
        The adapted model; `save_model` stores it.
    """
    run = adapt_steps(
        model,
        volume,
        corrected,
        spacing_mm,
        known=known,
        slices=slices,
        steps=steps,
        seconds=seconds,
        learning_rate=learning_rate,
        pull=pull,
        spread=spread,
        weights=weights,
        seed=seed,
        name=name,
        device=device,
        outside=outside,
    )
    return run_to_end(run).model


def adapt_steps(
    model: Model,
    volume: Volume | Sequence[Volume],
    corrected: Volume,
    spacing_mm: Sequence[float] | None = None,
    *,
    known: Volume | None = None,
    slices: Mapping[int, Sequence[int]] | None = None,
    steps: int = STEPS,
    seconds: float | None = SECONDS,
    learning_rate: float = LEARNING_RATE,
    pull: float = PULL,
    spread: float = SPREAD,
    weights: AdaptedWeights = "common",
    seed: int = 0,
    name: str | None = None,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, AdaptResult]:
    """Adapt a model to a corrected scan, step by step.

    The part of the weights that is common to all spacings is fine-tuned, so that the networks of
    all spacings change alike. The model itself is not changed.

    Parameters
    ----------
    model
        A model that segments all its labels at once, of any kind of factory.
    volume
        The scan, or one per input channel.
    corrected
        Corrected labels of the scan, on any grid; placed by their affine. All their voxels count as
        corrected, background included, unless ``known`` or ``slices`` say which.
    spacing_mm
        Working spacing in canonical order (z, y, x); `None`: the scan's own.
    known
        On the grid of ``corrected``: voxels that are not 0 are corrected, the others are ignored.
    slices
        Corrected slices of ``corrected``: array axis → indices. Other voxels are ignored.
    steps
        Largest number of optimizer steps.
    seconds
        Time after which no further step starts; `None`: no limit. With no limit, the result is
        reproducible on one machine and number of threads, on the CPU.
    learning_rate
        Largest step of a weight; it decreases along a cosine.
    pull
        How strongly weights are pulled back to the original ones in each step, relative to the
        learning rate.
    spread
        Every second step uses the working spacing divided or multiplied by this factor; 1: all
        steps use the working spacing.
    weights
        ``"common"``: the part that all spacings share; ``"all"``: all weights of the factory, for
        large changes of contrast.
    seed
        Of patches and changes of intensity.
    name
        Name of the adapted model; `None`: that of the model, and "adapted".
    device
        Where to compute; `None`: CUDA if available, else the CPU.
    outside
        What to do with a spacing outside the trained range; see `InferenceOptions`.
    should_stop
        Called between steps, and as in `segment_steps`.

    Yields
    ------
    Progress
        Before each step.

    Returns
    -------
    AdaptResult
        The adapted model, labels and Dice before and after.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If the model is class-conditional, the corrected labels have values that the model does not
        have, contain no label, or lie outside of the scan; an option is not positive; or as in
        `segment_steps`.
    """
    started = time.perf_counter()
    _check(model, steps, seconds, learning_rate, pull, spread, weights)
    corrections = CorrectedLabels.of(model, corrected, known, slices)
    # One precision for both segmentations, so that they differ by the weights only.
    options = InferenceOptions(choose_device(device), outside, precision="fp32-channels-last")
    stop = should_stop or (lambda: False)
    volumes = as_volumes(volume, model)
    localized: Localized | None = None
    if model.localization is not None:
        first = localize_steps(volumes, model, spacing_mm, options, should_stop)
        localized = yield from as_part(first, 0.0, _LOCALIZED, "finding the region")
        box = corrections.within(localized.box, volumes[0].grid)
        localized = replace(localized, box=box)

    def segmented(model: Model) -> Generator[Progress, None, SegmentResult]:
        if localized is None:
            return segment_steps(volumes, model, spacing_mm, options, should_stop=should_stop)
        return segment_box_steps(volumes, model, spacing_mm, localized, options, should_stop)

    before = yield from as_part(segmented(model), _LOCALIZED, _BEFORE, "before")
    part = volumes if localized is None else [crop(each, localized.box) for each in volumes]
    grid = straight_grid(part[0].grid)
    views = [
        corrections.view(part, model, make_plan(grid, model, each, rule), seed, n_bytes, stop)
        for each, rule, n_bytes in _spacings(grid, model, spacing_mm, options, spread)
    ]
    factory = copy.deepcopy(model.factory).to(options.device)
    every = dict(factory.named_parameters())
    parameters = every if weights == "all" else factory.common_parameters()
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    tuning = TuningOptions(steps, seconds, learning_rate, pull, seed)
    tuned = tune_steps(factory, list(parameters.values()), views, tuning, stop)
    done = yield from as_part(tuned, _BEFORE, _TUNED, "adapting")
    working = before.labels.metadata["record"].spacing_mm
    voxels = corrections.voxels
    entry: dict[str, object] = {
        "model": model.name,
        "digest": model.digest,
        "spacing_mm": list(working),
        "voxels": {model.label_names.get(value, "background"): n for value, n in voxels.items()},
        "steps": done,
        "learning_rate": learning_rate,
        "pull": pull,
        "spread": spread,
        "weights": weights,
        "seed": seed,
    }
    adapted = Model(factory.cpu(), _card(model, name, entry))
    after = yield from as_part(segmented(adapted), _TUNED, 1.0, "after")
    dice_before, dice_after = (corrections.dice(each.labels) for each in (before, after))
    elapsed = time.perf_counter() - started
    entry |= {
        "seconds": round(elapsed, 1),
        "dice_before": {model.label_names[i]: round(d, 4) for i, d in dice_before.items()},
        "dice_after": {model.label_names[i]: round(d, 4) for i, d in dice_after.items()},
    }
    return AdaptResult(
        Model(adapted.factory, _card(model, name, entry)),
        dice_before,
        dice_after,
        before.labels,
        after.labels,
        working,
        done,
        voxels,
        tuple(parameters),
        elapsed,
    )


def _check(
    model: Model,
    steps: int,
    seconds: float | None,
    learning_rate: float,
    pull: float,
    spread: float,
    weights: AdaptedWeights,
) -> None:
    """Refuse models that cannot be adapted, and impossible options."""
    if model.head != "labels" or model.guidance is not None:
        raise HyperspaceError(
            "a model that needs rough labels beside the scan cannot be adapted",
            where=model.name,
            expected="a model whose input are images only",
        )
    for field, value in (("steps", steps), ("seconds", seconds), ("learning_rate", learning_rate)):
        if value is not None and not 0 < value < math.inf:
            raise HyperspaceError(
                f"{field} must be positive", field=field, found=value, expected="more than 0"
            )
    if not 0 <= pull < math.inf:
        raise HyperspaceError(
            "pull must not be negative", field="pull", found=pull, expected="0 or more"
        )
    if weights not in get_args(AdaptedWeights):
        raise HyperspaceError(
            "unknown part of the weights", field="weights", found=weights, expected="common, all"
        )
    if not 1 <= spread < math.inf:
        raise HyperspaceError("spread must be at least 1", field="spread", found=spread)


def _spacings(
    grid: Grid,
    model: Model,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    spread: float,
) -> list[tuple[Triple, InferenceOptions, int]]:
    """Return the spacings to fine-tune at, the working spacing first, and the memory for each.

    The others are in the trained range, and no finer than working spacing and scan. With less
    memory their patches are smaller: a step at a fine spacing must not take most of the time.
    """
    first = working_spacing(grid, model, spacing_mm, options.outside)
    found = [(first, options, _MOST_BYTES)]
    clamped = replace(options, outside="clamp")
    own = grid.canonical().spacing_mm
    finer = [max(step / spread, min(step, scan)) for step, scan in zip(first, own, strict=True)]
    for other in (finer, [step * spread for step in first]):
        spacing = working_spacing(grid, model, other, "clamp")
        if not any(np.allclose(spacing, each, rtol=0.05) for each, *_ in found):
            found.append((spacing, clamped, _MOST_BYTES // 4))
    return found


def _card(model: Model, name: str | None, entry: Mapping[str, object]) -> ModelCard:
    """Return the card of the adapted model; it keeps license, citation and training."""
    card = model.card
    earlier = card.training.get("adapted", [])
    voxels = entry["voxels"]
    assert isinstance(voxels, dict)
    text = (
        f"Adapted from {model.name} to one corrected scan ({sum(voxels.values())} voxels); "
        "its accuracy on other scans was not measured."
    )
    return card.model_copy(
        update={
            "name": name or (card.name if earlier else f"{card.name} (adapted)"),
            "description": f"{card.description} {text}".strip(),
            "training": {**card.training, "adapted": [*earlier, dict(entry)]},
            "dice": (),  # that of the original model, as is the calibration
            "quality": card.quality and card.quality.model_copy(update={"calibration": None}),
        }
    )
