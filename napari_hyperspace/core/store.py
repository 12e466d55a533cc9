"""What was measured on this machine, kept in the user's cache folder between sessions."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text

CACHE_VARIABLE = "HYPERSPACE_CACHE"

_LOCK = threading.Lock()
_MEMORY: dict[Path, dict[str, Any]] = {}  # what was read or written in this process


def cache_folder() -> Path:
    """Return the folder for what can be made again: `HYPERSPACE_CACHE`, else the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("napari-hyperspace")


def store_path(name: str) -> Path:
    """Return the path of a store, ``measured-NAME.json`` in the cache folder."""
    return cache_folder() / f"measured-{name}.json"


def recall(name: str, key: str) -> Any | None:
    """Return what was kept under a key; `None` if nothing was, or the file is not readable."""
    with _LOCK:
        return _load(store_path(name)).get(key)


def keep(name: str, key: str, value: Any) -> None:
    """Keep a JSON value under a key, for this process and, where the disk allows, for the next.

    The file is replaced as a whole: no reader ever sees half of it.
    """
    path = store_path(name)
    with _LOCK:
        known = {**_read(path), **_load(path), key: value}
        _MEMORY[path] = known
        with contextlib.suppress(OSError, HyperspaceError):  # work goes on without a cache
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(known, indent=1, sort_keys=True))


def _load(path: Path) -> dict[str, Any]:
    if path not in _MEMORY:
        _MEMORY[path] = _read(path)
    return _MEMORY[path]


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
