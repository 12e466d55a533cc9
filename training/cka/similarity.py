"""Centered kernel alignment (CKA) with a linear kernel: a similarity of two layers.

All arithmetic is float64. A Gram matrix contains the examples of one batch only, and depends on the
activations only through their dot products: memory does not grow with the data set.

References
----------
Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019 (CKA).
Song et al., Feature Selection via Dependence Maximization, JMLR 13, 2012 (unbiased HSIC).
Nguyen, Raghu, Kornblith, Do Wide and Deep Networks Learn the Same Things?, ICLR 2021 (minibatches).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_hyperspace.core.errors import HyperspaceError

Array = NDArray[np.float64]
Activations = NDArray[np.float32] | NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

MIN_EXAMPLES = 4
"""Smallest number of examples in a batch: the unbiased estimator divides by n - 3."""
_ROUNDING = 1e-24  # a sum of squares this small relative to its terms is due to rounding
_COLUMNS = 1 << 16  # features converted to float64 at once


def gram(activations: Activations) -> Array:
    """Return the dot products of the examples, centered per feature.

    Parameters
    ----------
    activations
        (n, p): one row per example, one column per feature.

    Returns
    -------
    NDArray
        (n, n). Exactly zero if all examples are equal up to rounding.
    """
    n = activations.shape[0]
    total, squares = np.zeros((n, n)), 0.0
    for start in range(0, activations.shape[1], _COLUMNS):
        columns = activations[:, start : start + _COLUMNS].astype(np.float64)
        squares += float(np.vdot(columns, columns))
        columns -= columns.mean(axis=0)
        total += columns @ columns.T
    return total if np.trace(total) > _ROUNDING * squares else np.zeros((n, n))


def u_centered(grams: Array) -> Array:
    """Center Gram matrices for the unbiased HSIC.

    The sum of products of two such matrices over n (n - 3) is the unbiased HSIC: it equals
    [tr KL + 1ᵀK1 · 1ᵀL1 / (n - 1)(n - 2) - 2 · 1ᵀKL1 / (n - 2)] / n (n - 3) of the matrices without
    their diagonals (Song et al.; in the notation of Székely and Rizzo, 2014).

    Parameters
    ----------
    grams
        (…, n, n), n at least 4.

    Returns
    -------
    NDArray
        (…, n, n); rows and columns sum to 0, and the diagonal is 0. Exactly zero if the result is
        due to rounding only.

    Raises
    ------
    HyperspaceError
        If there are fewer than 4 examples.
    """
    n = grams.shape[-1]
    if n < MIN_EXAMPLES:
        raise HyperspaceError(
            "too few examples for the unbiased estimate",
            found=n,
            expected=f"{MIN_EXAMPLES} or more",
        )
    diagonal = np.eye(n, dtype=bool)
    bare = np.where(diagonal, 0.0, grams)
    rows = bare.sum(axis=-1, keepdims=True) / (n - 2)
    everything = bare.sum(axis=(-2, -1), keepdims=True) / ((n - 1) * (n - 2))
    centered = np.where(diagonal, 0.0, bare - rows - rows.swapaxes(-2, -1) + everything)
    after, before = (np.square(m).sum(axis=(-2, -1), keepdims=True) for m in (centered, bare))
    return np.where(after > _ROUNDING * before, centered, 0.0)


def linear_cka(x: Activations, y: Activations, *, unbiased: bool = False) -> float:
    """Return the CKA of two layers over all examples at once; NaN if a layer is constant.

    Parameters
    ----------
    x, y
        (n, p) and (n, q): activations of the same n examples.
    unbiased
        Whether to use the unbiased estimate of HSIC, which needs 4 examples. Otherwise Kornblith's
        CKA, ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of the centered activations, which approaches 1 if p and q
        exceed n.

    Raises
    ------
    HyperspaceError
        If the numbers of examples differ.
    """
    if x.shape[0] != y.shape[0]:
        raise HyperspaceError(
            "CKA compares activations of the same examples", found=(x.shape[0], y.shape[0])
        )
    k, l = (u_centered(gram(z)) if unbiased else gram(z) for z in (x, y))  # noqa: E741
    return float(_normalized(np.vdot(k, l), np.vdot(k, k), np.vdot(l, l)))


class MinibatchCKA(Generic[Key]):
    """CKA between the layers of networks, from batches of examples.

    The unbiased HSIC of each pair of layers is averaged over the batches, weighted by their size,
    before it is normalized, so that the average does not depend on the size of the batches.

    Parameters
    ----------
    pairs
        The networks to compare, by any keys; (a, a) compares the layers of one network.
    """

    def __init__(self, pairs: Sequence[tuple[Key, Key]]) -> None:
        self._cross: dict[tuple[Key, Key], Array | float] = dict.fromkeys(pairs, 0.0)
        self._own: dict[Key, Array | float] = dict.fromkeys((k for p in pairs for k in p), 0.0)
        self.examples = 0

    def update(self, grams: Mapping[Key, Array]) -> None:
        """Add a batch.

        Parameters
        ----------
        grams
            (layers, n, n) of each network, by `gram`, of the same n examples.

        Raises
        ------
        HyperspaceError
            If there are fewer than 4 examples.
        """
        n = grams[next(iter(self._own))].shape[-1]
        rows = {key: u_centered(grams[key]).reshape(-1, n * n) for key in self._own}
        scale = n / (n * (n - 3))  # unbiased HSIC times the weight of the batch
        for key, own in rows.items():
            self._own[key] += scale * np.square(own).sum(axis=1)
        for a, b in self._cross:
            self._cross[a, b] += scale * (rows[a] @ rows[b].T)
        self.examples += n

    def maps(self) -> dict[tuple[Key, Key], Array]:
        """Return CKA (layers of a, layers of b) of each pair; NaN if a layer is constant."""
        return {
            (a, b): _normalized(cross, np.reshape(self._own[a], (-1, 1)), np.array(self._own[b]))
            for (a, b), cross in self._cross.items()
        }


def _normalized(cross: ArrayLike, own_a: ArrayLike, own_b: ArrayLike) -> Array:
    scale = np.asarray(np.sqrt(own_a) * np.sqrt(own_b))  # own_a · own_b could underflow
    undefined = np.full(np.shape(cross), np.nan)
    cka: Array = np.divide(cross, scale, out=undefined, where=scale > 0)
    return cka


def slopes(abscissa: Sequence[float], maps: Sequence[Array]) -> Array:
    """Return the slope of the least-squares line through each element of arrays.

    Parameters
    ----------
    abscissa
        Value at which each array was measured, such as the spacing in mm; at least two different
        ones.
    maps
        Arrays of one shape.
    """
    x = np.asarray(abscissa, dtype=np.float64) - np.mean(abscissa)
    slope: Array = np.tensordot(x, np.stack(maps), axes=1) / np.vdot(x, x)
    return slope
