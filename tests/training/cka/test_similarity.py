"""CKA against its definitions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import linregress, ortho_group

from napari_hyperspace.core.errors import HyperspaceError
from training.cka.similarity import MinibatchCKA, gram, linear_cka, slopes, u_centered

SEEDS = st.integers(0, 2**32 - 1)


def unbiased_hsic(K, L):
    """Equation (3) of Nguyen et al., term by term."""
    n = len(K)
    K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
    one = np.ones(n)
    terms = (
        np.trace(K @ L)
        + (one @ K @ one) * (one @ L @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ K @ L @ one)
    )
    return terms / (n * (n - 3))


def unbiased_cka(x, y):
    K, L = x @ x.T, y @ y.T
    return unbiased_hsic(K, L) / np.sqrt(unbiased_hsic(K, K) * unbiased_hsic(L, L))


def correlated(rng, n=11, p=7, q=5, offset=3.0):
    """Return two correlated layers whose means are far from zero."""
    x = rng.normal(size=(n, p))
    return x + offset, np.tanh(x[:, :q]) + 0.5 * rng.normal(size=(n, q)) - offset


def test_equals_the_definition_in_feature_space(rng):
    x, y = correlated(rng)
    xc, yc = x - x.mean(0), y - y.mean(0)
    norms = [np.linalg.norm(a, "fro") for a in (yc.T @ xc, xc.T @ xc, yc.T @ yc)]
    expected = norms[0] ** 2 / (norms[1] * norms[2])
    assert linear_cka(x, y) == pytest.approx(expected, rel=1e-12)
    assert 0.1 < expected < 0.95


def test_the_unbiased_estimate_equals_the_sum_of_the_paper(rng):
    x, y = correlated(rng)
    assert linear_cka(x, y, unbiased=True) == pytest.approx(unbiased_cka(x, y), rel=1e-10)
    assert linear_cka(x, y, unbiased=True) < linear_cka(x, y)


def test_one_batch_equals_the_direct_computation(rng):
    layers_a = [rng.normal(size=(9, p)) for p in (3, 40, 6)]
    layers_b = [rng.normal(size=(9, 4)), layers_a[0] @ rng.normal(size=(3, 8))]
    cka = MinibatchCKA([("a", "a"), ("a", "b")])
    cka.update({"a": np.stack([*map(gram, layers_a)]), "b": np.stack([*map(gram, layers_b)])})
    maps = cka.maps()
    for pair, rows, columns in (
        (("a", "a"), layers_a, layers_a),
        (("a", "b"), layers_a, layers_b),
    ):
        expected = [[unbiased_cka(x, y) for y in columns] for x in rows]
        np.testing.assert_allclose(maps[pair], expected, rtol=1e-9, atol=1e-12)


def test_all_subsets_together_give_the_estimate_of_all_examples(rng):
    # The mean of a U-statistic over all subsets of one size is the statistic of all examples.
    x, y = correlated(rng, n=8)
    cka = MinibatchCKA([("x", "y")])
    for subset in combinations(range(8), 5):
        rows = list(subset)
        cka.update({"x": gram(x[rows])[None], "y": gram(y[rows])[None]})
    assert cka.maps()["x", "y"].item() == pytest.approx(unbiased_cka(x, y), abs=1e-10)
    assert cka.examples == 56 * 5


def test_batches_are_weighted_by_their_size(rng):
    x, y = correlated(rng, n=13)
    parts = [slice(0, 4), slice(4, 13)]
    cka = MinibatchCKA([("x", "y")])
    for part in parts:
        cka.update({"x": gram(x[part])[None], "y": gram(y[part])[None]})

    def mean(a, b):
        return sum(len(a[s]) * unbiased_hsic(a[s] @ a[s].T, b[s] @ b[s].T) for s in parts) / len(a)

    expected = mean(x, y) / np.sqrt(mean(x, x) * mean(y, y))
    assert cka.maps()["x", "y"].item() == pytest.approx(expected, rel=1e-9)


def test_independent_layers_have_no_unbiased_similarity():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 500)), rng.normal(size=(40, 500))
    assert linear_cka(x, y) > 0.8  # far more features than examples
    cka = MinibatchCKA([("x", "y")])
    for start in range(0, 40, 10):
        part = slice(start, start + 10)
        cka.update({"x": gram(x[part])[None], "y": gram(y[part])[None]})
    assert abs(cka.maps()["x", "y"].item()) < 0.15


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, scale=st.floats(1e-6, 1e6), unbiased=st.booleans())
def test_the_cka_of_a_layer_and_its_rotation_scaled_and_shifted_is_1(seed, scale, unbiased):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, 5))
    turned = scale * (x @ ortho_group.rvs(5, random_state=rng) + rng.normal(size=5))
    assert linear_cka(x, x, unbiased=unbiased) == pytest.approx(1, abs=1e-12)
    assert linear_cka(x, turned, unbiased=unbiased) == pytest.approx(1, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, a=st.floats(1e-3, 1e3), b=st.floats(1e-3, 1e3), unbiased=st.booleans())
def test_orthogonal_maps_and_scale_do_not_change_cka(seed, a, b, unbiased):
    rng = np.random.default_rng(seed)
    x, y = correlated(rng)
    turned_x = a * x @ ortho_group.rvs(x.shape[1], random_state=rng)
    turned_y = b * y @ ortho_group.rvs(y.shape[1], random_state=rng)
    expected = linear_cka(x, y, unbiased=unbiased)
    assert linear_cka(turned_x, turned_y, unbiased=unbiased) == pytest.approx(expected, abs=1e-9)
    assert linear_cka(y, x, unbiased=unbiased) == pytest.approx(expected, abs=1e-12)
    order = rng.permutation(len(x))
    assert linear_cka(x[order], y[order], unbiased=unbiased) == pytest.approx(expected, abs=1e-9)


def test_another_linear_map_does_change_it(rng):
    x, _ = correlated(rng)
    stretched = x * np.array([30, 1, 1, 1, 1, 1, 1])
    assert linear_cka(x, stretched) < 0.9


def test_gram_of_many_features_equals_one_product(rng):
    x = (100 + rng.normal(size=(5, 70_001))).astype(np.float32)  # more than one block of columns
    centered = x.astype(np.float64) - x.astype(np.float64).mean(0)
    np.testing.assert_allclose(gram(x), centered @ centered.T, rtol=1e-10, atol=1e-8)
    assert gram(x).dtype == np.float64


def test_u_centered_matrices_have_no_row_sums(rng):
    centered = u_centered(gram(rng.normal(size=(6, 4)))[None])[0]
    np.testing.assert_allclose(centered.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_array_equal(np.diag(centered), 0)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3])
def test_a_constant_layer_has_no_cka(rng, value):
    constant = np.full((6, 9), value)
    x = rng.normal(size=(6, 4))
    assert np.isnan(linear_cka(x, constant))
    assert np.isnan(linear_cka(constant, constant, unbiased=True))
    cka = MinibatchCKA([(0, 0)])
    cka.update({0: np.stack([gram(x), gram(constant)])})
    np.testing.assert_array_equal(np.isnan(cka.maps()[0, 0]), [[False, True], [True, True]])


def test_a_layer_that_responds_to_one_example_has_no_unbiased_cka(rng):
    # Off the diagonal, its Gram matrix is a sum of row and column terms: only rounding is left.
    one_hot = np.zeros((7, 3))
    one_hot[2] = rng.normal(size=3)
    assert np.isnan(linear_cka(one_hot, rng.normal(size=(7, 4)), unbiased=True))


def test_memory_does_not_grow_with_the_number_of_batches(rng):
    cka = MinibatchCKA([(0, 0), (0, 1)])
    sizes = set()
    for _ in range(5):
        grams = np.stack([gram(rng.normal(size=(12, 9))) for _ in range(3)])
        cka.update({0: grams, 1: grams[:2]})
        kept = [*cka._cross.values(), *cka._own.values()]
        sizes.add(tuple(np.size(array) for array in kept))
    assert sizes == {(9, 6, 3, 2)}  # one number per pair of layers, and one per layer


def test_too_few_or_different_examples_are_refused(rng):
    with pytest.raises(HyperspaceError, match="4 or more"):
        linear_cka(rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), unbiased=True)
    with pytest.raises(HyperspaceError, match="same examples"):
        linear_cka(rng.normal(size=(4, 2)), rng.normal(size=(5, 2)))


def test_slopes_are_those_of_a_linear_regression(rng):
    spacings = [0.94, 1.0, 1.3, 2.0]
    maps = [rng.normal(size=(2, 3)) for _ in spacings]
    expected = [
        [linregress(spacings, [m[i, j] for m in maps]).slope for j in range(3)] for i in range(2)
    ]
    np.testing.assert_allclose(slopes(spacings, maps), expected, rtol=1e-10)
