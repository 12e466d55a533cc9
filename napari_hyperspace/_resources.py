"""Paths of the files that ship with the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["DEFAULT_MODEL", "REFINE_MODEL", "resource_path"]

DEFAULT_MODEL = "brain"
"""The bundled model selected first: it accepts any contrast and most spacings."""

REFINE_MODEL = "refine"
"""The bundled class-conditional model: it segments structures that the user marks."""


def resource_path(*parts: str) -> Path:
    """Return the path of a shipped file or folder, in a wheel or in a source checkout."""
    package = Path(__file__).parent
    installed = package / "resources"
    root = installed if installed.is_dir() else package.parent / "resources"
    return root.joinpath(*parts)
