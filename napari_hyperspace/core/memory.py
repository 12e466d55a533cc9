"""How much memory there is, and how much a piece of work took."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import torch

MAPPED = 32 << 20  # allocations above this are mapped by themselves
_BLOCK_MARGIN = 64 << 10  # alignment and the C library's own
_SAMPLING_S = 0.005
_CGROUP_LIMIT, _CGROUP_USE = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory.current"),
)


def resident_bytes() -> int:
    """Return the memory that this process holds in RAM."""
    return int(psutil.Process().memory_info().rss)


def keep_freed_blocks() -> None:
    """Let the C library keep freed blocks of up to 32 MB for the next ones.

    glibc maps larger blocks by themselves, and gives them back when they are freed: what is large
    it learns from the largest such block that was freed, 32 MB at most. Before it has, each map of
    a network on a small scan is fetched from the system page by page, and a run takes up to twice
    as long. Nothing is written to this block, so that it costs nothing.
    """
    torch.empty(MAPPED - _BLOCK_MARGIN, dtype=torch.uint8)


def available_bytes(device: torch.device) -> int:
    """Return the memory that is still free on a device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + held
    free = int(psutil.virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # a container may allow less
        free = min(free, int(_CGROUP_LIMIT.read_text()) - int(_CGROUP_USE.read_text()))
    return free


class PeakMemory:
    """Measures by how much memory grows while it is entered, at the highest point.

    On the CPU: the process's resident memory, sampled every 5 ms by a thread of its own. On CUDA:
    what torch's allocator hands out.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._before = 0
        self._highest = 0

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        else:
            self._before = self._highest = resident_bytes()
            self._thread = threading.Thread(
                target=self._watch, name="hyperspace-memory", daemon=True
            )
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def peak_bytes(self) -> int:
        """Growth at the highest point so far."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        self._highest = max(self._highest, resident_bytes())
        return self._highest - self._before

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLING_S):
            self._highest = max(self._highest, resident_bytes())
