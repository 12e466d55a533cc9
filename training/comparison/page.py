"""A Markdown page whose generated blocks are replaced, and whose other text is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, read_text, write_text
from napari_hyperspace.io.base.files import look_up

_BLOCK = re.compile(r"<!-- begin (?P<name>\S+) -->\n.*?<!-- end (?P=name) -->", re.DOTALL)


def block(name: str, text: str) -> str:
    """Return a generated block with its markers."""
    return f"<!-- begin {name} -->\n{text}\n<!-- end {name} -->"


def check_page(path: Path) -> None:
    """Check that a report may be written to a file: nothing but a page of ours is replaced.

    Raises
    ------
    HyperspaceError
        If the name has no extension or is not valid, or the file exists and has no generated block.
    """
    if not path.suffix:
        raise HyperspaceError(
            "the name of a report needs an extension: its folder of figures has the name without",
            where=path,
            fix="Choose a name such as report.md",
        )
    if look_up(path) is not None and not _BLOCK.search(_read(path)):
        raise HyperspaceError(
            "the file is not a report of a comparison, and it is not replaced",
            where=path,
            expected="a page with generated blocks",
            fix="Choose another name, or delete the file first",
        )


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, ValueError) as error:
        raise HyperspaceError("the page cannot be read", where=path, found=error) from error


def renew(path: Path, blocks: Mapping[str, str], first: str) -> None:
    """Replace the blocks of a page; a page that does not exist is created.

    Parameters
    ----------
    path
        Markdown file.
    blocks
        Text of each block, by name.
    first
        Text of a new page, with the markers of its blocks.

    Raises
    ------
    HyperspaceError
        If the page has a block without text, which would keep outdated numbers, or `check_page`
        refuses it.
    """
    check_page(path)
    page = _read(path) if path.exists() else first
    unknown = sorted({found["name"] for found in _BLOCK.finditer(page)} - set(blocks))
    if unknown:
        raise HyperspaceError(
            "the page has a block that the comparison does not make",
            where=path,
            found=", ".join(unknown),
            fix="Remove the block from the page, including its markers",
        )
    create_folder(path.parent)
    write_text(path, _BLOCK.sub(lambda found: block(found["name"], blocks[found["name"]]), page))
