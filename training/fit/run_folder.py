"""The folder of a run: its files, its lock, its log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, cast

from filelock import FileLock, Timeout
from pydantic import JsonValue

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, resolved, write_text


class LogEntry(TypedDict):
    """A line of the log: a training step or a validation."""

    event: Literal["training", "validation"]
    step: int
    """Optimizer steps done."""
    seconds: float
    """Training time so far; of a validation, its own time."""
    loss: NotRequired[float]
    """Mean over the steps since the last entry."""
    learning_rate: NotRequired[float]
    """Of the last step."""
    gradient_norm: NotRequired[float]
    """Of the last step."""
    spacing_mm: NotRequired[list[float]]
    """Working spacing of the last step (z, y, x)."""
    dice: NotRequired[float]
    """Mean over spacings and labels."""
    spacings: NotRequired[list[dict[str, JsonValue]]]
    """Scores at each spacing, by `SpacingScore.to_dict`."""


class RunFolder:
    """The files of a run.

    Parameters
    ----------
    path
        The folder; created by `locked`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.split = self.path / "split.json"
        self.log = self.path / "log.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.safetensors"
        self.best = self.checkpoints / "best.safetensors"
        self.tensorboard = self.path / "tensorboard"
        self.model = self.path / "model.safetensors"
        self.report = self.path / "report.md"

    def owns(self, path: str | os.PathLike[str]) -> bool:
        """Whether a path is that of a file that a run writes, existing or not."""
        own = (self.config, self.split, self.log, self.last, self.best, self.model, self.report)
        return resolved(path) in map(resolved, own)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and lock it; the lock of a process that dies is released.

        Raises
        ------
        HyperspaceError
            If another process has locked the folder, or it cannot be created.
        """
        create_folder(self.checkpoints)
        lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise HyperspaceError(
                "another process is training in this folder",
                where=self.path,
                fix="Wait for it to end, or choose another folder with --out",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def append(self, entry: LogEntry) -> None:
        """Append an entry to the log."""
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[LogEntry]:
        """Read the log; lines that are incomplete or damaged are skipped.

        The last line is incomplete if the run was killed while it was written.
        """
        if not self.log.exists():
            return []
        return [
            entry
            for line in self.log.read_bytes().split(b"\n")
            if (entry := _entry(line)) is not None
        ]

    def rewind(self, step: int) -> None:
        """Prepare the folder to continue after a step.

        Entries of later steps are removed from the log: these steps are repeated. So are the
        temporary files of checkpoints that a killed process was writing.
        """
        kept = [entry for entry in self.entries() if entry.get("step", 0) <= step]
        write_text(self.log, "".join(json.dumps(entry) + "\n" for entry in kept))
        for temporary in self.checkpoints.glob(".*.safetensors"):
            temporary.unlink(missing_ok=True)


def _entry(line: bytes) -> LogEntry | None:
    """Parse a line of the log; `None` if it is not an entry with the values of its event."""
    try:
        values = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or not isinstance(values.get("step"), int):
        return None
    measure = {"training": "loss", "validation": "dice"}.get(str(values.get("event")))
    numbers = [values.get(name) for name in ("seconds", measure)]
    if not all(isinstance(number, (int, float)) for number in numbers):
        return None
    return cast(LogEntry, values)
