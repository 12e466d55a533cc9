"""The Dice to expect from a model at the spacing in hand, as the dock shows it."""

from __future__ import annotations

from typing import Any

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.models import formatting as texts
from napari_hyperspace.gui.models.state import Outside, mean_spacing
from napari_hyperspace.gui.models.view import Accuracy
from napari_hyperspace.nets.accuracy import expected_dice, is_isotropic, measured_along


def accuracy_at(model: Any, spacing_mm: Triple, outside: Outside) -> Accuracy:
    """Return what a model's card says of a spacing.

    Parameters
    ----------
    model
        With its card.
    spacing_mm
        Canonical (z, y, x).
    outside
        "clamp": beyond the trained range, the network is that of the nearest trained spacing.
    """
    records, seen = model.card.dice, list(spacing_mm[-model.n_dim :])
    if outside == "clamp" and model.trained_range_mm is not None:
        ranges = zip(seen, model.trained_range_mm, strict=True)
        seen = [min(max(step, low), high) for step, (low, high) in ranges]
    expected = expected_dice(records, seen)
    text = texts.accuracy(expected, bool(records))
    if model.n_dim != 3:  # spacings in the plane have no place among those in space
        return Accuracy(text)
    current = None if expected is None else (mean_spacing(spacing_mm), expected.dice)
    return Accuracy(text, tuple(measured_along(records, seen)), is_isotropic(seen), current)
