"""Refuse a segmentation that needs more memory than there is, before it runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_bytes
from napari_hyperspace.core.memory import available_bytes
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.cost.memory_model import peaks
from napari_hyperspace.cost.trace_cache import CannotTraceError, trace_of
from napari_hyperspace.inference.execution import PRECISIONS
from napari_hyperspace.inference.plan import Plan
from napari_hyperspace.inference.protocols import SpacingModel


def check_main_memory(
    volumes: Sequence[Volume],
    plan: Plan,
    model: SpacingModel,
    device: torch.device,
    held_bytes: int = 0,
) -> None:
    """Refuse a segmentation that needs more main memory than is available.

    A network that cannot be traced is not refused.

    Parameters
    ----------
    volumes, plan, model, device
        The segmentation.
    held_bytes
        What is held in main memory besides, during all of it.

    Raises
    ------
    HyperspaceError
        If even the precision that needs the least memory needs more than there is.
    """
    try:
        trace = trace_of(model, plan.network_spacing_mm).trace
    except CannotTraceError:
        return
    free = available_bytes(torch.device("cpu"))
    needed = held_bytes + min(
        peaks(volumes, plan, model, trace, PRECISIONS[name], device)[1]
        for name in ("fp32-channels-last", "bf16-channels-last")
    )
    if needed > free:
        raise HyperspaceError(
            "not enough main memory for this segmentation",
            found=f"{format_bytes(free)} free",
            expected=format_bytes(needed),
            fix="Choose a coarser spacing or smaller tiles, or close other programs",
        )
