"""Where the files that ship with the package lie."""

from __future__ import annotations

from pathlib import Path

DEFAULT_MODEL = "brain"
"""The bundled model to begin with: of any contrast and spacing, so that most scans can be tried."""


def resource_path(*parts: str) -> Path:
    """Return the path of a shipped file or folder, in a wheel and in a source checkout alike."""
    package = Path(__file__).parent
    installed = package / "resources"
    root = installed if installed.is_dir() else package.parent / "resources"
    return root.joinpath(*parts)
