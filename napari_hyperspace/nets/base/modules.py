"""Copies of trees of modules."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn


def copied(module: nn.Module, converted: Callable[[Tensor], Tensor]) -> nn.Module:
    """Copy a tree of modules with its tensors converted; `copy.deepcopy` takes 20 times longer."""
    clone = copy.copy(module)
    clone._modules = {
        name: None if child is None else copied(child, converted)
        for name, child in module._modules.items()
    }
    clone._parameters = {
        name: None if each is None else nn.Parameter(converted(each), requires_grad=False)
        for name, each in module._parameters.items()
    }
    clone._buffers = {
        name: None if each is None else converted(each) for name, each in module._buffers.items()
    }
    clone._forward_pre_hooks = OrderedDict(module._forward_pre_hooks)
    return clone


def prepared(network: nn.Module) -> nn.Module:
    """Turn a network of our own, in place, from bit for bit as published to fast; return it."""
    for module in network.modules():
        if hasattr(module, "exact"):
            module.exact = False  # type: ignore[assignment]
    return network
