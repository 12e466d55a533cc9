"""Choose the fastest precision of a network that keeps its labels.

Measured once per (model, device, approximate spacing), on a block of the scan itself: the time of
each precision, and the number of labels that differ from those of torch in fp32 *relative to the
border between classes* (labels change only where the logits of two classes are nearly equal). A
precision is accepted if, at its rate, at most half of the allowed 0.1 % of that block would change.

The measurement covers that block, not the whole scan. So the engine counts the border voxels of
every scan. If border × measured rate (with its statistical uncertainty) exceeds the allowed 0.1 %
of the voxels, the scan is run again in fp32, and the model stays in fp32 at such spacings.
"""

from __future__ import annotations

import contextlib
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import NamedTuple

import torch
from torch import Tensor, nn

from napari_hyperspace.core import store
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.inference.argmax import border_voxels
from napari_hyperspace.inference.execution import (
    PRECISIONS,
    Precision,
    Runner,
    clock,
    network_runner,
)
from napari_hyperspace.inference.openvino.runner import is_available as openvino_is_available
from napari_hyperspace.inference.protocols import SpacingModel

MAX_DIFFERENCE = 1e-3  # fraction of the voxels whose label may differ from fp32
_MARGIN = 2  # the probe must stay below MAX_DIFFERENCE by this factor
_BLOCK = {2: (4, 192, 192), 3: (48, 48, 48)}  # shape of the probed block in voxels
_REPEATS = 2  # of a run, after the first; fewer of long ones
_LONG_S, _VERY_LONG_S = 0.2, 2.0
_PROMISING = 1.25  # a long run of more than this many times the fastest is not repeated
_MOST_PROBE_S = 8.0  # after this time, no further precision is tried
_LEAST_GAIN = 0.9  # others than the reference must take less than this fraction of its time
_FORMER_KEYS = {"form": "precision"}
_CANDIDATES = {
    # The most promising first: there may be no time for the last.
    "cpu": (
        *("fp32-channels-last", "bf16-channels-last"),
        *("openvino-fp32", "openvino-bf16"),
        "fp32",
    ),
    "cuda": ("fp32", "fp32-channels-last", "bf16-channels-last", "fp16-channels-last"),
}


@dataclass(frozen=True)
class PrecisionChoice:
    """A precision, and the measurements that it was chosen by.

    Parameters
    ----------
    precision
        Name of the precision.
    flips_per_border
        Upper estimate of the number of labels that differ from fp32 per border voxel; 0 for fp32.
    seconds
        Time of each precision on the probed block.
    shape
        Shape of the probed block.
    accepted
        The same estimate for each precision that may be used.
    compiling
        Seconds to compile the network, for each precision that has to be compiled.
    """

    precision: str
    flips_per_border: float
    seconds: dict[str, float]
    shape: tuple[int, ...]
    accepted: dict[str, float] = field(default_factory=dict)
    compiling: dict[str, float] = field(default_factory=dict)

    def for_voxels(self, voxels: int) -> PrecisionChoice:
        """Return the choice for an image of this size: compiling must be worth its time."""
        if self.precision not in self.compiling:
            return self
        work = voxels / math.prod(self.shape)

        def seconds(name: str) -> float:
            return self.seconds[name] * work + self.compiling.get(name, 0.0)

        best = min(self.accepted, key=seconds)
        return replace(self, precision=best, flips_per_border=self.accepted[best])

    def expected_difference(self, border: int, voxels: int) -> float:
        """Return the fraction of the labels that may differ from fp32, by the border voxels."""
        return self.flips_per_border * border / voxels


def candidates(device: torch.device) -> tuple[str, ...]:
    """Return the precisions to try on a device; the first is the reference, fp32 of torch."""
    names = _CANDIDATES.get(device.type, ("fp32",))
    installed = openvino_is_available()
    return tuple(n for n in names if installed or PRECISIONS[n].library != "openvino")


def device_name(device: torch.device) -> str:
    """Return the key of measurements on a device: its name, versions of the libraries, threads."""
    if device.type == "cuda":
        hardware = torch.cuda.get_device_name(device)
    else:
        hardware = f"{device.type} {platform.machine()} {_processor()}"
    name = f"{hardware} | torch {torch.__version__} | {torch.get_num_threads()} threads"
    if device.type == "cpu" and openvino_is_available():
        name += f" | openvino {version('openvino')}"
    return name


def _processor() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.processor() or platform.node()} {capability}"


def choice_key(model: SpacingModel, device: torch.device, spacing_mm: Sequence[float]) -> str:
    """Return the key of a stored choice; spacings within half an octave share one."""
    rough = ",".join(str(round(2 * math.log2(step))) for step in spacing_mm)
    return f"{model.identity} | {rough} | {device_name(device)}"


def known_choice(
    model: SpacingModel, device: torch.device, spacing_mm: Sequence[float]
) -> PrecisionChoice | None:
    """Return the stored choice, if there is one."""
    key = choice_key(model, device, spacing_mm)
    return _decode(store.recall("precisions", key)) or _decode(store.recall("forms", key))


class StoredChoice(NamedTuple):
    """A stored choice: of which model, and about which spacing.

    Parameters
    ----------
    model
        Identity of the model.
    spacing_mm
        Approximate spacing; choices are shared within half an octave.
    choice
        The choice.
    """

    model: str
    spacing_mm: tuple[float, ...]
    choice: PrecisionChoice


def stored_choices(device: torch.device) -> list[StoredChoice]:
    """Return all stored choices for a device."""
    found = []
    for key, value in sorted(store.recall_all("precisions").items()):
        identity, _, rest = key.partition(" | ")
        rough, _, name = rest.partition(" | ")
        choice = _decode(value)
        if choice is not None and name == device_name(device):
            with contextlib.suppress(ValueError, OverflowError):
                spacing = tuple(2 ** (int(step) / 2) for step in rough.split(","))
                found.append(StoredChoice(identity, spacing, choice))
    return found


def _decode(stored: object) -> PrecisionChoice | None:
    """Return a stored choice; earlier versions called the precision ``form``."""
    if not isinstance(stored, dict):
        return None
    try:
        choice = PrecisionChoice(**{_FORMER_KEYS.get(key, str(key)): stored[key] for key in stored})
        choice = replace(choice, shape=tuple(choice.shape))
        measured = {*choice.seconds}
        possible = (
            {choice.precision} | measured <= PRECISIONS.keys()
            and {*choice.accepted, *choice.compiling} <= measured
            and (choice.precision in choice.accepted or not choice.compiling)
            and all(0 < seconds < math.inf for seconds in choice.seconds.values())
            and all(
                0 <= number < math.inf
                for number in (
                    choice.flips_per_border,
                    *choice.accepted.values(),
                    *choice.compiling.values(),
                )
            )
        )
    except (TypeError, AttributeError):  # written by another version, or damaged
        return None
    return choice if possible else None


def choose_precision(
    model: SpacingModel,
    network: nn.Module,
    spacing_mm: Sequence[float],
    image: Tensor,
    device: torch.device,
    should_stop: ShouldStop | None = None,
) -> PrecisionChoice:
    """Return the precision to run a network in: a stored choice, or a new one by a probe.

    Parameters
    ----------
    model, network, spacing_mm
        The network, baked by the model for this spacing.
    image
        Input of the network (C, D, H, W).
    device
        Where it will run.
    should_stop
        Called between layers.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    """
    known = known_choice(model, device, spacing_mm)
    if known is not None:
        return known
    block = _block(image, model.n_dim)
    choice, border = _probe(network, block, device, model.n_dim, should_stop)
    if border:  # without a border, the block shows nothing about labels
        store.keep("precisions", choice_key(model, device, spacing_mm), asdict(choice))
    return choice


def settle_on_fp32(model: SpacingModel, device: torch.device, spacing_mm: Sequence[float]) -> str:
    """Return the fastest fp32 precision, and store it in place of the choice made before."""
    known = known_choice(model, device, spacing_mm)
    seconds = known.seconds if known is not None else {}
    exact = {name: t for name, t in seconds.items() if PRECISIONS[name].is_reference}
    precision = min(exact, key=exact.__getitem__) if exact else "fp32-channels-last"
    if known is not None:
        settled = replace(
            known, precision=precision, flips_per_border=0.0, accepted=dict.fromkeys(exact, 0.0)
        )
        store.keep("precisions", choice_key(model, device, spacing_mm), asdict(settled))
    return precision


def block_shape(shape: Sequence[int], n_dim: int) -> tuple[int, ...]:
    """Return the shape of the block to probe in an image of this shape (D, H, W)."""
    edges = _BLOCK[n_dim]
    return tuple(min(edge, length) for edge, length in zip(edges, shape, strict=True))


def _block(image: Tensor, n_dim: int) -> Tensor:
    """Return the center of an image; for a 2-D network, of its middle slices."""
    for axis, length in enumerate(block_shape(image.shape[1:], n_dim), start=1):
        image = image.narrow(axis, (image.shape[axis] - length) // 2, length)
    return image


def _probe(
    network: nn.Module,
    block: Tensor,
    device: torch.device,
    n_dim: int,
    should_stop: ShouldStop | None,
) -> tuple[PrecisionChoice, int]:
    """Measure each precision on a block; return the choice and the number of border voxels."""
    border = 0
    seconds: dict[str, float] = {}
    compiling: dict[str, float] = {}
    rates: dict[str, float] = {}
    reference: Tensor | None = None
    deadline = clock(device) + _MOST_PROBE_S
    for name in candidates(device):
        precision = PRECISIONS[name]
        if rates and clock(device) > deadline:
            break
        try:
            with network_runner(network, precision, device, n_dim, should_stop) as runner:
                started = clock(device)
                logits = runner(block)
                first = clock(device) - started
                fastest = min(seconds.values(), default=math.inf)
                seconds[name] = first
                if repeats := _repeats(precision, first, fastest):
                    seconds[name], logits = _timed(runner, block, device, repeats)
            if precision.library != "torch":
                compiling[name] = max(0.0, first - seconds[name])
        except (NotImplementedError, torch.OutOfMemoryError):
            continue  # the device lacks the memory, or an operation in this type
        labels = logits.float().max(dim=0).indices
        if reference is None:
            reference, border = labels, border_voxels(labels)
        if precision.is_reference:
            rates[name] = 0.0
        elif torch.isfinite(logits).all():
            flips = int((labels != reference).sum())
            rate = upper_rate(flips, border)
            if rate * border <= MAX_DIFFERENCE / _MARGIN * reference.numel():
                rates[name] = rate
    if not rates:
        return PrecisionChoice("fp32", 0.0, {}, tuple(block.shape[1:])), 0
    exact = min((n for n in rates if PRECISIONS[n].is_reference), key=seconds.__getitem__)
    best = min(rates, key=seconds.__getitem__)
    if seconds[best] > _LEAST_GAIN * seconds[exact]:
        best = exact
    shape = tuple(block.shape[1:])
    return PrecisionChoice(best, rates[best], seconds, shape, rates, compiling), border


def probe_seconds(seconds: Mapping[str, float], compiling: Mapping[str, float]) -> float:
    """Return the expected time of a probe.

    Parameters
    ----------
    seconds
        Of one run on the block, by name of the precision.
    compiling
        The same for compiling.
    """
    total, fastest = 0.0, math.inf
    for name, each in seconds.items():
        if total > _MOST_PROBE_S:
            break
        total += each * (1 + _repeats(PRECISIONS[name], each, fastest)) + compiling.get(name, 0.0)
        fastest = min(fastest, each)
    return total


def _repeats(precision: Precision, first: float, fastest: float) -> int:
    """Return how often to run again after a first run.

    Parameters
    ----------
    precision
        One that is compiled is run again, to know how long that takes.
    first
        Time of the first run.
    fastest
        Time of the fastest precision so far.
    """
    if first <= _LONG_S:
        return _REPEATS
    if precision.library != "torch":
        return 1
    return 0 if first > _VERY_LONG_S or first > _PROMISING * fastest else 1


def _timed(
    runner: Runner, block: Tensor, device: torch.device, repeats: int
) -> tuple[float, Tensor]:
    """Return the shortest time of a few runs, and the logits."""
    times = []
    for _ in range(repeats):
        started = clock(device)
        logits = runner(block)
        times.append(clock(device) - started)
    return min(times), logits


def upper_rate(flips: int, border: int) -> float:
    """Return the upper end of the 95 % interval of flips per border voxel; infinite without border.

    A normal approximation of the Poisson interval, with a constant added such that no flips give 3
    per border (the rule of three).
    """
    if border == 0:
        return math.inf
    return (flips + 2 * math.sqrt(flips + 1) + 1) / border
