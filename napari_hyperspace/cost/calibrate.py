"""Measure how fast this machine is: a few seconds of measurement, done once and stored on disk.

Each kind of work of a segmentation is timed on a small case.
"""

from __future__ import annotations

import dataclasses
import threading
import warnings
from typing import Any

import torch

from napari_hyperspace.core import store
from napari_hyperspace.core.errors import HyperspaceWarning
from napari_hyperspace.cost.device_rates import measure_compiled, measure_precision
from napari_hyperspace.cost.host_rates import measure_host
from napari_hyperspace.cost.rates import Calibration, decode, encode
from napari_hyperspace.inference.execution import PRECISIONS
from napari_hyperspace.inference.precision import candidates, device_name

_VERSION = 6
_NEVER_S = 900.0  # seconds per convolution: such a precision is never expected to be the fastest
_LOCK = threading.Lock()
_decoded: dict[str, tuple[object, Calibration]] = {}  # by key: what is stored, and its decoded form


def calibrate(device: torch.device, *, again: bool = False) -> Calibration:
    """Return the rates of a device: stored ones, or measured now (a few seconds).

    Stored rates that are not valid are measured again, with a warning.

    Parameters
    ----------
    device
        The device to measure.
    again
        Measure even if there are stored rates.

    Raises
    ------
    Cancelled
        If the measurement was asked to stop; see `napari_hyperspace.core.progress.stopped_by`.
    """
    key = _key(device)
    with _LOCK:
        stored = None if again else store.recall("rates", key)
        if key in _decoded and _decoded[key][0] is stored:
            return _decoded[key][1]
        known = decode(stored, candidates(device))
        if known is None:
            if stored is not None:
                warnings.warn(
                    "the stored speed of this computer is not valid: it is measured again",
                    HyperspaceWarning,
                    stacklevel=2,
                )
            # Disturbances last longer than the measurement of one rate: hence two rounds.
            known = _fastest(_measure(device), _measure(device))
            store.keep("rates", key, encode(known))
        else:
            _decoded[key] = stored, known
        return known


def known_rates(device: torch.device) -> Calibration | None:
    """Return the stored rates of a device; `None` if `calibrate` would have to measure."""
    return decode(store.recall("rates", _key(device)), candidates(device))


def is_calibrated(device: torch.device) -> bool:
    """Return whether `calibrate` returns at once."""
    return known_rates(device) is not None


def _key(device: torch.device) -> str:
    return f"{_VERSION} | {device_name(device)}"


def _measure(device: torch.device) -> Calibration:
    precisions, setting_up = {}, 0.0
    by_type = {}  # rates of torch
    for name in candidates(device):
        precision = PRECISIONS[name]
        if precision.library == "torch":
            precisions[name], setting_up = measure_precision(precision, device)
            by_type[precision.dtype] = precisions[name]
        else:
            similar = by_type[precision.dtype]
            try:
                precisions[name] = measure_compiled(precision, device, similar)
            except NotImplementedError:  # it cannot be used on this machine
                precisions[name] = dataclasses.replace(similar, compiling=_NEVER_S)
    return Calibration(precisions, measure_host(setting_up))


def _fastest(one: Any, other: Any) -> Any:
    """Return the smaller of each number in two measurements of the same structure."""
    if isinstance(one, dict):
        return {key: _fastest(value, other[key]) for key, value in one.items()}
    if isinstance(one, tuple):
        return tuple(map(_fastest, one, other))
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one)]
        parts = {name: _fastest(getattr(one, name), getattr(other, name)) for name in names}
        return dataclasses.replace(one, **parts)
    return min(one, other)
