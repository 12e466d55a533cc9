"""Measure how fast this machine is: a few seconds of measurement, done once and stored on disk.

Each kind of work of a segmentation is timed on a small case.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import torch

from napari_hyperspace.core import store
from napari_hyperspace.core.errors import HyperspaceWarning
from napari_hyperspace.cost.device_rates import (
    measure_like,
    measure_precision,
    page_fault_seconds,
)
from napari_hyperspace.cost.host_rates import measure_host
from napari_hyperspace.cost.load import BUSY, Load, current_slowdown
from napari_hyperspace.cost.rates import Calibration, Rates, decode, encode
from napari_hyperspace.inference.execution import PRECISIONS
from napari_hyperspace.inference.precision import candidates, device_name

_VERSION = 7
_NEVER_S = 900.0  # seconds per convolution: such a precision is never expected to be the fastest
_MOST_S = 8.0  # after this time, nothing is measured a second time
_ANNOUNCE_S = 0.5
_LOCK = threading.Lock()
_decoded: dict[str, tuple[object, Calibration]] = {}  # by key: what is stored, and its decoded form
_Measured = TypeVar("_Measured")
_repeated: set[str] = set()  # keys of rates that this process measured again


def calibrate(device: torch.device, *, again: bool = False) -> Calibration:
    """Return the rates of a device: stored ones, or measured now (a few seconds).

    Stored rates that are not valid are measured again, with a warning. Those that were measured
    while other programs kept the machine busy are measured again once it is quiet. After half a
    second, a measurement is announced on stderr.

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
            known: Calibration | None = _decoded[key][1]
        else:
            known = decode(stored, candidates(device))
        if known is None and stored is not None:
            warnings.warn(
                "the stored speed of this computer is not valid: it is measured again",
                HyperspaceWarning,
                stacklevel=2,
            )
        busy = known is not None and known.slowdown >= BUSY and key not in _repeated
        if known is None:
            known = _measured(device)
        elif busy and current_slowdown() < BUSY:
            _repeated.add(key)  # once per process, whatever comes of it
            # RuntimeError is torch's for too little memory; the stored rates are good enough.
            with suppress(MemoryError, RuntimeError):
                known = _fastest(known, _measured(device))
        else:
            _decoded[key] = stored, known
            return known
        encoded = encode(known)
        store.keep("rates", key, encoded)
        _decoded[key] = encoded, known
        return known


def known_rates(device: torch.device) -> Calibration | None:
    """Return the stored rates of a device; `None` if there are none."""
    key = _key(device)
    stored = store.recall("rates", key)
    known = _decoded.get(key)
    if known is not None and known[0] is stored:
        return known[1]
    return decode(stored, candidates(device))


def is_calibrated(device: torch.device) -> bool:
    """Return whether `calibrate` returns at once."""
    return known_rates(device) is not None


def _key(device: torch.device) -> str:
    return f"{_VERSION} | {device_name(device)}"


def _measured(device: torch.device) -> Calibration:
    """Measure twice, if there is time: disturbances last longer than the measurement of a rate."""
    start, deadline = Load.now(), time.perf_counter() + _MOST_S
    with _announced():
        first = _round(device)
        again = _fastest(first, _round(device, first, deadline))
    return dataclasses.replace(again, slowdown=start.slowdown_until(Load.now()))


def _round(
    device: torch.device, before: Calibration | None = None, deadline: float = math.inf
) -> Calibration:
    """Measure each rate once.

    Parameters
    ----------
    before, deadline
        Rates that are returned once it is later than this.
    """
    precisions: dict[str, Rates] = {}
    by_type: dict[torch.dtype, Rates] = {}  # rates of torch
    page_fault = page_fault_seconds(device)
    setting_up = math.inf if before is None else before.host.setting_up
    for name in candidates(device):
        precision = PRECISIONS[name]
        similar = by_type.get(precision.dtype)
        if before is not None and time.perf_counter() > deadline:
            precisions[name] = before.precisions[name]
        elif similar is None:
            precisions[name], new = measure_precision(precision, device, page_fault)
            setting_up = min(setting_up, new)
            by_type[precision.dtype] = precisions[name]
        else:
            try:
                precisions[name] = measure_like(precision, device, similar)
            except NotImplementedError:  # it cannot be used on this machine
                precisions[name] = dataclasses.replace(similar, compiling=_NEVER_S)
    if before is not None and time.perf_counter() > deadline:
        return Calibration(precisions, before.host)
    if device.type != "cpu":
        page_fault = page_fault_seconds(torch.device("cpu"))
    return Calibration(precisions, measure_host(setting_up, page_fault))


@contextmanager
def _announced() -> Iterator[None]:
    """Context manager: say what takes so long, if it does."""

    def announce() -> None:
        print("measuring the speed of this machine, once: a few seconds", file=sys.stderr)

    timer = threading.Timer(_ANNOUNCE_S, announce)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _fastest(one: _Measured, other: _Measured) -> _Measured:
    """Return the smaller of each number in two measurements of the same structure."""
    smaller: _Measured = _smaller(one, other)
    return smaller


def _smaller(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return {key: _smaller(value, other[key]) for key, value in one.items()}
    if isinstance(one, tuple):
        return tuple(map(_fastest, one, other))
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        names = [field.name for field in dataclasses.fields(one)]
        parts = {name: _smaller(getattr(one, name), getattr(other, name)) for name in names}
        return dataclasses.replace(one, **parts)
    return min(one, other)
