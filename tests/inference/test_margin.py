"""The plane-by-plane margin equals that of logits interpolated at native size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.inference.argmax import NativeArgmax, NonFiniteLogitsError
from napari_hyperspace.inference.margin import NativeMargin
from tests.scans import INTERPOLATION_ERROR, interpolated

CPU = torch.device("cpu")


def _filled(sink_type, logits, working, native, dtype):
    out = np.full(native.shape, 99, dtype)
    sink = sink_type(working, native, (0, 1), out, CPU)
    for plane in torch.from_numpy(logits).unbind(1):
        sink.push(plane)
    return out, sink.border


steps = st.floats(0.3, 3.5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 17)] * 3),
    native_mm=st.tuples(steps, steps, steps),
    working_mm=st.tuples(steps, steps, steps),
    seed=st.integers(0, 1000),
)
def test_margins_equal_those_at_native_size(shape, native_mm, working_mm, seed):
    native = Grid.from_spacing(shape, native_mm)
    working = native.with_spacing(working_mm)
    if np.prod(working.shape) > 60_000:
        working = native
    logits = np.random.default_rng(seed).standard_normal((2, *working.shape)).astype(np.float32)
    margins, border = _filled(NativeMargin, logits, working, native, np.float32)
    at_native = interpolated(logits, working, native)
    bound = 4 * INTERPOLATION_ERROR * np.abs(logits).max()
    np.testing.assert_allclose(margins, at_native[1] - at_native[0], rtol=0, atol=bound)
    labels, label_border = _filled(NativeArgmax, logits, working, native, np.uint8)
    clear = np.abs(margins) > bound
    np.testing.assert_array_equal((margins > 0)[clear], labels[clear] == 1)
    assert border == label_border


def test_a_logit_that_is_not_finite_is_an_error():
    grid = Grid.from_spacing((3, 4, 5), (1, 2, 1))
    logits = np.zeros((2, 3, 4, 5), np.float32)
    logits[1, 1, 2, 3] = np.nan
    with pytest.raises(NonFiniteLogitsError, match="plane 1"):
        _filled(NativeMargin, logits, grid, grid, np.float32)


def test_a_margin_is_between_two_classes():
    grid = Grid.from_spacing((3, 4, 5), (1, 2, 1))
    with pytest.raises(ValueError, match="two classes; found 3"):
        NativeMargin(grid, grid, (0, 1, 2), np.zeros(grid.shape, np.float32), CPU)
