"""How fast a device and its host are: the rates that estimates are computed with."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from napari_hyperspace.core.intensity import Kind

LARGE_SCAN = 8 << 20  # voxels; above this, temporary arrays are fresh memory from the system
_SLOWEST = 1e3  # seconds per operation, byte or call; more is not a measurement
# Small differences of times.
_MAY_BE_ZERO = (
    *("convolution_byte", "page_fault", "look_up", "interpolate"),
    *("setting_up", "compiling"),
)
_FORMER_KEYS = {"forms": "precisions", "fault": "page_fault", "normalise": "normalize"}


@dataclass(frozen=True)
class Rates:
    """How fast a device runs the operations of a network in one precision.

    The time of a convolution is the sum of its multiply-accumulates, its bytes and its call. For
    kernels of 1³ voxels and for convolutions in groups, bytes and call take most of it.

    Parameters
    ----------
    itemsize
        Bytes per value.
    reordered
        Whether convolutions copy their input and output to another memory layout.
    convolutions
        Seconds per multiply-accumulate of a convolution, by pairs of channels (in, out).
    depthwise
        The same for a convolution in groups, by numbers of channels.
    convolution_byte, convolution_overhead
        Seconds per byte read or written by a convolution, and per call.
    transposed
        Seconds per multiply-accumulate of a transposed convolution, bytes included.
    norm, pool, pointwise, upsample
        Seconds per byte read or written.
    page_fault
        Seconds per byte of fresh memory from the system.
    overhead
        Seconds per call of an operation.
    compiling
        Seconds per convolution to compile a network for an image of a new shape.
    """

    itemsize: int
    reordered: bool
    convolutions: dict[tuple[int, int], float]
    depthwise: dict[int, float]
    convolution_byte: float
    convolution_overhead: float
    transposed: float
    norm: float
    pool: float
    pointwise: float
    upsample: float
    page_fault: float
    overhead: float
    compiling: float = 0.0

    def work_rate(self, kind: str, incoming: int, outgoing: int) -> float:
        """Return the seconds per multiply-accumulate, or per byte of operations without any."""
        if kind == "conv":
            return self.convolution_rate(incoming, outgoing)
        if kind == "depthwise":
            nearest = min(self.depthwise, key=lambda known: abs(math.log2(known / outgoing)))
            return self.depthwise[nearest]
        if kind == "transposed":
            return self.transposed
        if kind == "product":
            return self.convolution_rate(64, 64)  # as dense as torch's matrix products
        rates = {"norm": self.norm, "pool": self.pool, "upsample": self.upsample}
        return rates.get(kind, self.pointwise)

    def convolution_rate(self, incoming: int, outgoing: int) -> float:
        """Return the seconds per multiply-accumulate of a convolution.

        Between the calibrated pairs of channels, the logarithm of the rate is interpolated in
        log-channels, weighted by the inverse fourth power of the distance. The time per *voxel*
        depends less on the channels than the rate does: vector units round up, so that the rate of
        a layer with few channels is high.
        """
        pair = incoming, outgoing
        if pair in self.convolutions:
            return self.convolutions[pair]
        if pair not in self._interpolated:
            total = weights = 0.0
            for (a, b), rate in self.convolutions.items():
                distance = math.log2(incoming / a) ** 2 + math.log2(outgoing / b) ** 2
                weight = 1 / distance**2
                total += weight * math.log(rate)
                weights += weight
            self._interpolated[pair] = math.exp(total / weights)
        return self._interpolated[pair]

    @cached_property
    def _interpolated(self) -> dict[tuple[int, int], float]:
        return {}


@dataclass(frozen=True)
class HostRates:
    """How fast the CPU prepares images and computes labels from logits.

    Parameters
    ----------
    normalize
        Seconds per voxel of a small and of a large scan, for each kind of normalization.
    copy
        Seconds per byte of a float32 array copied to canonical order.
    product, gather
        Seconds per multiply-accumulate, and per value gathered, of resampling along an axis.
    winner
        Seconds per logit to find the class with the largest logit on the working grid.
    look_up
        Seconds per native voxel to look up its label.
    interpolate
        Seconds per native voxel at a border and per class, to interpolate its logits.
    page_fault
        Seconds per byte of fresh memory when it is first touched.
    setting_up
        Additional seconds of a convolution for an image of a new shape.
    """

    normalize: dict[str, tuple[float, float]]
    copy: float
    product: float
    gather: float
    winner: float
    look_up: float
    interpolate: float
    page_fault: float
    setting_up: float = 0.0

    def normalizing(self, kind: str, voxels: int) -> float:
        """Return the seconds to normalize a scan with this number of voxels."""
        small, large = self.normalize[kind]
        return voxels * (large if voxels >= LARGE_SCAN else small)


@dataclass(frozen=True)
class Calibration:
    """The rates of a device, by name of the precision, and of its host.

    Parameters
    ----------
    precisions, host
        The rates.
    slowdown
        How many times as long work took while they were measured, because of other programs.
    """

    precisions: dict[str, Rates]
    host: HostRates
    slowdown: float = 1.0

    @cached_property
    def digest(self) -> str:
        """Identifies these rates: predictions with others cannot be compared."""
        text = json.dumps(encode(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def encode(calibration: Calibration) -> dict[str, Any]:
    """Return a calibration as JSON data."""
    value = dataclasses.asdict(calibration)
    for rates in value["precisions"].values():
        rates["convolutions"] = [[*pair, rate] for pair, rate in rates["convolutions"].items()]
        rates["depthwise"] = [[*each] for each in rates["depthwise"].items()]
    return value


def decode(stored: object, required: Sequence[str] = ()) -> Calibration | None:
    """Return the calibration stored as JSON data.

    The key names of earlier versions are accepted.

    Parameters
    ----------
    stored
        What `encode` returned.
    required
        Names of precisions that it must have.

    Returns
    -------
    Calibration
        `None` if another version wrote it, a key is missing, or a number is not possible.
    """
    try:
        value: Any = _with_present_keys(stored)
        precisions = {}
        for name, rates in value["precisions"].items():
            pairs = {(_count(a), _count(b)): rate for a, b, rate in rates["convolutions"]}
            grouped = {_count(channels): rate for channels, rate in rates["depthwise"]}
            precisions[name] = Rates(**{**rates, "convolutions": pairs, "depthwise": grouped})
        kinds = {kind: (a, b) for kind, (a, b) in value["host"]["normalize"].items()}
        host = HostRates(**{**value["host"], "normalize": kinds})
        calibration = Calibration(precisions, host, value.get("slowdown", 1.0))
        _check(calibration)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return None if set(required) - precisions.keys() else calibration


def _check(calibration: Calibration) -> None:
    """Raise `ValueError` if a rate is not possible: estimates divide by rates and add them up."""
    host = calibration.host
    _check_rates(calibration.slowdown)
    if set(get_args(Kind)) - host.normalize.keys() or not calibration.precisions:
        raise ValueError("incomplete")
    for pair in host.normalize.values():
        _check_rates(*pair)
    _check_numbers(host, but=("normalize",))
    for rates in calibration.precisions.values():
        if not rates.convolutions or not rates.depthwise:
            raise ValueError("incomplete")
        _check_rates(*rates.convolutions.values(), *rates.depthwise.values())
        _check_numbers(rates, but=("itemsize", "reordered", "convolutions", "depthwise"))
        _count(rates.itemsize)
        if not isinstance(rates.reordered, bool):
            raise ValueError("not a truth value")


def _check_numbers(rates: Rates | HostRates, but: Sequence[str]) -> None:
    for field in dataclasses.fields(rates):
        if field.name not in but:
            _check_rates(getattr(rates, field.name), zero=field.name in _MAY_BE_ZERO)


def _check_rates(*rates: object, zero: bool = False) -> None:
    for rate in rates:
        if not isinstance(rate, int | float) or isinstance(rate, bool):
            raise ValueError(f"not a number: {rate!r}")
        if not 0 <= rate < _SLOWEST or (rate == 0 and not zero):
            raise ValueError(f"not a rate: {rate!r}")


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"not a count: {value!r}")
    return value


def _with_present_keys(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {_FORMER_KEYS.get(key, key): _with_present_keys(value[key]) for key in value}
