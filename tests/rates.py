"""Given rates of a device, for tests that must not measure this machine."""

from __future__ import annotations

import torch

from napari_hyperspace.core import store
from napari_hyperspace.cost.calibrate import _key
from napari_hyperspace.cost.rates import Calibration, HostRates, Rates, encode

PRECISION_RATES = Rates(
    itemsize=4,
    reordered=False,
    depthwise={8: 2e-11, 32: 4e-11},
    convolution_byte=2e-11,
    convolution_overhead=5e-5,
    convolutions={(1, 16): 2e-11, (16, 16): 1e-11, (64, 64): 5e-12},
    transposed=1e-11,
    norm=1e-10,
    pool=1e-10,
    pointwise=1e-10,
    upsample=1e-10,
    page_fault=2e-10,
    overhead=1e-6,
)
HOST_RATES = HostRates(
    normalize=dict.fromkeys(("z-score", "percentile", "window", "none"), (1e-9, 4e-9)),
    copy=1e-10,
    product=1e-11,
    gather=1e-10,
    winner=1e-9,
    look_up=1e-9,
    interpolate=1e-9,
    page_fault=2e-10,
)
CALIBRATION = Calibration(
    dict.fromkeys(
        (
            *("fp32", "fp32-channels-last", "bf16-channels-last"),
            *("openvino-fp32", "openvino-bf16"),
        ),
        PRECISION_RATES,
    ),
    HOST_RATES,
)


def store_rates() -> None:
    """Store the rates as those of this processor, for commands with one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the number of threads is part of the key
    try:
        store.keep("rates", _key(torch.device("cpu")), encode(CALIBRATION))
    finally:
        torch.set_num_threads(threads)
