"""Find the finest working spacing within a budget of time and memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch

from napari_hyperspace.api.estimate import Estimate, estimate
from napari_hyperspace.api.guidance import AnyGuidance
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_bytes, format_seconds, format_spacing
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.execution import choose_device
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import working_spacing
from napari_hyperspace.inference.protocols import SpacingModel

_BISECTIONS = 24


class _FormerBudget(TypedDict, total=False):
    bytes: int | None  # former name of `memory_bytes`


def spacing_for(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    *,
    seconds: float | None = None,
    memory_bytes: int | None = None,
    device: str | torch.device | None = None,
    first_run: bool = True,
    guidance: AnyGuidance | None = None,
    best: bool = False,
    **former: Unpack[_FormerBudget],
) -> Triple:
    """Return the finest working spacing within a budget of time, memory or both.

    The search coarsens the scan's own spacing within the model's trained range, the finest axes
    first, until the axes have the same spacing. An axis becomes finer than the scan only if the
    scan is coarser than any trained spacing; it then gets the coarsest trained one.

    Parameters
    ----------
    volume, model, device, guidance
        As in `segment`.
    seconds
        Longest wall time.
    memory_bytes
        Largest peak memory of the device that computes. Its former name ``bytes`` is accepted.
    first_run
        Whether ``seconds`` includes the time in which a first run finds the fastest precision.
    best
        Whether several networks are to be averaged, as in `InferenceOptions`.

    Returns
    -------
    tuple
        Canonical order (z, y, x).

    Raises
    ------
    HyperspaceError
        If even the coarsest trained spacing exceeds the budget.
    TypeError
        If a keyword is unknown.
    """
    if former.keys() - {"bytes"}:
        raise TypeError(f"unexpected keyword arguments: {', '.join(sorted(former))}")
    if memory_bytes is None:
        memory_bytes = former.get("bytes")
    options = InferenceOptions(device=choose_device(device), outside="clamp", best=best)
    own = working_spacing(volume, model, None, "clamp")
    ranges = model.trained_range_mm
    coarsest = max(high for _, high in ranges) if ranges else 4 * max(own)

    def at(floor_mm: float) -> Triple:
        return working_spacing(volume, model, [max(step, floor_mm) for step in own], "clamp")

    def cost(spacing: Triple) -> Estimate:
        return estimate(volume, model, spacing, options, guidance=guidance)

    def too_slow(found: Estimate) -> bool:
        spent = found.seconds if first_run else found.seconds - found.probe_seconds
        return seconds is not None and not spent <= seconds  # an unknown time is too slow

    def too_large(found: Estimate) -> bool:
        return memory_bytes is not None and found.peak_bytes > memory_bytes

    def within(spacing: Triple) -> bool:
        found = cost(spacing)
        return not too_slow(found) and not too_large(found)

    finest = min(own)
    if within(at(finest)):
        return at(finest)
    if not within(at(coarsest)):
        least = cost(at(coarsest))
        exceeded: list[tuple[str, str, str]] = []  # only the limits that are in the way
        if seconds is not None and too_slow(least):
            spent = least.seconds if first_run else least.seconds - least.probe_seconds
            exceeded.append((format_seconds(spent), format_seconds(seconds), "time"))
        if memory_bytes is not None and too_large(least):
            needed, allowed = format_bytes(least.peak_bytes), format_bytes(memory_bytes)
            exceeded.append((needed, allowed, "memory"))
        found, expected, what = (" and ".join(texts) for texts in zip(*exceeded, strict=True))
        spacing = format_spacing(at(coarsest), collapse=True)
        raise HyperspaceError(
            "no trained spacing is within the budget",
            where=model.name,
            found=f"{found} at the coarsest, {spacing}",
            expected=f"at most {expected}",
            fix=f"Allow more {what}",
        )
    low, high = math.log(finest), math.log(coarsest)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if within(at(math.exp(middle))):
            high = middle
        else:
            low = middle
    return at(math.exp(high))
