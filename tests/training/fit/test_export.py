"""Model files and cards of runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

import napari_hyperspace as hs
from tests.training.conftest import interrupt_after
from tests.training.fit.runs import train
from training.fit.checkpoint import TrainingProgress, read_checkpoint, write_checkpoint
from training.fit.export import SOURCE, commit_of, export_checkpoint
from training.fit.signals import Interrupted

ROOT = Path(__file__).parents[3]


def test_a_run_is_exported_before_its_end(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = dataset.parent
    interrupt_after(monkeypatch, 5)
    with pytest.raises(Interrupted):
        train(base)
    target = export_checkpoint(base / "run", base / "early.safetensors", dtype="float16")
    card = hs.load_model(target).card
    assert card.training["steps"] == 3 and card.dice[0].cases == 2
    last = export_checkpoint(base / "run/checkpoints/last.safetensors", base / "l.safetensors")
    assert hs.load_model(last).card.training["steps"] == 5
    wide = export_checkpoint(
        base / "run",
        base / "w.safetensors",
        tile_voxels=80,
        tile_mm=60,
        localization_extent_mm=(30, 40, 35),
        plausible_ml=(2.0, 9.5),
        from_top_mm=60.0,
    )
    card = hs.load_model(wide).card
    assert card.tile_shape == (80,) * 3 and card.tile_mm == (60,) * 3
    assert card.localization is not None and card.localization.extent_mm == (30, 40, 35)
    assert (card.localization.plausible_ml, card.localization.from_top_mm) == ((2, 9.5), 60)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"card": {"name": 3}}, "card"),
        ({"card": {}}, "card"),
        ({"progress": TrainingProgress(scores=[{"spacing_mm": [1, 1]}])}, "scores"),
        ({"progress": TrainingProgress(scores=[{"spacing_mm": 1, "dice": 2}])}, "scores"),
        ({"config": {"name": "x"}}, None),
        ({"tensors": {"factory.x": torch.zeros(1)}}, "tensors"),
    ],
)
def test_a_checkpoint_of_other_content_is_refused(
    unbroken: Path, tmp_path: Path, changes: dict[str, Any], field: str | None
) -> None:
    """Its checksum is right: somebody wrote it so."""
    checkpoint = read_checkpoint(unbroken / "checkpoints" / "best.safetensors")
    path = tmp_path / "odd.safetensors"
    write_checkpoint([path], dataclasses.replace(checkpoint, **changes))
    with pytest.raises(hs.HyperspaceError) as caught:
        export_checkpoint(path, tmp_path / "model.safetensors")
    assert caught.value.where == str(path) and caught.value.field == field
    assert "\n" not in str(caught.value.found)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_the_commit_of_a_checkout_is_found(tmp_path: Path) -> None:
    commit = commit_of(ROOT)
    assert commit is not None and len(commit) == 40 and int(commit, 16)
    assert commit_of(tmp_path) is None


def test_the_card_names_the_commit_of_a_checkout(unbroken: Path) -> None:
    """The suite can also run on an installed package, whose cards name no commit."""
    training = hs.load_model(unbroken / "model.safetensors").card.training
    assert training.get("commit") == commit_of(SOURCE)


def test_a_factory_that_does_not_fit_its_network_is_refused(unbroken: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(unbroken / "checkpoints" / "last.safetensors")
    config: Any = dict(checkpoint.config)
    config["factory"] = {**config["factory"], "range_mm": [[0.5, 5.0], [0.5, 5.0]]}
    path = tmp_path / "other.safetensors"
    write_checkpoint([path], dataclasses.replace(checkpoint, config=config))
    with pytest.raises(hs.HyperspaceError, match="one per axis"):
        export_checkpoint(path, tmp_path / "model.safetensors")
