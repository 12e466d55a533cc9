"""The counts of each model's networks, made once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from napari_hyperspace.core.cost import Trace, trace
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.execution import first_line
from napari_hyperspace.core.protocols import SpacingModel

_KEPT = 16


class CannotCountError(HyperspaceError):
    """A network does not run without values."""


@dataclass(frozen=True, eq=False)
class Counted:
    """What a model's networks do, and the time that making one took."""

    trace: Trace
    bake_seconds: float


_known: OrderedDict[str, Counted] = OrderedDict()
_lock = threading.Lock()


def count(model: SpacingModel, spacing_mm: Sequence[float]) -> Counted:
    """Return what a model's networks do, baking the one of this spacing the first time.

    A model makes networks of one architecture; the spacing sets their weights alone.

    Raises
    ------
    CannotCountError
        If its network cannot be run without values, as when the values decide what it does.
    """
    with _lock:
        counted = _known.get(model.identity)
        if counted is None:
            started = time.perf_counter()
            network = model.network(spacing_mm)
            seconds = time.perf_counter() - started
            try:
                traced = trace(network, model.in_channels, model.n_dim)
            except (RuntimeError, NotImplementedError) as error:
                raise CannotCountError(
                    "the cost of this network cannot be counted",
                    where=model.name,
                    found=first_line(error),
                ) from error
            counted = Counted(traced, seconds)
            _known[model.identity] = counted
            if len(_known) > _KEPT:
                _known.popitem(last=False)
        _known.move_to_end(model.identity)
        return counted
