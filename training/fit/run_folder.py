"""The folder of a run: its files, its lock, its log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

from filelock import FileLock, Timeout
from pydantic import JsonValue

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text


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

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and lock it; the lock of a process that dies is released.

        Raises
        ------
        HyperspaceError
            If another process has locked the folder, or it cannot be created.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HyperspaceError(
                "the folder of the run cannot be created", where=self.path, found=error.strerror
            ) from error
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
        """Read the log; a line that is incomplete because the run was killed is skipped."""
        if not self.log.exists():
            return []
        entries = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                entries.append(json.loads(line))
            except ValueError:
                continue
        return entries

    def rewind(self, step: int) -> None:
        """Prepare the folder to continue after a step.

        Entries of later steps are removed from the log: these steps are repeated. So are the
        temporary files of checkpoints that a killed process was writing.
        """
        kept = [entry for entry in self.entries() if entry.get("step", 0) <= step]
        write_text(self.log, "".join(json.dumps(entry) + "\n" for entry in kept))
        for temporary in self.checkpoints.glob(".*.safetensors"):
            temporary.unlink(missing_ok=True)
