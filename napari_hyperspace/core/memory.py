"""How much memory is free, and how much a piece of work takes."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:  # readers of files ask for the free memory, and load no torch
    import torch

__all__ = [
    "MAPPED",
    "PeakMemory",
    "available_bytes",
    "available_host_bytes",
    "container_limit_bytes",
    "keep_freed_blocks",
    "resident_bytes",
    "total_host_bytes",
]

MAPPED = 32 << 20
"""Allocations above this size are mapped by the C library one by one."""

_BLOCK_MARGIN = 64 << 10  # alignment and the C library's bookkeeping
_SAMPLING_S = 0.005
_CGROUP = Path("/sys/fs/cgroup")


def resident_bytes() -> int:
    """Return the resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def keep_freed_blocks() -> None:
    """Let the C library reuse freed blocks of up to 32 MB.

    glibc maps each large block separately and returns it to the system when it is freed. Its
    threshold for "large" grows to the largest such block that was freed, up to 32 MB. Until then,
    each feature map of a network on a small scan is fetched from the system page by page, and a
    run takes up to twice as long. Nothing is written to the block allocated here, so it costs
    nothing.
    """
    import torch

    torch.empty(MAPPED - _BLOCK_MARGIN, dtype=torch.uint8)


def available_bytes(device: torch.device) -> int:
    """Return the free memory of a device."""
    if device.type == "cuda":
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + held
    return available_host_bytes()


def available_host_bytes() -> int:
    """Return the free main memory, within the limits of container and process.

    These are the limit of cgroup version 2, and that of the address space (``ulimit -v``) on Linux.
    """
    free = min(int(psutil.virtual_memory().available), _free_address_space())
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text()) - _reclaimable_bytes()
        free = min(free, max(limit - used, 0))
    return free


def container_limit_bytes() -> int | None:
    """Return the memory limit of the container (cgroup version 2); `None`: there is none."""
    try:
        return int((_CGROUP / "memory.max").read_text())
    except (OSError, ValueError):
        return None


def total_host_bytes() -> int:
    """Return the main memory of the computer, within the limit of a container."""
    total = int(psutil.virtual_memory().total)
    return min(total, container_limit_bytes() or total)


def _free_address_space() -> int:
    """Return how much more memory this process may map."""
    if sys.platform != "linux":  # others do not enforce the limit, or have none
        return sys.maxsize
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(limit - int(psutil.Process().memory_info().vms), 0)


def _reclaimable_bytes() -> int:
    """Return the memory of the container that caches files, and is freed on demand."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_CGROUP / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                return int(value)
    return 0


class PeakMemory:
    """Context manager that measures the peak growth of memory.

    On the CPU: resident memory of the process, sampled every 5 ms by a thread. On CUDA: memory
    allocated by torch.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._before = 0
        self._highest = 0

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            import torch

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
        """Largest growth so far."""
        if self._device.type == "cuda":
            import torch

            return torch.cuda.max_memory_allocated(self._device) - self._before
        self._highest = max(self._highest, resident_bytes())
        return self._highest - self._before

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLING_S):
            self._highest = max(self._highest, resident_bytes())
