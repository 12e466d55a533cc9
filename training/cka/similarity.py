"""Centered kernel alignment (CKA) with a linear kernel: how alike two layers tell examples apart.

All arithmetic is float64. A Gram matrix only ever spans the examples of one batch, and of the
activations only their dot products enter it: neither grows with the data set.

References
----------
Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019 (CKA).
Song et al., Feature Selection via Dependence Maximization, JMLR 13, 2012 (unbiased HSIC).
Nguyen, Raghu, Kornblith, Do Wide and Deep Networks Learn the Same Things?, ICLR 2021 (minibatches).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError

Array = NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)

MIN_EXAMPLES = 4
"""Fewest examples of a batch: the unbiased estimator divides by n - 3."""
_ROUNDING = 1e-24  # a sum of squares this small beside what it was left over from is rounding
_COLUMNS = 1 << 16  # features turned into float64 at once


def gram(activations: NDArray[Any]) -> Array:
    """Return the dot products of the examples, centered feature by feature.

    Parameters
    ----------
    activations
        (n, p): a row an example, a column a feature.

    Returns
    -------
    NDArray
        (n, n). Exactly zero where all examples are the same up to rounding.
    """
    n = activations.shape[0]
    total, squares = np.zeros((n, n)), 0.0
    for start in range(0, activations.shape[1], _COLUMNS):
        block = activations[:, start : start + _COLUMNS].astype(np.float64)
        squares += float(np.vdot(block, block))
        block -= block.mean(axis=0)
        total += block @ block.T
    return total if np.trace(total) > _ROUNDING * squares else np.zeros((n, n))


def u_centered(grams: Array) -> Array:
    """Center Gram matrices for the unbiased HSIC.

    The mean product of two such matrices over n (n - 3) is the unbiased HSIC: it equals
    [tr KL + 1ᵀK1 · 1ᵀL1 / (n - 1)(n - 2) - 2 · 1ᵀKL1 / (n - 2)] / n (n - 3) of the matrices without
    their diagonals (Song et al.; the form of Székely and Rizzo, 2014).

    Parameters
    ----------
    grams
        (…, n, n), n at least 4.

    Returns
    -------
    NDArray
        (…, n, n); rows and columns sum to 0, and so does the diagonal. Exactly zero where nothing
        but rounding is left.

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
    left, was = (np.square(m).sum(axis=(-2, -1), keepdims=True) for m in (centered, bare))
    return np.where(left > _ROUNDING * was, centered, 0.0)


def linear_cka(x: NDArray[Any], y: NDArray[Any], *, unbiased: bool = False) -> float:
    """Return the CKA of two layers over all examples at once; NaN where a layer is constant.

    Parameters
    ----------
    x, y
        (n, p) and (n, q): activations of the same n examples.
    unbiased
        Whether HSIC is the unbiased estimate, which needs 4 examples; else Kornblith's CKA,
        ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖) of the centered activations, which nears 1 where p and q exceed n.

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


class MinibatchCKA:
    """CKA between the layers of networks, from batches of examples.

    The unbiased HSIC of each pair of layers is averaged over the batches (weighted by their size),
    and only then divided: the average is unbiased whatever the size of a batch.

    Parameters
    ----------
    pairs
        The networks to compare, named by any key; (a, a) stands for the layers of one network.
    """

    def __init__(self, pairs: Sequence[tuple[Key, Key]]) -> None:
        self._cross: dict[tuple[Hashable, Hashable], Array | float] = dict.fromkeys(pairs, 0.0)
        self._own: dict[Hashable, Array | float] = dict.fromkeys((k for p in pairs for k in p), 0.0)
        self.examples = 0

    def update(self, grams: Mapping[Any, Array]) -> None:
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
        scale = n / (n * (n - 3))  # unbiased HSIC, times the weight of the batch
        for key, own in rows.items():
            self._own[key] += scale * np.square(own).sum(axis=1)
        for a, b in self._cross:
            self._cross[a, b] += scale * (rows[a] @ rows[b].T)
        self.examples += n

    def maps(self) -> dict[tuple[Any, Any], Array]:
        """Return CKA (layers of a, layers of b) of each pair; NaN where a layer is constant."""
        return {
            (a, b): _normalized(cross, np.reshape(self._own[a], (-1, 1)), np.array(self._own[b]))
            for (a, b), cross in self._cross.items()
        }


def _normalized(cross: Any, own_a: Any, own_b: Any) -> Array:
    scale = np.asarray(np.sqrt(own_a) * np.sqrt(own_b))  # own_a · own_b could underflow
    undefined = np.full(np.shape(cross), np.nan)
    cka: Array = np.divide(cross, scale, out=undefined, where=scale > 0)
    return cka


def slopes(abscissa: Sequence[float], maps: Sequence[Array]) -> Array:
    """Return the slope of the least-squares line through each element of some maps.

    Parameters
    ----------
    abscissa
        Where each map was measured, such as the spacing in mm; at least two different numbers.
    maps
        Arrays of one shape.
    """
    x = np.asarray(abscissa, dtype=np.float64) - np.mean(abscissa)
    slope: Array = np.tensordot(x, np.stack(maps), axes=1) / np.vdot(x, x)
    return slope
