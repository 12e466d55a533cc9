from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.gui.models.scales import Scale, make_scales

spacings = st.floats(0.06, 40)


@given(spacings, spacings)
def test_a_scale_is_logarithmic_and_has_an_inverse(first, second):
    scale = Scale(0.4, 8.0).reaching(first).reaching(second)
    for value in (first, second):
        assert -1e-9 <= scale.fraction(value) <= 1 + 1e-9
        assert scale.spacing(scale.fraction(value)) == pytest.approx(value)
    middle = scale.spacing(0.5)
    assert middle / scale.low == pytest.approx(scale.high / middle)


def test_scales_include_trained_untrained_and_native_spacings():
    scales = make_scales(((0.8, 4.0), (0.5, 3.0), (0.5, 3.0)), (6.5, 0.69, 0.69))
    assert [scale.trained for scale in scales.each] == [(0.8, 4.0), (0.5, 3.0), (0.5, 3.0)]
    assert scales.together.trained == (0.8, 3.0)  # the intersection of the ranges
    assert scales.together.native == (0.69, 6.5)
    for scale in (scales.together, *scales.each):
        assert scale.low < min(scale.trained[0], *scale.native)
        assert scale.high > max(scale.trained[1], *scale.native)
    assert scales.each[0].is_trained(0.79999)
    assert not scales.each[0].is_trained(0.7)


def test_scales_without_model_or_scan():
    scales = make_scales(None, None)
    assert scales.together.trained is None
    assert scales.together.is_trained(0.01)


def test_a_2d_model_has_no_trained_range_along_z():
    scales = make_scales(((0.5, 2.0), (0.5, 2.0)), (5.0, 1.0, 1.0))
    assert [scale.trained for scale in scales.each] == [None, (0.5, 2.0), (0.5, 2.0)]
