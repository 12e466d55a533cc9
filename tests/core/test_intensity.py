from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.intensity import Normalization

EPS = np.finfo(np.float32).eps


def test_z_score(rng):
    array = rng.integers(0, 4000, (5, 6, 7)).astype(np.uint16)
    scaled = Normalization("z-score").apply(array)
    assert scaled.dtype == np.float32
    # float32 rounds the value, the mean, their difference and its product.
    bound = 4 * EPS * array.max() / array.std()
    expected = (array - array.mean()) / array.std()
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=bound)


def test_percentiles_and_windows_clip(rng):
    array = rng.normal(size=(9, 8, 7))
    low, high = np.percentile(array.astype(np.float32), (2, 90))
    expected = np.clip((array - low) / (high - low), 0, 1)
    bound = 4 * EPS * np.abs(array).max() / (high - low)
    scaled = Normalization("percentile", 2, 90).apply(array)
    np.testing.assert_allclose(scaled, expected, rtol=0, atol=bound)
    window = Normalization("window", -1000, 1000).apply(np.array([[[-2000, 0, 3000]]]))
    np.testing.assert_allclose(window, [[[0, 0.5, 1]]])


def test_none_keeps_values():
    array = np.array([[[3, 5]]], dtype=np.int16)
    np.testing.assert_array_equal(Normalization("none").apply(array), array)


@pytest.mark.parametrize("kind", ["z-score", "percentile"])
def test_constant_image(kind):
    """Fault 25 of the list of bad inputs."""
    with pytest.warns(HyperspaceWarning, match="constant"):
        scaled = Normalization(kind).apply(np.full((2, 3, 4), 7))
    np.testing.assert_array_equal(scaled, 0)


@pytest.mark.parametrize("kind", ["z-score", "percentile"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_values_that_are_not_finite(kind):
    """Fault 22 of the list of bad inputs."""
    array = np.ones((2, 3, 4))
    array[0, 0, :3] = np.nan, np.inf, -np.inf
    with pytest.raises(HyperspaceError) as caught:
        Normalization(kind).apply(array)
    assert caught.value.found == "3 of 24 voxels"


def test_empty_ranges_are_refused():
    with pytest.raises(HyperspaceError, match="below the upper"):
        Normalization("window", 5, 5)
