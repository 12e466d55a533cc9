"""The Dice on validation data of the bundled models."""

from __future__ import annotations

import pytest

from napari_hyperspace.gui.models.accuracy import accuracy_at
from napari_hyperspace.nets.card import DiceRecord, RealDice
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


def _measured(contrast, spacing, mean, agreement=False):
    return RealDice(
        spacing_mm=(spacing,) * 3,
        dice={"cortex": mean},
        mean=mean,
        native_mean=mean,
        cases=1 if agreement else 2,
        contrast=contrast,
        compared_with="another program" if agreement else "friends",
        agreement=agreement,
    )


REAL = (
    _measured("t1", 1.0, 0.8),
    _measured("t1", 2.0, 0.7),
    _measured("t1", 2.0, 0.3, agreement=True),
    _measured("t2", 2.0, 0.6, agreement=True),
)
SYNTHETIC = DiceRecord(spacing_mm=(2, 2, 2), dice={"cortex": 0.5}, mean=0.5, cases=10)


@pytest.mark.parametrize(
    ("scan", "dice", "text"),
    [
        (
            "sub-1_T1w",
            0.7,
            "Dice on real T1 scans: 0.70, measured at 2 mm on 2 scans.",
        ),
        (
            "study2_T2W [2]",
            0.6,
            "Agreement on real T2 scans: 0.60, measured at 2 mm on 1 scan, with another program "
            "(Dice; not accuracy).",
        ),
        (
            "ax t2 flair",
            0.7,
            "Dice on real T1 scans: 0.70, measured at 2 mm on 2 scans. Not measured on FLAIR.",
        ),
        (
            "IM_0001",
            0.7,
            "Dice on real T1 scans: 0.70, measured at 2 mm on 2 scans. The name of this scan does "
            "not say its contrast.",
        ),
    ],
)
def test_the_dice_is_that_of_real_scans_of_the_contrast(make_model, scan, dice, text):
    model = make_model(dice=(SYNTHETIC,), real=REAL)
    accuracy = accuracy_at(model, (2.0, 2.0, 2.0), "extrapolate", scan)
    assert accuracy.text == text
    assert accuracy.current == (pytest.approx(2.0), dice)
    assert accuracy.joined


def test_the_dice_on_real_scans_may_be_unknown_at_a_spacing(make_model):
    model = make_model(dice=(SYNTHETIC,), real=REAL)
    accuracy = accuracy_at(model, (5.0, 5.0, 5.0), "extrapolate", "t1")
    assert accuracy.text == "Dice on real T1 scans: not measured near this spacing."
    assert accuracy.current is None


def test_the_dice_on_synthetic_scans_is_not_joined_to_a_curve(make_model):
    configuration = {"data": {"kind": "label-maps"}}
    model = make_model(dice=(SYNTHETIC,), training={"configuration": configuration})
    accuracy = accuracy_at(model, (2.0, 2.0, 2.0), "extrapolate")
    assert not accuracy.joined and accuracy.measured
    assert "on 10 synthetic scans" in accuracy.text
    assert accuracy.text.endswith("not comparable between spacings.")
