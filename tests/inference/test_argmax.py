"""The plane-by-plane labels are those of an arg-max over all channels interpolated at full size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.inference.argmax import NativeArgmax, NonFiniteLogitsError

CPU = torch.device("cpu")


def full_size_oracle(logits, working, native):
    """Interpolate every channel at every native voxel through the affines; arg-max."""
    index = np.stack(np.meshgrid(*map(np.arange, native.shape), indexing="ij"), axis=-1)
    at = np.moveaxis(working.mm_to_index(native.index_to_mm(index)), -1, 0)
    volumes = [map_coordinates(c.astype(np.float64), at, order=1, mode="nearest") for c in logits]
    return np.argmax(volumes, axis=0), np.sort(volumes, axis=0)


def label(logits, working, native, values):
    out = np.full(native.shape, 255, np.uint8)
    labeller = NativeArgmax(working, native, values, out, CPU)
    for plane in torch.from_numpy(logits).unbind(1):
        labeller.push(plane)
    return out


def smooth_logits(rng, k, shape):
    noise = rng.standard_normal((k, *shape))
    return np.stack([gaussian_filter(c, 1.2) for c in noise]).astype(np.float32)


steps = st.floats(0.3, 3.5)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 17)] * 3),
    native_mm=st.tuples(steps, steps, steps),
    working_mm=st.tuples(steps, steps, steps),
    k=st.integers(2, 5),
    seed=st.integers(0, 1000),
)
def test_labels_equal_full_size_argmax(shape, native_mm, working_mm, k, seed):
    native = Grid.from_spacing(shape, native_mm)
    working = native.with_spacing(working_mm)
    if np.prod(working.shape) > 60_000:
        working = native
    logits = smooth_logits(np.random.default_rng(seed), k, working.shape)
    expected, ordered = full_size_oracle(logits, working, native)
    labels = label(logits, working, native, range(k))
    clear = ordered[-1] - ordered[-2] > 1e-5  # float32 against float64
    np.testing.assert_array_equal(labels[clear], expected[clear])
    assert clear.mean() > 0.99


def test_equal_grids_are_a_plain_argmax_with_values_looked_up():
    grid = Grid.from_spacing((4, 5, 7), (2, 1, 1.5))
    logits = np.random.default_rng(0).standard_normal((3, 4, 5, 7)).astype(np.float32)
    labels = label(logits, grid, grid, (0, 7, 200))
    np.testing.assert_array_equal(labels, np.array([0, 7, 200])[logits.argmax(0)])


def test_noise_is_interpolated_in_bounded_chunks(monkeypatch):
    monkeypatch.setattr("napari_hyperspace.inference.argmax.POINTS_AT_ONCE", 7)
    native = Grid.from_spacing((5, 11, 13), (1, 1, 1))
    working = native.with_spacing((1.7, 1.3, 2.1))
    logits = np.random.default_rng(3).standard_normal((4, *working.shape)).astype(np.float32)
    expected, _ = full_size_oracle(logits, working, native)
    np.testing.assert_array_equal(label(logits, working, native, range(4)), expected)


def test_more_than_255_classes():
    native = Grid.from_spacing((3, 6, 5), (1, 1, 1))
    working = native.with_spacing((1.5, 1.5, 1.5))
    logits = np.random.default_rng(4).standard_normal((300, *working.shape)).astype(np.float32)
    expected, _ = full_size_oracle(logits, working, native)
    out = np.zeros(native.shape, np.uint16)
    labeller = NativeArgmax(working, native, range(300), out, CPU)
    for plane in torch.from_numpy(logits).unbind(1):
        labeller.push(plane)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    grid = Grid.from_spacing((1, 3, 3), (1, 1, 1))
    logits = np.zeros((2, 1, 3, 3), np.float32)
    logits[1, 0, 2, 1] = bad
    with pytest.raises(NonFiniteLogitsError, match="not finite"):
        label(logits, grid, grid, (0, 1))
