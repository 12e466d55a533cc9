"""A page whose generated parts are renewed, while the words round them stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text

_BLOCK = re.compile(r"<!-- begin (?P<name>\S+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def block(name: str, text: str) -> str:
    """Return a generated part of a page, between its marks."""
    return f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->"


def renew(path: Path, blocks: Mapping[str, str], first: str) -> None:
    """Write the blocks that a page has marks for; a page that is not there begins as given.

    Parameters
    ----------
    path
        Markdown file.
    blocks
        Text by name.
    first
        The page where there is none yet, with marks.

    Raises
    ------
    HyperspaceError
        If the page has a block that nothing is known of: it would tell of the past.
    """
    page = path.read_text(encoding="utf-8") if path.exists() else first
    unknown = sorted({found["name"] for found in _BLOCK.finditer(page)} - set(blocks))
    if unknown:
        raise HyperspaceError(
            "the page has a block that the comparison does not make",
            where=path,
            found=", ".join(unknown),
            fix="Take it out of the page, marks and all",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, _BLOCK.sub(lambda found: block(found["name"], blocks[found["name"]]), page))
