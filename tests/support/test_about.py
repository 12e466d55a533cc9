"""The text about the program names the license and the source of every bundled model."""

from __future__ import annotations

import re

import pytest

import napari_hyperspace as hs
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.model_file import read_card
from napari_hyperspace.support import about


def test_each_bundled_model_has_its_license_and_citation() -> None:
    text = about.about_text()
    assert text.startswith(f"napari-hyperspace {hs.__version__}\n")
    for name, path in hs.bundled_models().items():
        card = read_card(path).card
        assert f"Model {name}\n{card.description}\nLicense: {card.license}\n" in text
        assert f"Cite: {card.citation}" in text
    for named in ("BSD 3-Clause", "Attribution-ShareAlike 4.0", "Vanderbilt", "BBillot/SynthSeg"):
        assert named in text


def test_it_is_plain_text() -> None:
    text = about.about_text()
    assert not re.search(r"[*`#<>]|\]\(", text)
    assert "(https://creativecommons.org/licenses/by-sa/4.0/)" in text


def test_damaged_resources_are_said(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(path: object) -> None:
        raise HyperspaceError("damaged")

    monkeypatch.setattr(about, "read_card", damaged)
    monkeypatch.setattr(about, "resource_path", lambda *parts: tmp_path / "missing")
    text = about.about_text()
    assert "Model brain\nThe model file is not readable." in text
    assert "Attribution" not in text
