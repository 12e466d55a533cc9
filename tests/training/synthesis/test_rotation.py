"""Rotation matrices, compared with scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from training.synthesis.rotation import rotation_matrix

ANGLES = st.floats(-np.pi, np.pi)


@given(st.tuples(ANGLES, ANGLES, ANGLES))
@settings(max_examples=200, deadline=None)
def test_the_product_agrees_with_scipy(angles: tuple[float, float, float]) -> None:
    a, b, c = angles
    expected = Rotation.from_euler("XYZ", (a, -b, c)).as_matrix()
    # Products of three matrices with entries up to 1: a few roundings per entry on either side.
    assert rotation_matrix(angles) == pytest.approx(expected, rel=0, abs=32 * np.finfo(float).eps)


def test_no_rotation_is_the_identity() -> None:
    assert np.array_equal(rotation_matrix((0.0, 0.0, 0.0)), np.eye(3))
