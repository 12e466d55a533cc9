"""Measurements of this machine, stored in the user's cache folder and shared by processes."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text

__all__ = ["CACHE_VARIABLE", "cache_folder", "keep", "recall", "recall_all", "store_path", "update"]

CACHE_VARIABLE = "HYPERSPACE_CACHE"

_LOCK_FILE = ".lock"  # in the cache folder; one process writes at a time
_LOCK_TIMEOUT_S = 10.0
_LOCK = threading.Lock()
_MEMORY: dict[Path, dict[str, object]] = {}  # contents, as read or written here


def cache_folder() -> Path:
    """Return the cache folder: `HYPERSPACE_CACHE` if it is set, else one in the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("napari-hyperspace")


def store_path(name: str) -> Path:
    """Return the path of a store, ``measured-NAME.json`` in the cache folder."""
    return cache_folder() / f"measured-{name}.json"


def recall(name: str, key: str) -> object:
    """Return the value stored under a key; `None` without one, or if the file is not readable."""
    with _LOCK:
        return _load(store_path(name)).get(key)


def recall_all(name: str) -> dict[str, object]:
    """Return all that is stored, by key; nothing if the file is not readable."""
    with _LOCK:
        return dict(_load(store_path(name)))


def keep(name: str, key: str, value: object) -> None:
    """Store a JSON value under a key: for this process and, if it can be written, for later ones.

    The file is replaced atomically. What other processes stored meanwhile is kept.
    """
    update(name, key, lambda stored: value)


def update(name: str, key: str, change: Callable[[object], object]) -> None:
    """Store a JSON value that depends on the stored one, as `keep` does.

    Parameters
    ----------
    name, key
        Of the store, and in it.
    change
        Receives the stored value, or `None`, and returns the new one. Called once or twice.
    """
    path = store_path(name)
    with _LOCK:
        before = _load(path)
        _MEMORY[path] = {**before, key: change(before.get(key))}
        with contextlib.suppress(OSError, HyperspaceError):  # the cache is optional
            path.parent.mkdir(parents=True, exist_ok=True)
            with _only_writer(path.parent):
                known = {**before, **_read(path)}
                known[key] = change(known.get(key))
                write_text(path, json.dumps(known, indent=1, sort_keys=True))
            _MEMORY[path] = known


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Context manager: wait until no other process writes to the cache folder."""
    lock = FileLock(folder / _LOCK_FILE, timeout=_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except NotImplementedError:  # some file systems have no locks
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _load(path: Path) -> dict[str, object]:
    if path not in _MEMORY:
        _MEMORY[path] = _read(path)
    return _MEMORY[path]


def _read(path: Path) -> dict[str, object]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
