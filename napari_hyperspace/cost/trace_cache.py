"""The counts of each model's networks, made once a kind of architecture."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.cost.cost_model import Trace
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.inference.execution import first_line
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.nets.base.architecture import Architecture

_KEPT = 128  # counts; a model has a few kinds of networks


class CannotTraceError(HyperspaceError):
    """A network does not run without values."""


@dataclass(frozen=True, eq=False)
class TracedNetwork:
    """What a model's networks do, and the time that making one took."""

    trace: Trace
    bake_seconds: float


# Of one network of each kind.
_kinds: OrderedDict[tuple[str, Hashable], tuple[Trace, Architecture]] = OrderedDict()
_bake_seconds: OrderedDict[str, float] = OrderedDict()
_lock = threading.Lock()


def count(model: SpacingModel, spacing_mm: Sequence[float]) -> TracedNetwork:
    """Return what the network of a spacing does.

    Each kind of architecture is counted once a model. The first time for a model, the network of
    this spacing is baked, to see how long that takes. Others take about as long: kernels in mm
    hold more weights on a finer grid, but what they are made of is most of the work.

    Raises
    ------
    CannotTraceError
        If its network cannot be run without values, as when the values decide what it does.
    """
    architecture = model.architecture(spacing_mm)
    key = (model.identity, architecture.kind)
    with _lock:
        kind = _kinds.get(key)
        if kind is None:
            kind = _traced(model, spacing_mm), architecture
            _remember(_kinds, key, kind)
        if model.identity not in _bake_seconds:
            started = time.perf_counter()
            model.network(spacing_mm)
            _remember(_bake_seconds, model.identity, time.perf_counter() - started)
        seconds = _bake_seconds[model.identity]
        _kinds.move_to_end(key)
        _bake_seconds.move_to_end(model.identity)
    traced, known = kind
    return TracedNetwork(traced.at(known, architecture), seconds)


def _traced(model: SpacingModel, spacing_mm: Sequence[float]) -> Trace:
    try:
        return trace(model.skeleton(spacing_mm), model.in_channels, model.n_dim)
    except (RuntimeError, NotImplementedError) as error:
        raise CannotTraceError(
            "the cost of this network cannot be counted",
            where=model.name,
            found=first_line(error),
        ) from error


def _remember(known: OrderedDict[Any, Any], key: Hashable, value: object) -> None:
    known[key] = value
    if len(known) > _KEPT:
        known.popitem(last=False)
