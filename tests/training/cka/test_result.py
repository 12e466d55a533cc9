"""Settings of a measurement."""

from __future__ import annotations

import pytest

from napari_hyperspace.core.errors import HyperspaceError
from training.cka.result import CKASettings


def test_settings_choose_spacings_and_reference():
    chosen = CKASettings()
    assert len(chosen.spacings) == 11  # ten steps, and 1 mm
    assert (chosen.spacings[0], chosen.spacings[-1]) == ((0.94,) * 3, (2.0,) * 3)
    assert chosen.spacings[1] == chosen.reference == (1, 1, 1)
    assert CKASettings((1.5,) * 3, (3,) * 3).reference == (1.5,) * 3
    along = CKASettings((1, 1, 1), (3, 1, 1), steps=3)
    assert along.spacings == [(1, 1, 1), (2, 1, 1), (3, 1, 1)]
    assert (
        CKASettings((1,) * 3, (2,) * 3, steps=3, reference_mm=(1.5,) * 3).spacings[1] == (1.5,) * 3
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"batch": 7}, "batch"),
        ({"margin_mm": -1.0}, "margin_mm"),
        ({"margin_mm": 1e9}, "margin_mm"),
        ({"stop_mm": (1e9, 1e9, 1e9)}, "spacing_mm"),
        ({"start_mm": (1e-9, 1, 1)}, "spacing_mm"),
        ({"box_mm": 0.0}, "box_mm"),
        ({"box_mm": float("nan")}, "box_mm"),
        ({"start_mm": (0, 1, 1)}, "spacing_mm"),
        ({"reference_mm": (1, 1)}, "spacing_mm"),
    ],
)
def test_settings_out_of_range_are_refused(change, field):
    with pytest.raises(HyperspaceError) as caught:
        CKASettings(**change)
    assert caught.value.field == field
