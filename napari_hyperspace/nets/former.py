"""The former layout of the tensors in model files, read as the present one.

The first model files have one vector ``base`` with the weights of all layers, and one matrix
``basis`` of a hypernetwork, where there is a pair of tensors per layer now. Their format version is
the same. ``tests/nets/model_files`` has a file of each kind.
"""

from __future__ import annotations

from collections.abc import Container

import torch
from torch import Tensor

from napari_hyperspace.nets.base.factory import Factory
from napari_hyperspace.nets.hypernetwork.factory import Hypernetwork
from napari_hyperspace.nets.plain.factory import ConstantFactory, LayeredFactory, layer_key

_BASE, _BASIS = "base", "basis"
_PREFIXES = ("heads.", "layers.")


def stored_state(factory: Factory, names: Container[str]) -> dict[str, Tensor]:
    """Return the tensors that a file should have; only their names, shapes and types count.

    Parameters
    ----------
    factory
        The factory of the file's configuration.
    names
        Names of the tensors in the file.
    """
    state = factory.state_dict()
    if _BASE not in names or not isinstance(factory, LayeredFactory):
        return state
    state = {name: like for name, like in state.items() if not name.startswith(_PREFIXES)}
    state[_BASE] = torch.empty(factory.n_weights, device="meta")
    if isinstance(factory, Hypernetwork):
        rank = factory.head(next(iter(factory.layer_sizes))).in_features
        state[_BASIS] = torch.empty(factory.n_weights, rank, device="meta")
    return state


def present_state(factory: Factory, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a factory from the tensors in a file, those of `stored_state`."""
    if _BASE not in state or not isinstance(factory, LayeredFactory):
        return state
    present = {name: value for name, value in state.items() if name not in (_BASE, _BASIS)}
    keys = [layer_key(layer) for layer in factory.layer_sizes]
    sizes = list(factory.layer_sizes.values())
    name = "layers.{}" if isinstance(factory, ConstantFactory) else "heads.{}.bias"
    for key, vector in zip(keys, torch.split(state[_BASE], sizes), strict=True):
        present[name.format(key)] = vector.clone()
    if _BASIS in state:
        for key, rows in zip(keys, torch.split(state[_BASIS], sizes), strict=True):
            present[f"heads.{key}.weight"] = rows.clone()
    return present
