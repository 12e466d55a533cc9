"""The display of a training's progress."""

from __future__ import annotations

import pytest

from training.fit import progress
from training.fit.progress import ProgressDisplay


def test_dice_is_shown_after_the_first_validation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PLAIN_INTERVAL_S", -1.0)
    with ProgressDisplay("run", 0, 10) as display:
        display.step(1, 0.5)
        display.validation(1, 0.75, True)
        display.step(2, 0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("step 1/10  loss 0.500  ") and "Dice" not in lines[0]
    assert lines[2].startswith("step 2/10  loss 0.250  Dice 0.7500  ")
    assert "nan" not in "".join(lines)
