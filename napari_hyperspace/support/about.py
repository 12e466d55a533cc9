"""What the program is, and the licenses and sources of the bundled models, as plain text."""

from __future__ import annotations

import re
from pathlib import Path

from napari_hyperspace import __version__
from napari_hyperspace._resources import resource_path
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.locations import bundled_models
from napari_hyperspace.nets.model_file import read_card

__all__ = ["about_text"]

_PROGRAM = """\
napari-hyperspace {version}

Segmentation that adapts to the voxel spacing. The code is under the BSD 3-Clause license; each \
bundled model is under the license of the data that it was trained on.

This is research software, not a medical device. It sends nothing anywhere, \
and downloads a model only from an address that you give.

Networks generated from the voxel spacing by a hypernetwork were proposed in: S. Joutard, M. \
Pietsch and R. Prevost, HyperSpace: Hypernetworks for Spacing-Adaptive Image Segmentation, MICCAI \
2024. Please cite it if you use this software in your work."""


def about_text() -> str:
    """Return the text: the program, the license and citation of each bundled model, attributions.

    License and citation of a model are those of its card; the attributions are those of
    ``LICENSES.md`` beside the model files.
    """
    parts = [_PROGRAM.format(version=__version__)]
    parts += [_model_text(name, path) for name, path in bundled_models().items()]
    parts.append(_attributions(resource_path("models", "LICENSES.md")))
    return "\n\n".join(part for part in parts if part)


def _model_text(name: str, path: Path) -> str:
    try:
        card = read_card(path).card
    except HyperspaceError:
        return f"Model {name}\nThe model file is not readable."
    lines = [
        f"Model {name}",
        card.description,
        f"License: {card.license or 'not stated'}",
        f"Cite: {card.citation or 'not stated'}",
    ]
    return "\n".join(line for line in lines if line)


def _attributions(path: Path) -> str:
    """Return the part of the page of licenses beneath "Attribution", without its markup."""
    try:
        page = path.read_text(encoding="utf-8")
    except OSError:
        return ""
    _, _, text = page.partition("\n## Attribution\n")
    text = re.sub(r"[*`]|(?<=\s)<(?=https)|(?<=\()<(?=https)|(?<=/)>", "", text.strip())
    # Line breaks within a paragraph are those of the source; the window breaks lines itself.
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(["Attribution", *paragraphs])
