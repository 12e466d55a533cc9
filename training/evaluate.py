"""Dice of a finished model at given spacings, on the working grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.intensity import Normalisation
from napari_hyperspace.core.planning import Outside
from napari_hyperspace.core.segment import segment
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.nets.model import Model
from training.data.base import Case, DataSet
from training.scores import SpacingScore, dice_per_label


def evaluate(
    model: Model,
    dataset: DataSet,
    names: Sequence[str],
    spacings_mm: Iterable[Triple],
    *,
    device: str | None = None,
    outside: Outside = "refuse",
    show: Callable[[float, str], None] = lambda fraction, message: None,
) -> list[SpacingScore]:
    """Score a model on cases brought to each spacing.

    Image (averaged over the new voxels) and labels (what covers most of each) are brought to the
    working grid, where the image is segmented like a scan of that spacing.

    Parameters
    ----------
    model
        The model.
    dataset, names
        The cases.
    spacings_mm
        Working spacings, mm (z, y, x).
    device, outside
        As in `napari_hyperspace.segment`.
    show
        Called with the fraction done and what comes next.

    Raises
    ------
    HyperspaceError
        If model and data set differ in channels or label values.
    """
    _check_fit(model, dataset)
    cases = dataset.load(names, Normalisation("none"))
    spacings = list(spacings_mm)
    scores = []
    for i, spacing in enumerate(spacings):
        rows = []
        for k, case in enumerate(cases):
            show((i + k / len(cases)) / len(spacings), f"{spacing} mm: {case.name}")
            rows.append(_dice(model, case.at_spacing(spacing), spacing, device, outside))
        scores.append(_summary(model, spacing, np.array(rows)))
    show(1.0, "done")
    return scores


def _dice(
    model: Model, case: Case, spacing: Triple, device: str | None, outside: Outside
) -> np.ndarray:
    volumes = [Volume(image.numpy(), case.grid, case.name) for image in case.image]
    labels = segment(volumes, model, spacing, device=device, outside=outside)
    channel = np.zeros(max(model.label_values) + 1, np.int64)
    channel[list(model.label_values)] = range(model.out_channels)
    truth = np.array(sorted(model.label_values))[case.labels.numpy()]
    return dice_per_label(
        torch.from_numpy(channel[labels.array]),
        torch.from_numpy(channel[truth]),
        model.out_channels,
    )


def _summary(model: Model, spacing: Triple, rows: np.ndarray) -> SpacingScore:
    means = {}
    for name, column in zip(model.label_names.values(), rows.T, strict=True):
        known = column[np.isfinite(column)]
        means[name] = float(known.mean()) if known.size else float("nan")
    return SpacingScore(spacing, means, len(rows))


def _check_fit(model: Model, dataset: DataSet) -> None:
    if sorted(model.label_names) != sorted(dataset.label_names):
        raise HyperspaceError(
            "model and data set have different label values",
            where=model.name,
            found=sorted(model.label_names),
            expected=sorted(dataset.label_names),
        )
    if model.in_channels != len(dataset.channel_names):
        raise HyperspaceError(
            "model and data set have different numbers of channels",
            where=model.name,
            found=model.in_channels,
            expected=len(dataset.channel_names),
        )
