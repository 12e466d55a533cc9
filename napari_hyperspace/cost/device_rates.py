"""Measure how fast a device runs the operations of networks, each on a small case."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from napari_hyperspace.core.memory import keep_freed_blocks
from napari_hyperspace.cost.rates import Rates
from napari_hyperspace.cost.timing import shortest_seconds
from napari_hyperspace.cost.trace import trace
from napari_hyperspace.inference.execution import (
    Precision,
    clock,
    fast_convolutions,
    network_runner,
)

# (channels in, channels out, edge of the map): each about the work of a layer of a small U-Net.
# Kernels are 3³; the first case is measured with 1³ as well, to separate bytes from
# multiply-accumulates.
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
_SAMPLE_SHAPE = (56, 60, 64)  # of the image that a small network is run on
_TINY_SHAPE = (4, 4, 4)
_NEW_SHAPES = 3


@dataclass(frozen=True)
class NetworkOverhead:
    """By how much a network takes longer than the sum of its operations.

    Parameters
    ----------
    factor
        On an image of usual size.
    call
        Seconds per convolution on a tiny image, where calls take all of the time.
    setting_up
        Additional seconds per convolution on the first image of a shape.
    """

    factor: float
    call: float
    setting_up: float


def measure_precision(
    precision: Precision, device: torch.device, page_fault: float
) -> tuple[Rates, float]:
    """Return the rates of one precision, and the `setting_up` of `HostRates`.

    A small network takes longer than its operations alone: all rates are raised by that factor.

    Parameters
    ----------
    precision, device
        What to measure.
    page_fault
        As `page_fault_seconds` returned.
    """
    rates = _operation_rates(precision, device, page_fault)
    overhead = _network_overhead(precision, device, rates)
    overhead = dataclasses.replace(overhead, factor=max(1.0, overhead.factor))
    return _scaled(rates, overhead), overhead.setting_up


def measure_like(precision: Precision, device: torch.device, similar: Rates) -> Rates:
    """Return the rates of a precision from those of a similar one: only a network is measured.

    Parameters
    ----------
    precision, device
        What to measure.
    similar
        Rates of torch in the same data type. All are multiplied by the same factor, so that they
        give the time of a small network.
    """
    compiled = precision.library != "torch"  # as a whole: maps have no pages of their own
    whole = dataclasses.replace(
        similar,
        reordered=device.type == "cpu" and not precision.channels_last,
        page_fault=0.0 if compiled else similar.page_fault,
    )
    overhead = _network_overhead(precision, device, whole)
    compiling = overhead.setting_up if compiled else 0.0
    return dataclasses.replace(_scaled(whole, overhead), compiling=compiling)


def page_fault_seconds(device: torch.device) -> float:
    """Return the seconds per byte that the first touch of fresh memory takes."""
    if device.type != "cpu":
        return 0.0  # the device's allocator keeps freed memory
    count = 16 << 20
    kept = torch.zeros(count)
    again = shortest_seconds(lambda: kept.fill_(1.0), device)
    fresh = shortest_seconds(lambda: torch.empty(count).fill_(1.0), device)
    return max(0.0, fresh - again) / (4 * count)


@torch.inference_mode()
def _operation_rates(precision: Precision, device: torch.device, page_fault: float) -> Rates:
    layout = torch.channels_last_3d if precision.channels_last else torch.contiguous_format
    keep_freed_blocks()

    def tensor(*shape: int) -> torch.Tensor:
        values = torch.zeros(*shape, device=device, dtype=precision.dtype)
        return values.contiguous(memory_format=layout) if len(shape) == 5 else values

    def convolution(incoming: int, outgoing: int, width: int, edge: int, groups: int = 1) -> float:
        image, bias = tensor(1, incoming, edge, edge, edge), tensor(outgoing)
        weight = tensor(outgoing, incoming // groups, width, width, width)
        with fast_convolutions(device, precision.dtype):
            return shortest_seconds(
                lambda: F.conv3d(image, weight, bias, padding=width // 2, groups=groups), device
            )

    incoming, outgoing, edge = _CONVOLUTIONS[0]
    call = convolution(incoming, outgoing, 1, 2)
    thin, thick = (convolution(incoming, outgoing, width, edge) - call for width in (1, 3))
    size = precision.dtype.itemsize
    byte = max(0.0, thin - (thick - thin) / 26) / ((incoming + outgoing) * edge**3 * size)

    def rate(seconds: float, values: int, macs: int) -> float:
        """Return the seconds per multiply-accumulate: at least a tenth of the time is left."""
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
    seconds = shortest_seconds(
        lambda: F.conv_transpose3d(image, weight, stride=2, padding=1), device
    )
    transposed = seconds / (weight.numel() * 24**3)

    image, scale = tensor(1, 16, 64, 64, 64), tensor(16)
    norm = shortest_seconds(lambda: F.group_norm(image, 16, scale, scale), device)
    # On CPUs torch pools float32 only.
    finer = image.float() if device.type == "cpu" else image
    pool = shortest_seconds(lambda: F.avg_pool3d(finer, 2), device)
    pointwise = shortest_seconds(lambda: F.relu_(image), device)
    coarse = tensor(1, 16, 32, 32, 32)
    upsample = shortest_seconds(
        lambda: F.interpolate(coarse, scale_factor=2, mode="trilinear"), device
    )
    tiny = tensor(1, 16, 4, 4, 4)
    overhead = shortest_seconds(lambda: [F.relu_(tiny) for _ in range(100)], device) / 100
    return Rates(
        itemsize=size,
        reordered=device.type == "cpu" and not precision.channels_last,
        convolutions=convolutions,
        depthwise=depthwise,
        convolution_byte=byte,
        convolution_overhead=call,
        transposed=transposed,
        norm=norm / (2 * image.numel() * size),
        pool=pool / (1.125 * finer.nbytes),
        pointwise=pointwise / (2 * image.numel() * size),
        upsample=upsample / ((image.numel() + coarse.numel()) * size),
        page_fault=page_fault,
        overhead=overhead,
    )


def _network_overhead(precision: Precision, device: torch.device, rates: Rates) -> NetworkOverhead:
    network = _small_network()
    image, tiny = torch.zeros(1, *_SAMPLE_SHAPE), torch.zeros(1, *_TINY_SHAPE)
    longer = []
    traced = trace(network, 1, 3)
    with network_runner(network, precision, device, 3) as runner:
        steady = shortest_seconds(lambda: runner(image), device)
        least = shortest_seconds(lambda: runner(tiny), device)
        for number in range(1, _NEW_SHAPES + 1):
            new = torch.zeros(1, *(n - 8 * number + 1 for n in _SAMPLE_SHAPE))
            times = []
            for _ in range(2):  # the first run is what is measured: no warm-up
                started = clock(device)
                runner(new)
                times.append(clock(device) - started)
            longer.append((times[0] - times[1]) / traced.convolutions)
    call = (least - traced.seconds(_TINY_SHAPE, rates)) / traced.convolutions
    return NetworkOverhead(
        factor=steady / traced.seconds(_SAMPLE_SHAPE, rates),
        call=max(0.0, call),
        setting_up=max(0.0, statistics.median(longer)),
    )


def _small_network() -> nn.Module:
    def block(convolution: nn.Module, channels: int) -> list[nn.Module]:
        return [convolution, nn.GroupNorm(channels, channels), nn.ReLU(inplace=True)]

    return nn.Sequential(
        *block(nn.Conv3d(1, 16, 3, padding=1), 16),
        *block(nn.Conv3d(16, 16, 3, padding=1), 16),
        *block(nn.Conv3d(16, 32, 3, stride=2, padding=1), 32),
        *block(nn.Conv3d(32, 32, 3, padding=1), 32),
        *block(nn.ConvTranspose3d(32, 16, 4, stride=2, padding=1), 16),
        *block(nn.Conv3d(16, 16, 3, padding=1), 16),
        nn.Conv3d(16, 4, 3, padding=1),
    ).eval()


def _scaled(rates: Rates, overhead: NetworkOverhead) -> Rates:
    """Return rates with all times of work multiplied by the factor, and the call added."""
    factor = overhead.factor
    return dataclasses.replace(
        rates,
        convolutions={pair: factor * rate for pair, rate in rates.convolutions.items()},
        depthwise={channels: factor * rate for channels, rate in rates.depthwise.items()},
        convolution_byte=factor * rates.convolution_byte,
        convolution_overhead=rates.convolution_overhead + overhead.call,
        transposed=factor * rates.transposed,
        norm=factor * rates.norm,
        pool=factor * rates.pool,
        pointwise=factor * rates.pointwise,
        upsample=factor * rates.upsample,
    )
