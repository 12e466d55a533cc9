"""How busy other programs keep the processors, and how much longer work takes because of that."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

__all__ = ["BUSY", "Load", "current_slowdown", "slowdown"]

BUSY = 1.3
"""A machine is busy if work takes this many times as long as on a quiet one."""

_IDLE = ("idle", "iowait", "guest", "guest_nice")  # a guest's time is part of the user's
_LEAST_OWN_S = 0.2  # work of this process from which its own waiting says something
_ALL = 0.9  # part of all processors that counts as all of them
_SAMPLE_S = 0.1  # of a measurement for which nothing else is waited for
_RECENT_S, _OLD_S, _VERY_OLD_S = 2.0, 10.0, 60.0


@dataclass(frozen=True)
class Load:
    """What the processors have done until a moment, in seconds summed over processors.

    Parameters
    ----------
    at
        The moment.
    busy
        Of all programs.
    own
        Of this process.
    waited
        For which threads of this process that could run did not; 0 where the system does not count
        it.
    """

    at: float
    busy: float
    own: float
    waited: float = 0.0

    @classmethod
    def now(cls) -> Load:
        """Read the counters of the system."""
        everything, own = psutil.cpu_times()._asdict(), psutil.Process().cpu_times()
        busy = sum(seconds for name, seconds in everything.items() if name not in _IDLE)
        return cls(time.perf_counter(), busy, own.user + own.system, _waited_seconds())

    def others_until(self, end: Load) -> float:
        """Return how many processors other programs kept busy from this moment to another."""
        others = (end.busy - self.busy) - (end.own - self.own)
        return max(0.0, others) / max(end.at - self.at, 1e-3)

    def slowdown_until(self, end: Load) -> float:
        """Return how many times as long work took from this moment to another; 1: undisturbed.

        Known exactly if this process worked; else from the work of others, which say less than what
        they would use if all processors are busy.
        """
        own, waited = end.own - self.own, end.waited - self.waited
        if waited > 0 and own >= _LEAST_OWN_S:
            return 1 + waited / own
        others, processors = self.others_until(end), psutil.cpu_count() or 1
        if others >= _ALL * processors:
            others = max(others, psutil.getloadavg()[0])
        return slowdown(others, torch.get_num_threads(), processors)


def _waited_seconds() -> float:
    """Return for how long threads of this process have waited for a processor (Linux)."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, ValueError, IndexError):  # the thread may have ended
            total += int(path.read_text().split()[1])
    return 1e-9 * total


def slowdown(others: float, threads: int, processors: int) -> float:
    """Return how many times as long work takes beside others, if all share the processors.

    Parameters
    ----------
    others
        Number of processors that other programs would keep busy.
    threads
        Number of threads of the work.
    processors
        Number of processors of the machine.
    """
    return max(1.0, (threads + others) / max(processors, threads))


class _Meter:
    """Measures the load between calls: waits only if the last call is too long ago."""

    def __init__(self, rest: Callable[[float], object] = time.sleep) -> None:
        self._rest = rest
        self._lock = threading.Lock()
        self._last: Load | None = None
        self._found = 1.0

    def slowdown(self, *, wait: bool) -> float:
        with self._lock:
            now, last = Load.now(), self._last
            gap = math.inf if last is None else now.at - last.at
            if gap < _RECENT_S:
                return self._found
            if wait and gap > _OLD_S:
                last = now
                self._rest(_SAMPLE_S)
                now = Load.now()
            self._last = now
            if last is None or now.at - last.at > _VERY_OLD_S:  # the average of a minute is newer
                others = psutil.getloadavg()[0]
                self._found = slowdown(others, torch.get_num_threads(), psutil.cpu_count() or 1)
            else:
                self._found = last.slowdown_until(now)
            return self._found


_METER = _Meter()


def current_slowdown(*, wait: bool = True) -> float:
    """Return how many times as long work takes at present, because of other programs.

    Parameters
    ----------
    wait
        Whether to measure for 0.1 s if the last call was long ago; else the answer is about the
        time since then.
    """
    return _METER.slowdown(wait=wait)
