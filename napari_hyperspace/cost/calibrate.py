"""How fast this machine is: a few seconds of measurement, done once and kept on disk.

Each kind of work that the engine does is timed on a small case of it. Times are the shortest of
several, since what else the machine does can only make them longer. A small network is then run as
a whole: by as much as it takes longer than its operations alone, all rates are raised.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from napari_hyperspace.core import store
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.intensity import Normalization
from napari_hyperspace.core.memory import keep_freed_blocks
from napari_hyperspace.core.separable import axis_matrix
from napari_hyperspace.cost.cost_model import Rates
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.inference.argmax import NativeArgmax
from napari_hyperspace.inference.execution import (
    PRECISIONS,
    NetworkRunner,
    Precision,
    fast_convolutions,
)
from napari_hyperspace.inference.precision import candidates, device_name

_VERSION = 6
_SECONDS_EACH = 0.05  # spent on each quantity, at least
_RUNS_EACH = 2
# (channels in, channels out, edge of the map): about the work of a layer of a small U-Net each.
# Kernels are 3³; the first is measured with 1³ too, to tell bytes from multiply-accumulates.
_CONVOLUTIONS = (
    (16, 16, 48),
    (1, 16, 56),
    (8, 8, 56),
    (16, 4, 48),
    (32, 32, 32),
    (64, 64, 20),
    (128, 128, 12),
)
_DEPTHWISE = (8, 16, 32)  # channels, with kernels of 5³ on maps of 32³
_SAMPLE_SHAPE = (56, 60, 64)  # of the image that a whole network is run on
_TINY_SHAPE = (4, 4, 4)
_NEW_SHAPES = 5
LARGE_SCAN = 8 << 20  # voxels: from here on each temporary is fresh from the system
_LOCK = threading.Lock()


@dataclass(frozen=True)
class HostRates:
    """How fast the CPU prepares images and finishes labels.

    Parameters
    ----------
    normalize
        Seconds a voxel of a small and of a large scan, for each kind of normalization.
    copy
        Seconds a byte of a float32 array turned into canonical order.
    product, gather
        Seconds a multiply-accumulate, and a value taken, of resampling along an axis.
    winner
        Seconds a logit to find the winning class of the working grid.
    look_up
        Seconds a native voxel to look its label up, a usual share of borders included.
    page_fault
        Seconds a byte that fresh memory costs when it is first touched.
    setting_up
        Seconds a convolution takes longer on an image of a shape that it has not met.
    """

    normalize: dict[str, tuple[float, float]]
    copy: float
    product: float
    gather: float
    winner: float
    look_up: float
    page_fault: float
    setting_up: float = 0.0

    def normalizing(self, kind: str, voxels: int) -> float:
        """Seconds to normalize a scan of so many voxels."""
        small, large = self.normalize[kind]
        return voxels * (large if voxels >= LARGE_SCAN else small)


@dataclass(frozen=True)
class Calibration:
    """The rates of a device, and of the CPU that feeds it."""

    precisions: dict[str, Rates]
    host: HostRates


_decoded: dict[str, tuple[Any, Calibration]] = {}  # what is kept, and what was made from it


def calibrate(device: torch.device, *, again: bool = False) -> Calibration:
    """Return the rates of a device: from memory, from disk, or measured now (a few seconds).

    Parameters
    ----------
    device
        What to measure.
    again
        Measure in any case.
    """
    key = f"{_VERSION} | {device_name(device)}"
    with _LOCK:
        kept = None if again else store.recall("rates", key)
        if key in _decoded and _decoded[key][0] is kept:
            return _decoded[key][1]
        known = _decode(kept)
        if known is None:
            known = _fastest(_measured(device), _measured(device))
            store.keep("rates", key, _encode(known))
        else:
            _decoded[key] = kept, known
        return known


def _measured(device: torch.device) -> Calibration:
    precisions, setting_up = {}, 0.0
    for name in candidates(device):
        rates = _precision_rates(PRECISIONS[name], device)
        whole, call, setting_up = _whole_network(PRECISIONS[name], device, rates)
        precisions[name] = _slower(rates, whole, call)
    return Calibration(precisions, dataclasses.replace(_host_rates(), setting_up=setting_up))


def _whole_network(
    precision: Precision, device: torch.device, rates: Rates
) -> tuple[float, float, float]:
    """Return what a network takes longer than its operations do.

    Returns
    -------
    tuple
        The factor on an image; seconds a convolution on next to none, where calls are all; and
        `setting_up`.
    """

    def block(convolution: nn.Module, channels: int) -> list[nn.Module]:
        return [convolution, nn.GroupNorm(channels, channels), nn.ReLU(inplace=True)]

    network = nn.Sequential(
        *block(nn.Conv3d(1, 16, 3, padding=1), 16),
        *block(nn.Conv3d(16, 16, 3, padding=1), 16),
        *block(nn.Conv3d(16, 32, 3, stride=2, padding=1), 32),
        *block(nn.Conv3d(32, 32, 3, padding=1), 32),
        *block(nn.ConvTranspose3d(32, 16, 4, stride=2, padding=1), 16),
        *block(nn.Conv3d(16, 16, 3, padding=1), 16),
        nn.Conv3d(16, 4, 3, padding=1),
    ).eval()
    runner, image = NetworkRunner(network, precision, device, 3), torch.zeros(1, *_SAMPLE_SHAPE)
    tiny = torch.zeros(1, *_TINY_SHAPE)
    steady, least = (shortest(lambda: runner(each), device) for each in (image, tiny))  # noqa: B023
    counted = trace(network, 1, 3)
    call = (least - counted.seconds(_TINY_SHAPE, rates)) / counted.convolutions
    longer = []
    for number in range(1, _NEW_SHAPES + 1):
        new = torch.zeros(1, *(n - 8 * number + 1 for n in _SAMPLE_SHAPE))
        times = []
        for _ in range(2):
            _synchronize(device)
            started = time.perf_counter()
            runner(new)
            _synchronize(device)
            times.append(time.perf_counter() - started)
        longer.append((times[0] - times[1]) / counted.convolutions)
    expected = counted.seconds(_SAMPLE_SHAPE, rates)
    return max(1.0, steady / expected), max(0.0, call), max(0.0, statistics.median(longer))


def _slower(rates: Rates, factor: float, call: float) -> Rates:
    """Return rates with all times of work multiplied, and more for each call."""
    return dataclasses.replace(
        rates,
        convolution_overhead=rates.convolution_overhead + call,
        convolutions={pair: factor * rate for pair, rate in rates.convolutions.items()},
        depthwise={channels: factor * rate for channels, rate in rates.depthwise.items()},
        **{
            name: factor * getattr(rates, name)
            for name in ("convolution_byte", "transposed", "norm", "pointwise", "upsample")
        },
    )


def _fastest(one: Any, other: Any) -> Any:
    """Return the smaller of each number in two measurements of one kind.

    What disturbs one lasts longer than a single quantity takes: hence two rounds.
    """
    if isinstance(one, dict):
        return {key: _fastest(value, other[key]) for key, value in one.items()}
    if isinstance(one, tuple):
        return tuple(map(_fastest, one, other))
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        parts = {name: _fastest(getattr(one, name), getattr(other, name)) for name in names}
        return dataclasses.replace(one, **parts)  # type: ignore[type-var]
    return min(one, other)


def is_calibrated(device: torch.device) -> bool:
    """Whether `calibrate` will answer at once."""
    return _decode(store.recall("rates", f"{_VERSION} | {device_name(device)}")) is not None


def _encode(calibration: Calibration) -> dict[str, Any]:
    value = dataclasses.asdict(calibration)
    for rates in value["precisions"].values():
        rates["convolutions"] = [[*pair, rate] for pair, rate in rates["convolutions"].items()]
        rates["depthwise"] = [[*each] for each in rates["depthwise"].items()]
    return value


_FORMER_KEYS = {"forms": "precisions", "fault": "page_fault", "normalise": "normalize"}


def _decode(value: Any) -> Calibration | None:
    if value is None:
        return None
    try:
        value = _present_keys(value)
        precisions = {}
        for name, rates in value["precisions"].items():
            pairs = {(int(a), int(b)): float(rate) for a, b, rate in rates["convolutions"]}
            grouped = {int(channels): float(rate) for channels, rate in rates["depthwise"]}
            precisions[name] = Rates(**{**rates, "convolutions": pairs, "depthwise": grouped})
        kinds = {kind: (float(a), float(b)) for kind, (a, b) in value["host"]["normalize"].items()}
        return Calibration(precisions, HostRates(**{**value["host"], "normalize": kinds}))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # written by another version: measured again


def _present_keys(value: Any) -> Any:
    """Return stored rates with the keys of this version: earlier ones had other names."""
    if not isinstance(value, dict):
        return value
    return {_FORMER_KEYS.get(key, key): _present_keys(each) for key, each in value.items()}


def shortest(work: Callable[[], Any], device: torch.device) -> float:
    """Return the shortest time of a piece of work, in seconds; the first run does not count."""
    work()
    best, spent, runs = math.inf, 0.0, 0
    while runs < _RUNS_EACH or spent < _SECONDS_EACH:
        _synchronize(device)
        started = time.perf_counter()
        work()
        _synchronize(device)
        seconds = time.perf_counter() - started
        best, spent, runs = min(best, seconds), spent + seconds, runs + 1
    return best


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@torch.inference_mode()
def _precision_rates(precision: Precision, device: torch.device) -> Rates:
    layout = torch.channels_last_3d if precision.channels_last else torch.contiguous_format
    keep_freed_blocks()

    def tensor(*shape: int) -> torch.Tensor:
        values = torch.zeros(*shape, device=device, dtype=precision.dtype)
        return values.contiguous(memory_format=layout) if len(shape) == 5 else values

    def convolution(incoming: int, outgoing: int, width: int, edge: int, groups: int = 1) -> float:
        image, bias = tensor(1, incoming, edge, edge, edge), tensor(outgoing)
        weight = tensor(outgoing, incoming // groups, width, width, width)
        with fast_convolutions(device, precision.dtype):
            return shortest(
                lambda: F.conv3d(image, weight, bias, padding=width // 2, groups=groups), device
            )

    incoming, outgoing, edge = _CONVOLUTIONS[0]
    call = convolution(incoming, outgoing, 1, 2)
    thin, thick = (convolution(incoming, outgoing, width, edge) - call for width in (1, 3))
    size = precision.dtype.itemsize
    byte = max(0.0, thin - (thick - thin) / 26) / ((incoming + outgoing) * edge**3 * size)

    def rate(seconds: float, values: int, macs: int) -> float:
        """Seconds a multiply-accumulate, of which some time at least is left."""
        return max(seconds - call - values * size * byte, 0.1 * seconds) / macs

    convolutions = {
        (a, b): rate(convolution(a, b, 3, n), (a + b) * n**3, 27 * a * b * n**3)
        for a, b, n in _CONVOLUTIONS
    }
    depthwise = {
        c: rate(convolution(c, c, 5, 32, groups=c), 2 * c * 32**3, 125 * c * 32**3)
        for c in _DEPTHWISE
    }

    image, weight = tensor(1, 32, 24, 24, 24), tensor(32, 16, 4, 4, 4)
    seconds = shortest(lambda: F.conv_transpose3d(image, weight, stride=2, padding=1), device)
    transposed = seconds / (weight.numel() * 24**3)

    image, scale = tensor(1, 16, 64, 64, 64), tensor(16)
    norm = shortest(lambda: F.group_norm(image, 16, scale, scale), device)
    pointwise = shortest(lambda: F.relu_(image), device)
    coarse = tensor(1, 16, 32, 32, 32)
    upsample = shortest(lambda: F.interpolate(coarse, scale_factor=2, mode="trilinear"), device)
    tiny = tensor(1, 16, 4, 4, 4)
    overhead = shortest(lambda: [F.relu_(tiny) for _ in range(100)], device) / 100
    return Rates(
        itemsize=size,
        reordered=device.type == "cpu" and not precision.channels_last,
        convolutions=convolutions,
        depthwise=depthwise,
        convolution_byte=byte,
        convolution_overhead=call,
        transposed=transposed,
        norm=norm / (2 * image.numel() * size),
        pointwise=pointwise / (2 * image.numel() * size),
        upsample=upsample / ((image.numel() + coarse.numel()) * size),
        page_fault=_page_fault(device),
        overhead=overhead,
    )


def _page_fault(device: torch.device) -> float:
    """Return the seconds a byte that the first touch of fresh memory costs."""
    if device.type != "cpu":
        return 0.0  # the device's allocator keeps what it got
    count = 16 << 20
    kept = torch.zeros(count)
    again = shortest(lambda: kept.fill_(1.0), device)
    fresh = shortest(lambda: torch.empty(count).fill_(1.0), device)
    return max(0.0, fresh - again) / (4 * count)


@torch.inference_mode()
def _host_rates() -> HostRates:
    cpu = torch.device("cpu")
    shape = (64, 128, 128)
    z, y, x = np.indices(shape, dtype=np.float32)
    scan = (100 * np.sin(z / 9) * np.sin(y / 17) + x).astype(np.int16)
    large = np.tile(scan, (8, 1, 1))  # too large for the heap: fresh memory for each temporary
    normalize = {
        kind: (
            shortest(lambda: Normalization(kind, 1, 99).apply(scan), cpu) / scan.size,  # noqa: B023
            shortest(lambda: Normalization(kind, 1, 99).apply(large), cpu) / large.size,  # noqa: B023
        )
        for kind in ("z-score", "percentile", "window", "none")
    }
    turned = x.transpose(2, 1, 0)
    copy = shortest(lambda: turned.copy(), cpu) / x.nbytes

    image = torch.from_numpy(x)
    halved = axis_matrix(128, 64, 2.0, 0.5)
    product = shortest(lambda: halved.apply(image, 1), cpu) / (64 * 64 * 128 * 128)
    long = torch.zeros(160, 192, 192)
    gathered = axis_matrix(160, 64, 2.5, 0.75)
    taps = gathered.indices.shape[1]
    gather = shortest(lambda: gathered.apply(long, 0), cpu) / (64 * 192 * 192 * taps)

    classes = 4
    working = Grid.from_spacing((16, 96, 96), (2, 2, 2))
    fine = Grid.from_spacing((32, 192, 192), (1, 1, 1))
    waves = torch.linspace(0, 9, 96).sin()
    logits = torch.stack(
        [(waves[:, None] * k - waves).expand(16, 96, 96) for k in range(classes)], dim=1
    ).contiguous()

    def label(native: Grid) -> float:
        out = np.zeros(native.shape, np.uint8)

        def work() -> None:
            labeller = NativeArgmax(working, native, range(classes), out, cpu)
            for plane in logits:
                labeller.push(plane)

        return shortest(work, cpu)

    alone = label(working)
    both = label(fine)
    return HostRates(
        normalize=normalize,
        copy=copy,
        product=product,
        gather=gather,
        winner=alone / logits.numel(),
        look_up=max(0.0, both - alone) / math.prod(fine.shape),
        page_fault=_page_fault(cpu),
    )
