"""Let the C library keep freed memory, so that the next step need not fetch it anew."""

from __future__ import annotations

import ctypes
import sys

# From glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_BLOCK = 1 << 30
_KEPT = (1 << 31) - 1
_MARGIN = 1 << 28


def keep_freed_memory() -> bool:
    """Take large blocks from the heap and give none of it back to the system.

    By default glibc maps each block over some megabytes by itself and unmaps it when it is freed:
    every feature map of every step is then fetched from the system page by page. Kept, a training
    step on maps of 112³ voxels takes half the time on a processor.

    Returns
    -------
    bool
        Whether the C library took the settings; others than glibc don't have them.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_THRESHOLD, _LARGEST_BLOCK), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _MARGIN))
    return all([mallopt(key, value) == 1 for key, value in settings])
