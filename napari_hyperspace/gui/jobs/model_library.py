"""The models at hand: bundled ones and files of the user's own, loaded once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_hyperspace._resources import DEFAULT_MODEL
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.view import Entries


@dataclass(frozen=True)
class Devices:
    """What can compute: (key, name), the best first."""

    entries: Entries


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model was loaded."""

    key: str
    model: Any


class _Place:
    """Holds a model once it is loaded; has a lock of its own, lest anyone wait for another's."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.model: Any = None


class ModelLibrary:
    """Models by key: a bundled name, or the path of a file. Thread-safe."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._own: dict[str, str] = {}
        self._places: dict[str, _Place] = {}

    def entries(self) -> list[tuple[str, str]]:
        """Return (key, what to show) of every model, bundled ones first."""
        bundled = [(name, name) for name in self._services.bundled_models()]
        return [*bundled, *self._own.items()]

    def default(self) -> str:
        """Return the key of the model to begin with; empty if there is none."""
        keys = [key for key, _ in self.entries()]
        return DEFAULT_MODEL if DEFAULT_MODEL in keys else next(iter(keys), "")

    def add(self, path: str) -> str:
        """Put a model file on the shelf; return its key.

        It is loaded when next asked for, even if it was before: the file may be another now.
        """
        key = str(Path(path).resolve())
        self._own[key] = Path(path).stem
        self._places[key] = _Place()
        return key

    def load(self, key: str) -> Any:
        """Return a model, from the file the first time since it was added.

        Raises
        ------
        HyperspaceError
            If the file is no sound model.
        """
        place = self._places.setdefault(key, _Place())
        with place.lock:
            if place.model is None:
                place.model = self._services.load_model(key)
            return place.model

    def steps(self, key: str) -> Iterator[Devices | Loaded]:
        """Say what can compute, then load a model: both need torch, which takes its time."""
        yield Devices(tuple(self._services.devices()))
        yield Loaded(key, self.load(key))
