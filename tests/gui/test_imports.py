"""No module of the plug-in imports, even for its types alone, what imports it."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import napari_hyperspace

GUI = Path(napari_hyperspace.__file__).parent / "gui"


def imports_of(root: Path, package: str) -> dict[str, set[str]]:
    """Return which modules of a package each of them imports, anywhere in it."""
    files = {path: path.relative_to(root).with_suffix("") for path in root.rglob("*.py")}
    names = {
        path: ".".join((package, *(part for part in place.parts if part != "__init__")))
        for path, place in files.items()
    }
    graph: dict[str, set[str]] = {}
    for path, name in names.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
        graph[name] = (found & set(names.values())) - {name, package}
    return graph


def test_the_plug_in_has_no_import_circle():
    graph = imports_of(GUI, "napari_hyperspace.gui")
    order = list(TopologicalSorter(graph).static_order())
    assert order.index("napari_hyperspace.gui.controllers.jobs") < order.index(
        "napari_hyperspace.gui.controllers.main"
    )


def test_the_check_finds_a_circle(tmp_path):
    (tmp_path / "one.py").write_text("if TYPE_CHECKING:\n    from fake import two\n")
    (tmp_path / "two.py").write_text("def late():\n    import fake.one\n")
    with pytest.raises(CycleError):
        TopologicalSorter(imports_of(tmp_path, "fake")).prepare()
