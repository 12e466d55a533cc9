"""Labels of the methods that a user names."""

from __future__ import annotations

from pathlib import Path

import pytest

import napari_hyperspace as hs
from training.evaluation.methods import name_methods


def test_names_of_methods(model_file: Path, narrow_file: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.safetensors"
    second.write_bytes(model_file.read_bytes())

    def names(*arguments: object) -> list[str]:
        return [method.label for method in name_methods([str(a) for a in arguments], "refuse")]

    assert names(model_file, narrow_file) == ["tiny", "other"]
    assert names(model_file, second) == ["first", "second"]
    assert names(f"HS={model_file}", second) == ["HS", "tiny"]
    with pytest.raises(hs.HyperspaceError, match="same name"):
        names(model_file, model_file)
