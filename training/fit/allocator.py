"""Make the C library keep freed memory for the next training step."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_BLOCK = 1 << 30
_KEPT = (1 << 31) - 1
_MARGIN = 1 << 28


def keep_freed_memory() -> bool:
    """Allocate large blocks on the heap and return no freed memory to the system.

    By default, glibc maps each block of more than some megabytes separately and unmaps it when it
    is freed, so that the pages of every feature map are requested again in every step. With these
    settings, a training step on feature maps of 112³ voxels takes half the time on a CPU.

    Returns
    -------
    bool
        Whether the settings were accepted; C libraries other than glibc do not have them.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_MMAP_THRESHOLD, _LARGEST_BLOCK), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _MARGIN))
    return all([mallopt(key, value) == 1 for key, value in settings])
