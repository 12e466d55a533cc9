"""Choosing the fastest precision of a network that keeps its labels.

What is measured, once per (model, device, rough spacing), on a block of the scan itself: the time
of each precision, and for the short number types how many labels differ from fp32, *relative to the
border between classes* (labels flip where two classes are nearly even, and nowhere else). A
precision is taken if, at its rate, at most half of the allowed 0.1 % of that block would change.

What is guaranteed: that block was looked at, not the whole scan. So the engine counts, while it
labels any scan, how much border there is; where border × measured rate (with its statistical
uncertainty) exceeds the allowed 0.1 % of the voxels after all, the scan is run again in fp32, and
the model stays in fp32 at such spacings.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from napari_hyperspace.core import store
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.inference.argmax import border_voxels
from napari_hyperspace.inference.execution import PRECISIONS, NetworkRunner
from napari_hyperspace.inference.protocols import SpacingModel

ALLOWED = 1e-3  # part of the voxels whose label may differ from fp32
_MARGIN = 2  # the probe must stay below ALLOWED by this factor
_BLOCK = {2: (4, 192, 192), 3: (48, 48, 48)}  # shape of the probed block, in voxels
_REPEATS = 2
PROBE_RUNS = 1 + _REPEATS  # of each precision
_SHORT_TYPE_GAIN = 0.9  # a short type must take less than this part of the time to be worth it
_CANDIDATES = {
    "cpu": ("fp32", "fp32-channels-last", "bf16-channels-last"),
    "cuda": ("fp32", "fp32-channels-last", "bf16-channels-last", "fp16-channels-last"),
}


@dataclass(frozen=True)
class Choice:
    """A precision, and what was measured when it was chosen.

    Parameters
    ----------
    precision
        Name of the precision.
    flips_per_border
        Upper estimate of the labels that differ from fp32 for each voxel on a border; 0 for fp32.
    seconds
        Time of each precision on the probed block.
    shape
        Of the probed block.
    """

    precision: str
    flips_per_border: float
    seconds: dict[str, float]
    shape: tuple[int, ...]

    def expected_difference(self, border: int, voxels: int) -> float:
        """Part of the labels of a scan with so much border that may differ from fp32."""
        return self.flips_per_border * border / voxels


def candidates(device: torch.device) -> tuple[str, ...]:
    """Return the precisions worth trying on a device; the first is the reference."""
    return _CANDIDATES.get(device.type, ("fp32",))


def device_name(device: torch.device) -> str:
    """Return what measurements of a device depend on: its name, torch's version, threads."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{device.type} {platform.machine()} {_processor()}"
    return f"{hardware} | torch {torch.__version__} | {torch.get_num_threads()} threads"


def _processor() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.processor() or platform.node()} {capability}"


def choice_key(model: SpacingModel, device: torch.device, spacing_mm: Sequence[float]) -> str:
    """Return the key of a choice; spacings within half an octave share one."""
    rough = ",".join(str(round(2 * math.log2(step))) for step in spacing_mm)
    return f"{model.identity} | {rough} | {device_name(device)}"


def known_choice(
    model: SpacingModel, device: torch.device, spacing_mm: Sequence[float]
) -> Choice | None:
    """Return what was chosen before, if anything."""
    key = choice_key(model, device, spacing_mm)
    kept = store.recall("precisions", key) or _former_choice(key)
    try:
        choice = Choice(**kept) if kept is not None else None
    except TypeError:
        return None
    return choice if choice is not None and choice.precision in PRECISIONS else None


def _former_choice(key: str) -> dict[str, Any] | None:
    """Return a choice that an earlier version stored, under its former names."""
    kept = store.recall("forms", key)
    if not isinstance(kept, dict) or "form" not in kept:
        return None
    return {"precision" if name == "form" else name: value for name, value in kept.items()}


def choose_precision(
    model: SpacingModel,
    network: nn.Module,
    spacing_mm: Sequence[float],
    image: Tensor,
    device: torch.device,
    should_stop: ShouldStop | None = None,
) -> Choice:
    """Return the precision to run a network in, from memory or by a probe.

    Parameters
    ----------
    model, network, spacing_mm
        The network, baked by the model for this spacing.
    image
        What it will see (C, D, H, W).
    device
        Where it will run.
    should_stop
        Asked between layers.
    """
    known = known_choice(model, device, spacing_mm)
    if known is not None:
        return known
    block = _block(image, model.n_dim)
    choice, border = _probe(network, block, device, model.n_dim, should_stop)
    if border:  # else the block has shown nothing about labels
        store.keep("precisions", choice_key(model, device, spacing_mm), asdict(choice))
    return choice


def revise(model: SpacingModel, device: torch.device, spacing_mm: Sequence[float]) -> str:
    """Remember that a short type changed labels of a scan; return the precision to use instead."""
    known = known_choice(model, device, spacing_mm)
    seconds = known.seconds if known is not None else {}
    exact = {name: t for name, t in seconds.items() if PRECISIONS[name].dtype == torch.float32}
    precision = min(exact, key=exact.__getitem__) if exact else "fp32-channels-last"
    if known is not None:
        settled = replace(known, precision=precision, flips_per_border=0.0)
        store.keep("precisions", choice_key(model, device, spacing_mm), asdict(settled))
    return precision


def block_shape(shape: Sequence[int], n_dim: int) -> tuple[int, ...]:
    """Return the shape of the block that is probed of an image of this shape (D, H, W)."""
    edges = _BLOCK[n_dim]
    return tuple(min(edge, length) for edge, length in zip(edges, shape, strict=True))


def _block(image: Tensor, n_dim: int) -> Tensor:
    """Cut the middle out of an image; of a stack of slices, the middle slices."""
    for axis, length in enumerate(block_shape(image.shape[1:], n_dim), start=1):
        image = image.narrow(axis, (image.shape[axis] - length) // 2, length)
    return image


def _probe(
    network: nn.Module,
    block: Tensor,
    device: torch.device,
    n_dim: int,
    should_stop: ShouldStop | None,
) -> tuple[Choice, int]:
    """Measure each precision on a block; return the choice and the block's voxels on a border."""
    border = 0
    seconds: dict[str, float] = {}
    rates: dict[str, float] = {}
    reference: Tensor | None = None
    for name in candidates(device):
        precision = PRECISIONS[name]
        try:
            seconds[name], logits = _timed(
                NetworkRunner(network, precision, device, n_dim, should_stop), block
            )
        except (NotImplementedError, torch.OutOfMemoryError):
            continue  # this device lacks an operation in this type, or the memory
        labels = logits.float().max(dim=0).indices
        if reference is None:
            reference, border = labels, border_voxels(labels)
        if precision.dtype == torch.float32:
            rates[name] = 0.0
        elif torch.isfinite(logits).all():
            flips = int((labels != reference).sum())
            rate = upper_rate(flips, border)
            if rate * border <= ALLOWED / _MARGIN * reference.numel():
                rates[name] = rate
    if not rates:
        return Choice("fp32", 0.0, {}, tuple(block.shape[1:])), 0
    exact = min((name for name in rates if rates[name] == 0), key=seconds.__getitem__)
    best = min(rates, key=seconds.__getitem__)
    if seconds[best] > _SHORT_TYPE_GAIN * seconds[exact]:
        best = exact
    return Choice(best, rates[best], seconds, tuple(block.shape[1:])), border


def _timed(runner: NetworkRunner, block: Tensor) -> tuple[float, Tensor]:
    """Return the shortest time of a few runs, the first (which sets things up) apart."""
    logits = runner(block)
    shortest = math.inf
    for _ in range(_REPEATS):
        _synchronize(runner.device)
        started = time.perf_counter()
        logits = runner(block)
        _synchronize(runner.device)
        shortest = min(shortest, time.perf_counter() - started)
    return shortest, logits


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def upper_rate(flips: int, border: int) -> float:
    """Return the upper end of the 95 % interval of flips a border voxel; infinite without border.

    A normal approximation of the Poisson interval with a half added: for no flips at all, 3 (the
    rule of three).
    """
    if border == 0:
        return math.inf
    return (flips + 2 * math.sqrt(flips + 1) + 1) / border
