"""The folder of a run: its files, its lock, its log."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text


class RunFolder:
    """Where a run keeps its things.

    Parameters
    ----------
    path
        The folder; made when first written to.
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
        """Keep other runs out of the folder; a process that dies leaves no lock behind.

        Raises
        ------
        HyperspaceError
            If another process holds it, or the folder cannot be made.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HyperspaceError(
                f"the run's folder cannot be made: {error.strerror}", where=self.path
            ) from error
        lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise HyperspaceError(
                "another process is training in this folder",
                where=self.path,
                fix="Wait for it, or choose another folder with --out",
            ) from None
        try:
            yield
        finally:
            lock.release()

    def append(self, entry: dict[str, Any]) -> None:
        """Add one line to the log."""
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """Read the log; a line cut short by a kill is left out."""
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
        """Drop what the log tells of steps after this one: they are about to be done again."""
        kept = [entry for entry in self.entries() if entry.get("step", 0) <= step]
        write_text(self.log, "".join(json.dumps(entry) + "\n" for entry in kept))
