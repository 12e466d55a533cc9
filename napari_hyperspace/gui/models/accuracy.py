"""The Dice to expect from a model at the current spacing, as the dock shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import clamp_spacing
from napari_hyperspace.gui.models.choices import Outside
from napari_hyperspace.gui.models.formatting import describe_accuracy
from napari_hyperspace.gui.models.spacings import mean_spacing
from napari_hyperspace.gui.models.view import Accuracy
from napari_hyperspace.nets.accuracy import expected_dice, is_isotropic, measured_along

if TYPE_CHECKING:
    from napari_hyperspace.nets.model import Model


def accuracy_at(model: Model, spacing_mm: Triple, outside: Outside) -> Accuracy:
    """Return the Dice to expect, from the measurements in a model's card.

    Parameters
    ----------
    model
        The model.
    spacing_mm
        Canonical (z, y, x).
    outside
        "clamp": outside the trained range, the Dice at the nearest trained spacing is returned.
    """
    records, network_spacing = model.card.dice, spacing_mm
    if outside == "clamp":
        network_spacing = clamp_spacing(spacing_mm, model.trained_range_mm)
    seen = network_spacing[-model.n_dim :]
    expected = expected_dice(records, seen)
    text = describe_accuracy(expected, bool(records))
    if model.n_dim != 3:  # in-plane spacings cannot be placed on the axis of 3-D spacings
        return Accuracy(text)
    current = None if expected is None else (mean_spacing(spacing_mm), expected.dice)
    return Accuracy(text, tuple(measured_along(records, seen)), is_isotropic(seen), current)
