"""Probabilities on the native grid against their interpolation at native size, and their mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.inference.argmax import NonFiniteLogitsError
from napari_hyperspace.inference.best.probabilities import (
    MOST_MEMBERS,
    Mean,
    NativeProbabilities,
    mean_bytes,
)
from tests.scans import interpolated

CPU = torch.device("cpu")
SCALE = 4095
steps = st.floats(0.4, 3.0)


def _fill(out, logits, working, native):
    sink = NativeProbabilities(working, native, range(len(logits)), out, CPU)
    for plane in torch.from_numpy(logits).unbind(1):
        sink.push(plane)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    native_mm=st.tuples(steps, steps, steps),
    working_mm=st.tuples(steps, steps, steps),
    seed=st.integers(0, 1000),
)
def test_probabilities_equal_those_at_native_size(shape, native_mm, working_mm, seed):
    native = Grid.from_spacing(shape, native_mm)
    working = native.with_spacing(working_mm)
    if np.prod(working.shape) > 20_000:
        working = native
    logits = np.random.default_rng(seed).normal(0, 3, (4, *working.shape)).astype(np.float32)
    mean = Mean(4, native.shape)
    _fill(mean.member, logits, working, native)
    exact = np.exp(logits.astype(float))
    exact = (exact / exact.sum(axis=0)).astype(np.float32)
    expected = interpolated(exact, working, native)
    # Half a step of the integers, and the rounding of interpolation in single precision.
    np.testing.assert_allclose(mean.member / SCALE, expected, atol=0.501 / SCALE)


def _random_member(rng, shape):
    p = rng.dirichlet(np.ones(shape[0]), shape[1:])
    return np.rint(SCALE * np.moveaxis(p, -1, 0)).astype(np.uint16)


def test_the_mean_is_that_of_the_members_in_any_order():
    rng = np.random.default_rng(0)
    shape, classes = (3, 4, 5, 6), [0, 2, 1]
    members = [_random_member(rng, shape) for _ in range(3)]
    sums = members[0] + members[1] + members[2][classes][..., ::-1]
    for order in ((0, 1, 2), (2, 0, 1)):
        mean = Mean(3, shape[1:])
        for index in order:
            mean.member[:] = members[index]
            mean.add(classes if index == 2 else None)
        labels, doubt = np.zeros(shape[1:], np.uint8), np.zeros(shape[1:], np.float32)
        mean.write((0, 7, 9), labels, doubt)
        np.testing.assert_array_equal(labels, np.array([0, 7, 9])[sums.argmax(axis=0)])
        np.testing.assert_allclose(doubt, 1 - sums.max(axis=0) / (3 * SCALE), atol=1e-6)


def test_certain_members_that_agree_leave_no_doubt():
    mean = Mean(2, (2, 2, 2))
    mean.member[1] = SCALE
    for _ in range(MOST_MEMBERS):
        mean.add()
    labels, doubt = np.zeros((2, 2, 2), np.uint8), np.ones((2, 2, 2), np.float32)
    mean.write((0, 1), labels, doubt)
    assert (labels == 1).all() and (doubt == 0).all()
    with pytest.raises(ValueError, match="at most"):
        mean.add()


def test_what_the_mean_holds_is_known():
    mean = Mean(3, (4, 5, 6))
    assert mean_bytes(3, (4, 5, 6)) == 2 * mean.member.nbytes


def test_a_logit_that_is_not_finite_is_an_error():
    grid = Grid.from_spacing((2, 3, 4), (1, 1, 1))
    logits = np.zeros((2, 2, 3, 4), np.float32)
    logits[0, 1, 1, 1] = np.inf
    with pytest.raises(NonFiniteLogitsError, match="plane 1"):
        _fill(Mean(2, grid.shape).member, logits, grid, grid)
