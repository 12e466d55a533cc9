"""Pages with generated blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_hyperspace.core.errors import HyperspaceError
from training.comparison.page import block, renew


def test_a_page_keeps_its_text_and_its_blocks(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    renew(path, {"a": "1", "b": "2"}, f"x\n{block('a', '')}\ny\n")
    assert path.read_text() == "x\n<!-- begin a -->\n1\n<!-- end a -->\ny\n"
    path.write_text(path.read_text().replace("x", "z"))
    renew(path, {"a": r"\1", "b": "2"}, "unused")
    assert path.read_text() == "z\n<!-- begin a -->\n\\1\n<!-- end a -->\ny\n"
    with pytest.raises(HyperspaceError, match="does not make"):
        renew(path, {"b": "2"}, "")
