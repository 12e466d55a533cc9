"""The watched child process that runs the cases of the mutation driver."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tests.fuzz.limits import BLOCKED_S, CPU_S, PICKLE_MEMORY_BYTES
from tests.fuzz.targets import target_type

_ROOT = Path(__file__).resolve().parents[2]
# The tests come last on the path, so that an installed package is tested and not the checkout.
_START = "import sys; sys.path.append({root!r}); from tests.fuzz.worker import start; start({to!r})"
_POLL_S = 0.2
_BUSY_S = 0.1  # of processor time: with less, a process is waiting
_NICENESS = 15


class Child:
    """A process that runs cases; it is stopped when a case goes over a limit, and started again.

    Parameters
    ----------
    cpu_s
        Processor time of a case.
    blocked_s
        Time in which a case spends hardly any processor time.
    """

    def __init__(self, cpu_s: float = CPU_S, blocked_s: float = BLOCKED_S) -> None:
        self.cpu_s, self.blocked_s = cpu_s, blocked_s
        self._process: subprocess.Popen[str] | None = None
        self._watched: psutil.Process | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self.scratch = Path()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def prepare(self, target: str) -> None:
        """Import what a target tests, so that it does not count for its first case."""
        self._start()
        self._send({"prepare": target})
        self._wait_or_fail()

    def run(self, target: str, seed: int, index: int) -> dict[str, Any]:
        """Run a case; return what happened."""
        self.prepare(target)
        self._send({"target": target, "seed": seed, "index": index})
        self._wait_or_fail()  # the files are written
        memory = target_type(target).memory_bytes
        return self._wait(self.cpu_s, PICKLE_MEMORY_BYTES if memory is None else 2 * memory)

    def describe(self, target: str, seed: int, index: int) -> str:
        """Return the checksum of a case, without running it."""
        self._start()
        self._send({"describe": target, "seed": seed, "index": index})
        answer = self._wait(None, None)
        return str(answer["digest"])

    @property
    def files(self) -> Path:
        """The folder of the last case."""
        return self.scratch / "case"

    def stop(self) -> None:
        """End the process and remove its folder."""
        if self._process is not None:
            self._kill()
        if self.scratch != Path():
            shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch = Path()

    def _start(self) -> None:
        if self._process is not None:
            return
        if self.scratch != Path():
            shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="hyperspace-fuzz-"))
        environment = {
            **{name: value for name, value in os.environ.items() if name != "HYPERSPACE_DATA"},
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.scratch / "tmp")),
            "HYPERSPACE_CACHE": str(self.scratch / "cache"),
            "HYPERSPACE_LOG_FOLDER": str(self.scratch / "log"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.scratch / "cache"),
            "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
            "PYTHONFAULTHANDLER": "1",
            "PYTHONHASHSEED": "0",
            "COLUMNS": "200",
        }
        code = _START.format(root=str(_ROOT), to=str(self.scratch))
        self._answers = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-X", "utf8", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=self.scratch,
            encoding="utf-8",
        )
        self._watched = psutil.Process(self._process.pid)
        with suppress(psutil.Error, OSError):
            self._watched.nice(_NICENESS if os.name == "posix" else self._watched.nice())
        threading.Thread(target=self._listen, args=(self._process, self._answers)).start()

    @staticmethod
    def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                answers.put(line)
        answers.put("")

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(OSError):  # it has ended, which `_wait` reports
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def _wait_or_fail(self) -> None:
        """Wait for the end of what the tests do themselves."""
        answer = self._wait(None, None)
        if "outcome" in answer:
            raise RuntimeError(f"the child of the mutation driver failed: {answer['detail']}")

    def _wait(self, cpu_s: float | None, memory: int | None) -> dict[str, Any]:
        """Return the next answer, or a finding if the process ends or goes over a limit."""
        assert self._watched is not None
        started, spent, busy, held = time.monotonic(), 0.0, 0.0, 0
        with suppress(psutil.Error):  # no children yet; to list them takes longer than most cases
            spent = sum(self._watched.cpu_times()[:4])
            held = self._watched.memory_info().rss
        while True:
            try:
                line = self._answers.get(timeout=_POLL_S)
            except queue.Empty:
                used = self._cpu_s() - spent
                more = self._rss() - held
                if cpu_s is not None and used > cpu_s:
                    return self._stopped("time", f"more than {cpu_s:g} s of processor time", used)
                if memory is not None and more > memory:
                    return self._stopped("memory", f"{more >> 20} MB more than before", used)
                if used > busy + _BUSY_S:
                    started, busy = time.monotonic(), used
                if cpu_s is not None and time.monotonic() - started > self.blocked_s:
                    return self._stopped("blocked", f"nothing done for {self.blocked_s:g} s", used)
                continue
            if not line:
                assert self._process is not None
                status = self._process.wait()
                return self._stopped("crash", f"exit status {status}", self._cpu_s() - spent)
            answer: dict[str, Any] = json.loads(line)
            return answer

    def _stopped(self, kind: str, detail: str, cpu_s: float) -> dict[str, Any]:
        with suppress(OSError):
            printed = (self.scratch / "printed").read_text(errors="replace").strip()
            detail = f"{detail}; {printed[-2000:]}" if printed else detail
        self._kill()
        return {
            "outcome": "finding",
            "kind": kind,
            "detail": detail,
            "place": "",
            "cpu_s": max(cpu_s, 0.0),
        }

    def _kill(self) -> None:
        """End the process and those that it has started."""
        assert self._process is not None
        for process in (*self._family(), self._watched):
            if process is not None:
                with suppress(psutil.Error):
                    process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._process = self._watched = None

    def _family(self) -> list[psutil.Process]:
        if self._watched is None:
            return []
        try:
            return self._watched.children(recursive=True)
        except psutil.Error:
            return []

    def _cpu_s(self) -> float:
        """Return the processor time of the process and its children, running or ended."""
        total = 0.0
        for process in (self._watched, *self._family()):
            with suppress(psutil.Error):
                if process is not None:
                    total += sum(process.cpu_times()[:4])
        return total

    def _rss(self) -> int:
        total = 0
        for process in (self._watched, *self._family()):
            with suppress(psutil.Error):
                if process is not None:
                    total += process.memory_info().rss
        return total
