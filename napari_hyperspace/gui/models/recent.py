"""The scans that were opened last, in a file of this user on this machine."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.store import cache_folder

_MOST = 8


def _file() -> Path:
    return cache_folder() / "recent-scans.json"


def recent_scans() -> list[str]:
    """Return the paths of scans opened before, the last one first; those that still exist."""
    try:
        paths = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    found = paths if isinstance(paths, list) else []
    return [path for path in found if isinstance(path, str) and Path(path).exists()][:_MOST]


def remember_scan(path: str) -> None:
    """Put a path at the top of the list. The list is optional: errors are ignored."""
    absolute = str(Path(path).absolute())
    paths = [absolute, *(one for one in recent_scans() if one != absolute)]
    with contextlib.suppress(OSError, HyperspaceError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_text(_file(), json.dumps(paths[:_MOST]))


def forget_scans() -> None:
    """Delete the list."""
    with contextlib.suppress(OSError):
        _file().unlink(missing_ok=True)
