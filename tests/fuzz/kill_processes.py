"""The child processes of the harness of kills."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Call = tuple[object, ...]
_LONGEST_S = 600.0
_CHILD_MODULE = "tests.fuzz.kill_child"


def start(folder: Path, call: Call, event: int | None, number: int) -> tuple[Any, Connection]:
    """Start a child, and return it with the connection to it once it begins."""
    method = "forkserver" if os.name == "posix" else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([_CHILD_MODULE])
    from tests.fuzz import kill_start

    here, there = context.Pipe(duplex=False)
    arguments = (there, str(folder), call, event, number)
    process = context.Process(target=kill_start.main, args=arguments)
    process.start()
    there.close()
    try:
        here.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the child did not start: {folder}.log") from None
    return process, here


def finish(process: Any, connection: Connection) -> tuple[int | None, tuple[int, float] | None]:
    """Wait for a child; return its exit status (`None`: it does not end) and what it sent."""
    try:
        sent = connection.recv() if connection.poll(_LONGEST_S) else None
    except (EOFError, OSError):
        sent = None
    process.join(_LONGEST_S if sent is None else 60)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    connection.close()
    return status, sent


def run(folder: Path, call: Call) -> tuple[int, float]:
    """Run a command to its end; return the number of its file operations and the seconds."""
    status, sent = finish(*start(folder, call, None, 0))
    if status != 0 or sent is None:
        log = Path(f"{folder}.log").read_text("utf-8", "replace")[-600:]
        raise RuntimeError(f"{' '.join(map(str, call))} ended with {status}: {log}")
    return sent
