"""The models at hand: bundled ones and files of the user's own, loaded once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_hyperspace._resources import DEFAULT_MODEL
from napari_hyperspace.gui.services import Services
from napari_hyperspace.gui.view import Entries


@dataclass(frozen=True)
class Devices:
    """What can compute: (key, name), the best first."""

    entries: Entries


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model was loaded."""

    key: str
    model: Any


class ModelShelf:
    """Models by key: a bundled name, or the path of a file. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._own: dict[str, str] = {}
        self._loaded: dict[str, Any] = {}
        self._lock = threading.Lock()

    def entries(self) -> list[tuple[str, str]]:
        """Return (key, what to show) of every model, bundled ones first."""
        bundled = [(name, name) for name in self._services.bundled_models()]
        return [*bundled, *self._own.items()]

    def default(self) -> str:
        """Return the key of the model to begin with; empty if there is none."""
        keys = [key for key, _ in self.entries()]
        return DEFAULT_MODEL if DEFAULT_MODEL in keys else next(iter(keys), "")

    def add(self, path: str) -> str:
        """Put a model file on the shelf; return its key. It is loaded when first asked for."""
        key = str(Path(path).resolve())
        self._own[key] = Path(path).stem
        return key

    def forget(self, key: str) -> None:
        """Take a file off the shelf that turned out to be no model."""
        self._own.pop(key, None)

    def load(self, key: str) -> Any:
        """Return a model, from the file the first time.

        Raises
        ------
        HyperspaceError
            If the file is no sound model.
        """
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._services.load_model(key)
            return self._loaded[key]

    def steps(self, key: str) -> Iterator[Devices | Loaded]:
        """Say what can compute, then load a model: both need torch, which takes its time."""
        yield Devices(tuple(self._services.devices()))
        yield Loaded(key, self.load(key))
