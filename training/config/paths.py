"""Resolution of the paths in a configuration."""

from __future__ import annotations

import os
import re
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError

DATA_VARIABLE = "HYPERSPACE_DATA"
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def resolve_path(text: str, base: Path, *, field: str) -> Path:
    """Resolve a path of the configuration.

    Parameters
    ----------
    text
        ``${HYPERSPACE_DATA}/…``, or relative to ``base``.
    base
        Folder of the configuration file.
    field
        Key of the path, for errors.

    Raises
    ------
    HyperspaceError
        If the path is absolute, leaves its root folder, or uses another variable.
    """
    root, rest = base, text
    start = _VARIABLE.match(text)
    if start and start[1] == DATA_VARIABLE:
        value = os.environ.get(DATA_VARIABLE)
        if not value:
            raise HyperspaceError(
                f"the environment variable {DATA_VARIABLE} is not set",
                field=field,
                found=text,
                fix=f"Set {DATA_VARIABLE} to the folder that contains the data sets",
            )
        root, rest = Path(value), text[start.end() :].lstrip("/\\")
    target = os.path.normpath(root / rest)
    if (
        _VARIABLE.search(rest)
        or rest.startswith("~")
        or os.path.isabs(rest)
        or not Path(target).is_relative_to(os.path.normpath(root))
    ):
        raise HyperspaceError(
            "a path must stay inside the data folder or the configuration's folder",
            field=field,
            found=text,
            fix=f"Write it relative to the configuration, or as ${{{DATA_VARIABLE}}}/…",
        )
    return Path(target)
