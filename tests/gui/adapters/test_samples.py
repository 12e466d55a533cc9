"""Sample images."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("napari")

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters.samples import mni152


def test_the_error_without_nilearn_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)
    with pytest.raises(HyperspaceError, match=r"napari-hyperspace\[all\]"):
        mni152()
