"""The traces of each model's networks, made once per kind of architecture."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.spacing import in_range
from napari_hyperspace.cost.cost_model import Trace
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.inference.execution import first_line
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.nets.base.architecture import Architecture

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")

_CAPACITY = 128  # a model has a few kinds of networks


class CannotTraceError(HyperspaceError):
    """A network cannot be run on torch's meta device."""


@dataclass(frozen=True, eq=False)
class TracedNetwork:
    """The trace of a network, and the seconds that making one took."""

    trace: Trace
    bake_seconds: float


# One network of each kind: (model, kind) → its trace and its architecture.
_traces: OrderedDict[tuple[str, Hashable], tuple[Trace, Architecture]] = OrderedDict()
_bake_seconds: OrderedDict[str, float] = OrderedDict()
_lock = threading.Lock()


def trace_of(model: SpacingModel, spacing_mm: Sequence[float]) -> TracedNetwork:
    """Return the trace of the network of a spacing.

    Each kind of architecture is traced once per model. The first time for a model, the network of
    this spacing, or of the nearest trained one, is baked, to measure how long that takes. The
    others are assumed to take as long: kernels in mm have more weights on a finer grid, but most of
    the time goes into making the factors that they are composed of.

    Raises
    ------
    CannotTraceError
        If the network cannot be run without values, for example because they decide what it does.
    """
    architecture = model.architecture(spacing_mm)
    key = (model.identity, architecture.kind)
    with _lock:
        known = _traces.get(key)
        if known is None:
            known = _traced(model, spacing_mm), architecture
            _remember(_traces, key, known)
        if model.identity not in _bake_seconds:
            started = time.perf_counter()
            model.network(_nearest_trained(model, spacing_mm))
            _remember(_bake_seconds, model.identity, time.perf_counter() - started)
        seconds = _bake_seconds[model.identity]
        _traces.move_to_end(key)
        _bake_seconds.move_to_end(model.identity)
    found, traced = known
    return TracedNetwork(found.at(traced, architecture), seconds)


def _nearest_trained(model: SpacingModel, spacing_mm: Sequence[float]) -> tuple[float, ...]:
    """Return the spacing to measure at: far outside the trained range, kernels in mm are huge."""
    if model.trained_range_mm is None:
        return tuple(spacing_mm)
    return tuple(
        step if in_range(step, (low, high)) else min(max(step, low), high)
        for step, (low, high) in zip(spacing_mm, model.trained_range_mm, strict=True)
    )


def _traced(model: SpacingModel, spacing_mm: Sequence[float]) -> Trace:
    try:
        return trace(model.skeleton(spacing_mm), model.in_channels, model.n_dim)
    except (RuntimeError, NotImplementedError) as error:
        raise CannotTraceError(
            "the cost of this network cannot be estimated",
            where=model.name,
            found=first_line(error),
        ) from error


def _remember(known: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    known[key] = value
    if len(known) > _CAPACITY:
        known.popitem(last=False)
