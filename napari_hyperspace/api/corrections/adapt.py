"""Adapt a model to scans like this one: a few seconds of fine-tuning on corrected labels."""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_hyperspace.api.corrections.tuning import (
    TuningData,
    TuningOptions,
    patch_within,
    thinned,
    tune_steps,
)
from napari_hyperspace.api.segment import localize_steps, segment_box_steps, segment_steps
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress, as_part, run_to_end
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.inputs import as_volumes, straight_grid, working_image
from napari_hyperspace.inference.localize import Box, crop
from napari_hyperspace.inference.options import InferenceOptions, Outside
from napari_hyperspace.inference.plan import Plan, make_plan
from napari_hyperspace.io.labels import check_labels
from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.card import ModelCard
from napari_hyperspace.nets.model import Model

STEPS = 60
SECONDS = 30.0
LEARNING_RATE = 1e-3
PULL = 0.0

_MOST_POINTS = 1 << 21
_MOST_BYTES = 1 << 30  # kept for the gradients of a step
_BEFORE, _TUNING = 0.15, 0.85  # fractions of the progress


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
    seed: int = 0,
    name: str | None = None,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
) -> Model:
    """Adapt a model; use `adapt_steps` for progress, the accuracy, and to be able to stop.

    Parameters
    ----------
    model, volume, corrected, spacing_mm, known, slices, steps, seconds, learning_rate, pull, seed,
    name, device, outside
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
    seed: int = 0,
    name: str | None = None,
    device: str | torch.device | None = None,
    outside: Outside = "refuse",
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, AdaptResult]:
    """Adapt a model to a corrected scan, step by step.

    The part of the weights that is common to all spacings is fine-tuned at one spacing, so that the
    networks of all spacings change alike. The model itself is not changed.

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
    _check_options(steps, seconds, learning_rate, pull)
    classes = _corrected_classes(model, corrected, known, slices)
    place = choose_device(device)
    # One precision for both segmentations, so that they differ by the weights only.
    options = InferenceOptions(device=place, outside=outside, precision="fp32-channels-last")
    stop = should_stop or (lambda: False)
    volumes = as_volumes(volume, model)
    native = volumes[0]
    box: Box | None = None
    if model.localization is None:
        before = yield from as_part(
            segment_steps(volumes, model, spacing_mm, options, should_stop=should_stop),
            0.0,
            _BEFORE,
            "before",
        )
    else:
        localized = yield from as_part(
            localize_steps(volumes, model, spacing_mm, options, should_stop),
            0.0,
            _BEFORE / 3,
            "finding the region",
        )
        box = _with_corrected(localized.box, native, corrected, classes)
        localized = replace(localized, box=box)
        before = yield from as_part(
            segment_box_steps(volumes, model, spacing_mm, localized, options, should_stop),
            _BEFORE / 3,
            _BEFORE,
            "before",
        )
    within = volumes if box is None else [crop(each, box) for each in volumes]
    plan = make_plan(straight_grid(within[0].grid), model, spacing_mm, options)
    data = _tuning_data(model, within, plan, corrected, classes, seed, stop)
    factory = _copy_to_tune(model.factory).to(place)
    parameters = factory.common_parameters()
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    tuning = TuningOptions(
        steps, seconds, learning_rate, pull, seed, _patch(factory, plan, model.n_dim)
    )
    done = yield from as_part(
        tune_steps(factory, list(parameters.values()), data, tuning, stop),
        _BEFORE,
        _TUNING,
        "adapting",
    )
    adapted = Model(factory.to("cpu"), model.card)
    if box is None:
        after = yield from as_part(
            segment_steps(volumes, adapted, spacing_mm, options, should_stop=should_stop),
            _TUNING,
            1.0,
            "after",
        )
    else:
        after = yield from as_part(
            segment_box_steps(volumes, adapted, spacing_mm, localized, options, should_stop),
            _TUNING,
            1.0,
            "after",
        )
    dice = [_dice(each.labels, corrected, classes, model) for each in (before, after)]
    elapsed = time.perf_counter() - started
    values, counts = np.unique(classes[classes >= 0], return_counts=True)
    voxels = {
        model.label_values[i]: n for i, n in zip(values.tolist(), counts.tolist(), strict=True)
    }
    entry = {
        "model": model.name,
        "digest": model.digest,
        "spacing_mm": list(before.labels.metadata["record"].spacing_mm),
        "voxels": {model.label_names.get(value, "background"): n for value, n in voxels.items()},
        "steps": done,
        "learning_rate": learning_rate,
        "pull": pull,
        "seed": seed,
        "seconds": round(elapsed, 1),
        "dice_before": {model.label_names[value]: round(d, 4) for value, d in dice[0].items()},
        "dice_after": {model.label_names[value]: round(d, 4) for value, d in dice[1].items()},
    }
    result = Model(adapted.factory, _card(model, name, entry))
    return AdaptResult(
        result,
        dice[0],
        dice[1],
        before.labels,
        after.labels.with_array(
            after.labels.array, metadata={**after.labels.metadata, "model": result.name}
        ),
        before.spacing_mm,
        done,
        voxels,
        tuple(parameters),
        time.perf_counter() - started,
    )


def _check_options(steps: int, seconds: float | None, learning_rate: float, pull: float) -> None:
    for field, value in (("steps", steps), ("seconds", seconds), ("learning_rate", learning_rate)):
        if value is not None and not 0 < value < float("inf"):
            raise HyperspaceError(
                f"{field} must be positive", field=field, found=value, expected="more than 0"
            )
    if not 0 <= pull < float("inf"):
        raise HyperspaceError(
            "pull must not be negative", field="pull", found=pull, expected="0 or more"
        )


def _corrected_classes(
    model: Model,
    corrected: Volume,
    known: Volume | None,
    slices: Mapping[int, Sequence[int]] | None,
) -> NDArray[np.int32]:
    """Return the output channel of each corrected voxel, -1 for the others."""
    if model.head != "labels":
        raise HyperspaceError(
            "a model that segments one structure around marks cannot be adapted",
            where=model.name,
            expected="a model that segments all its labels at once",
        )
    if not corrected.array.any():
        raise _empty(corrected)
    labels = check_labels(corrected, model.label_values).array
    channel = np.zeros(max(model.label_values) + 1, np.int32)
    channel[list(model.label_values)] = range(len(model.label_values))
    classes: NDArray[np.int32] = channel[labels]
    selected = np.ones(classes.shape, bool)
    if slices is not None:
        selected[...] = False
        for axis, indices in slices.items():
            if not 0 <= axis < 3 or not all(0 <= i < classes.shape[axis] for i in indices):
                raise HyperspaceError(
                    "a slice lies outside of the corrected labels",
                    where=corrected.name or None,
                    field=f"axis {axis}",
                    found=", ".join(map(str, indices)),
                    expected=f"axes 0 to 2 of the shape {classes.shape}",
                )
            np.moveaxis(selected, axis, 0)[list(indices)] = True
    if known is not None:
        if known.shape != corrected.shape or not known.grid.is_close(corrected.grid):
            raise HyperspaceError(
                "known is not on the grid of the corrected labels",
                where=known.name or None,
                found=f"shape {known.shape}",
                expected=f"shape {corrected.shape}",
            )
        selected &= known.array != 0
    classes[~selected] = -1
    if not (classes > 0).any():
        raise _empty(corrected)
    return classes


def _empty(corrected: Volume) -> HyperspaceError:
    return HyperspaceError(
        "the corrected labels are empty",
        where=corrected.name or None,
        expected="voxels with a label of the model",
    )


def _with_corrected(box: Box, native: Volume, corrected: Volume, classes: NDArray[np.int32]) -> Box:
    """Return the box of the first pass, extended to the corrected labels."""
    places = np.argwhere(classes > 0)
    corners = np.stack([places.min(0) - 0.5, places.max(0) + 0.5])
    every = np.stack(np.meshgrid(*corners.T, indexing="ij"), -1).reshape(-1, 3)
    index = native.grid.mm_to_index(corrected.grid.index_to_mm(every))
    low = np.floor(index.min(0) + 0.5).astype(int).clip(0)
    high = np.minimum(np.ceil(index.max(0) + 0.5).astype(int), native.shape)
    if (low >= high).any():
        raise _elsewhere(corrected)
    a, b, c = (
        slice(min(each.start, int(start)), max(each.stop, int(stop)))
        for each, start, stop in zip(box, low, high, strict=True)
    )
    return a, b, c


def _elsewhere(corrected: Volume) -> HyperspaceError:
    return HyperspaceError(
        "the corrected labels lie outside of the scan",
        where=corrected.name or None,
        fix="Check that labels and scan belong together",
    )


def _tuning_data(
    model: Model,
    volumes: Sequence[Volume],
    plan: Plan,
    corrected: Volume,
    classes: NDArray[np.int32],
    seed: int,
    stop: ShouldStop,
) -> TuningData:
    """Return the input of the network, and the corrected voxels inside of the scan as points."""
    image = working_image(volumes, model, plan, stop)
    flat = classes.ravel()
    rng = np.random.default_rng((seed, 1))
    # Of a large scan, more voxels than needed: the first choice bounds the memory.
    kept, weights = thinned(np.flatnonzero(flat >= 0), flat, _MOST_POINTS, rng)
    places = np.stack(np.unravel_index(kept, classes.shape), axis=1)
    mm = corrected.grid.index_to_mm(places)
    index = volumes[0].grid.mm_to_index(mm)
    inside = ((index > -0.5) & (index < np.array(volumes[0].shape) - 0.5)).all(axis=1)
    if not (flat[kept[inside]] > 0).any():
        raise _elsewhere(corrected)
    return TuningData(
        image,
        plan.network_spacing_mm,
        plan.working.mm_to_index(mm[inside]).astype(np.float32),
        flat[kept[inside]].astype(np.int64),
        weights[inside],
    )


def _copy_to_tune(factory: Factory) -> Factory:
    """Return a copy on the CPU; it stays in eval mode, with the statistics of its norms."""
    return copy.deepcopy(factory)


def _patch(factory: Factory, plan: Plan, n_dim: int) -> tuple[int, int, int]:
    """Return the shape of the patches: a tile of the plan, or what fits into memory."""
    largest = np.minimum(plan.tiles.tile_shape, plan.working.shape)[3 - n_dim :].tolist()
    size = patch_within(factory, plan.network_spacing_mm, largest, _MOST_BYTES)
    z, y, x = (*plan.tiles.tile_shape[: 3 - n_dim], *size)
    return z, y, x


def _dice(
    labels: Volume, corrected: Volume, classes: NDArray[np.int32], model: Model
) -> dict[int, float]:
    """Return the Dice of the corrected voxels, by value of the labels that they contain."""
    found = resample_to_grid(labels, corrected.grid, order="nearest", fill=0).array
    known = classes >= 0
    dice = {}
    for channel in np.unique(classes[known]).tolist():
        if channel:
            value = model.label_values[channel]
            here, there = (classes == channel), (found == value) & known
            dice[value] = 2 * float((here & there).sum()) / float(here.sum() + there.sum())
    return dice


def _card(model: Model, name: str | None, entry: Mapping[str, object]) -> ModelCard:
    """Return the card of the adapted model; it keeps license, citation and training."""
    card = model.card
    earlier = card.training.get("adapted", [])
    voxels = entry["voxels"]
    assert isinstance(voxels, dict)
    text = (
        f"Adapted from {model.name} to one corrected scan "
        f"({sum(voxels.values())} voxels). Its accuracy on other scans was not measured."
    )
    return card.model_copy(
        update={
            "name": name or (card.name if earlier else f"{card.name} (adapted)"),
            "description": f"{card.description} {text}".strip(),
            "training": {**card.training, "adapted": [*earlier, dict(entry)]},
            "dice": (),  # that of the original model
        }
    )
