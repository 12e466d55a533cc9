"""The Dice on validation data of the bundled models."""

from __future__ import annotations

import pytest

from napari_hyperspace.gui.models.accuracy import accuracy_at
from napari_hyperspace.nets.model_file import load_model


@pytest.mark.parametrize("name", ["hippocampus", "hippocampus-physical"])
def test_the_dice_of_the_hippocampus_models_is_comparable_between_spacings(name):
    """Scored at 1 mm, which the scans have: the coarser the spacing, the lower the Dice.

    Scored on the grid of each spacing, 2 mm would be as good as 1 mm.
    """
    accuracy = accuracy_at(load_model(name), (2.0, 2.0, 2.0), "extrapolate")
    assert accuracy.joined
    assert "on 30 scans of Hippocampus, scored on their own grids." in accuracy.text
    from_native = [dice for spacing, dice in accuracy.measured if spacing >= 1]
    assert len(from_native) == 6
    assert from_native == sorted(from_native, reverse=True)


def test_the_dice_of_the_brain_model_is_not_joined_to_a_curve():
    accuracy = accuracy_at(load_model("brain"), (2.0, 2.0, 2.0), "extrapolate")
    assert not accuracy.joined and accuracy.measured
    assert "on 10 synthetic scans" in accuracy.text
    assert accuracy.text.endswith("not comparable between spacings.")
