"""The plane-by-plane labels equal an arg-max over all channels interpolated at native size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.inference.argmax import NativeArgmax, NonFiniteLogitsError
from tests.scans import INTERPOLATION_ERROR, interpolated, labels_and_gap

CPU = torch.device("cpu")


def labels_of(logits, working, native, values, dtype=np.uint8):
    out = np.full(native.shape, 255, dtype)
    argmax = NativeArgmax(working, native, values, out, CPU)
    for plane in torch.from_numpy(logits).unbind(1):
        argmax.push(plane)
    return out


def assert_labels_equal_those_at_native_size(logits, working, native, dtype=np.uint8):
    """Equal wherever interpolation in float32 cannot change the order of two classes."""
    expected, gap = labels_and_gap(interpolated(logits, working, native))
    labels = labels_of(logits, working, native, range(len(logits)), dtype)
    clear = gap > 2 * INTERPOLATION_ERROR * np.abs(logits).max()
    np.testing.assert_array_equal(labels[clear], expected[clear])
    assert clear.mean() > 0.99


steps = st.floats(0.3, 3.5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 17)] * 3),
    native_mm=st.tuples(steps, steps, steps),
    working_mm=st.tuples(steps, steps, steps),
    k=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
def test_labels_equal_those_at_native_size(shape, native_mm, working_mm, k, seed):
    native = Grid.from_spacing(shape, native_mm)
    working = native.with_spacing(working_mm)
    if np.prod(working.shape) > 60_000:
        working = native
    noise = np.random.default_rng(seed).standard_normal((k, *working.shape))
    logits = np.stack([gaussian_filter(c, 1.2) for c in noise]).astype(np.float32)
    assert_labels_equal_those_at_native_size(logits, working, native)


def test_equal_grids_are_a_plain_argmax_with_values_looked_up():
    grid = Grid.from_spacing((4, 5, 7), (2, 1, 1.5))
    logits = np.random.default_rng(0).standard_normal((3, 4, 5, 7)).astype(np.float32)
    labels = labels_of(logits, grid, grid, (0, 7, 200))
    np.testing.assert_array_equal(labels, np.array([0, 7, 200])[logits.argmax(0)])


def test_noise_is_interpolated_in_bounded_chunks(monkeypatch):
    monkeypatch.setattr("napari_hyperspace.inference.argmax.POINTS_AT_ONCE", 7)
    native = Grid.from_spacing((5, 11, 13), (1, 1, 1))
    working = native.with_spacing((1.7, 1.3, 2.1))
    logits = np.random.default_rng(3).standard_normal((4, *working.shape)).astype(np.float32)
    assert_labels_equal_those_at_native_size(logits, working, native)


def test_more_than_255_classes():
    native = Grid.from_spacing((3, 6, 5), (1, 1, 1))
    working = native.with_spacing((1.5, 1.5, 1.5))
    logits = np.random.default_rng(4).standard_normal((300, *working.shape)).astype(np.float32)
    assert_labels_equal_those_at_native_size(logits, working, native, np.uint16)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    grid = Grid.from_spacing((1, 3, 3), (1, 1, 1))
    logits = np.zeros((2, 1, 3, 3), np.float32)
    logits[1, 0, 2, 1] = bad
    with pytest.raises(NonFiniteLogitsError, match="not finite"):
        labels_of(logits, grid, grid, (0, 1))
