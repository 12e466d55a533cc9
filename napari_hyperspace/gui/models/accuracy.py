"""The Dice of a model at the current spacing, as the dock shows it, and what it was measured on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import clamp_spacing
from napari_hyperspace.gui.models.choices import Outside
from napari_hyperspace.gui.models.formatting import describe_accuracy, describe_real_accuracy
from napari_hyperspace.gui.models.spacings import mean_spacing
from napari_hyperspace.gui.models.view import Accuracy
from napari_hyperspace.nets.accuracy import (
    contrast_in_name,
    expected_dice,
    is_isotropic,
    measured_along,
    real_records,
)

if TYPE_CHECKING:
    from napari_hyperspace.nets.card import DiceRecord, ModelCard
    from napari_hyperspace.nets.model import Model

_SYNTHESIZED = "label-maps"  # kind of training data from which scans are synthesized


def accuracy_at(
    model: Model, spacing_mm: Triple, outside: Outside, scan_name: str = ""
) -> Accuracy:
    """Return the Dice to show, from the measurements in a model's card.

    If the card has measurements on real scans, those of the contrast that the scan's name says are
    taken, or those of T1-weighted scans. Otherwise it is the Dice on validation data: scores on
    the grids of the scans themselves if the card has them at all spacings. Others were scored on
    the grid of each spacing and are not comparable between spacings: those are not joined by a
    line.

    Parameters
    ----------
    model
        The model.
    spacing_mm
        Canonical (z, y, x).
    outside
        "clamp": outside the trained range, the Dice at the nearest trained spacing is returned.
    scan_name
        Name of the scan's layer.
    """
    contrast, network_spacing = contrast_in_name(scan_name), spacing_mm
    real = real_records(model.card, contrast)
    records: tuple[DiceRecord, ...] = real or model.card.dice
    native = bool(records) and all(record.native_mean is not None for record in records)
    if native:
        records = tuple(one.model_copy(update={"mean": one.native_mean}) for one in records)
    if outside == "clamp":
        network_spacing = clamp_spacing(spacing_mm, model.trained_range_mm)
    seen = network_spacing[-model.n_dim :]
    expected = expected_dice(records, seen)
    if real:
        text = describe_real_accuracy(expected, real[0], contrast)
    else:
        text = describe_accuracy(expected, validation_data(model.card), native=native)
    if model.n_dim != 3:  # in-plane spacings cannot be placed on the axis of 3-D spacings
        return Accuracy(text)
    current = None if expected is None else (mean_spacing(spacing_mm), expected.dice)
    joined = native and is_isotropic(seen)
    return Accuracy(text, tuple(measured_along(records, seen)), joined, current)


def validation_data(card: ModelCard) -> str:
    """Describe what the Dice of a card was measured on; empty if nothing was measured.

    Such as "30 scans of Hippocampus", "10 synthetic scans".
    """
    if not card.dice:
        return ""
    configuration = card.training.get("configuration")
    data = configuration.get("data") if isinstance(configuration, dict) else None
    synthesized = isinstance(data, dict) and data.get("kind") == _SYNTHESIZED
    name, cases = card.training.get("data"), card.dice[0].cases
    scans = "synthetic scans" if synthesized else "scans"
    text = scans if cases is None else f"{cases} {scans}"
    named = isinstance(name, str) and name and not synthesized
    return f"{text} of {name}" if named else text
