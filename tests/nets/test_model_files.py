"""Model files of earlier commits open and give the logits that they gave then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.model_file import load_model, save_model
from tests.nets.model_files.write import LOGITS, image, logits
from tests.nets.rounding import EPS, assert_equal_in_float64, assert_within_rounding

FILES = sorted(path for path in LOGITS.parent.glob("*.safetensors") if path != LOGITS)
FLAT = [path for path in FILES if path.name.startswith("5289cba")]


def changed(path: Path, target: Path, change_tensors=None, **changes) -> Path:
    """Write a copy of a model file without checksum and with other tensors or keys."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hyperspace"])
    tensors = load_file(path)
    if change_tensors:
        change_tensors(tensors)
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (header[section] if section else header)[name] = value
    save_file(tensors, target, {"hyperspace": json.dumps(header)})
    return target


def test_there_is_a_file_of_every_generation():
    assert len({path.name.partition("-")[0] for path in FILES}) == 9
    assert {path.stem for path in FILES} == load_file(LOGITS).keys()
    assert all(path.stat().st_size < 60_000 for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_an_earlier_commit_gives_its_logits(path):
    model = load_model(path)
    n_dim = model.n_dim
    with torch.no_grad():
        found = model.network((1.0, 1.5, 2.0)[:n_dim])(image(n_dim).float())
    expected = load_file(LOGITS)[path.stem]
    exact = logits(model)
    # Earlier code computed positions and sizes of voxels in float32, also for float64 networks.
    assert (exact - expected).abs().max() <= 8 * EPS * expected.abs().max()
    network = model.factory.bake((1.0, 1.5, 2.0)[:n_dim]).double()
    assert_within_rounding(found, network, image(n_dim))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_card_of_an_earlier_commit_is_complete(path):
    card = load_model(path).card
    assert [(label.value, label.name) for label in card.labels] == [
        (3, "left hippocampus"),
        (7, "right hippocampus"),
    ]
    assert [label.side for label in card.labels] == ["left", "right"]
    assert (card.license, card.normalization.lower) == ("CC0", 1.0)
    assert (card.training, card.dice[0].mean) == ({"seed": 1}, 0.5)


def test_the_localization_under_its_former_name_is_kept():
    card = load_model(LOGITS.with_name("37384fc-steerable.safetensors")).card
    assert card.localization.margin_mm == 6.0


@pytest.mark.parametrize("path", FLAT, ids=lambda path: path.stem)
def test_a_former_layout_is_saved_in_the_present_one(path, tmp_path):
    model = load_model(path)
    again = load_model(save_model(model, tmp_path / "new.safetensors"))
    assert "base" not in load_file(tmp_path / "new.safetensors")
    assert_equal_in_float64(logits(again), logits(model))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda t: t.update(base=t["base"][:-1].clone()), "base"),
        (lambda t: t.update(basis=t["basis"][:, :1].clone()), "basis"),
        (lambda t: t.pop("basis"), "basis"),
        (lambda t: t.update({"heads.head.bias": torch.zeros(3)}), "heads.head.bias"),
    ],
)
def test_a_former_layout_that_does_not_fit_is_refused(tmp_path, change, field):
    path = changed(FLAT[1], tmp_path / "odd.safetensors", change)
    with pytest.raises(HyperspaceError, match="do not fit the configuration") as caught:
        load_model(path)
    assert caught.value.field == field


def test_kernels_of_several_points_are_refused_with_the_reason(tmp_path):
    path = LOGITS.with_name("038f543-steerable.safetensors")
    several = changed(path, tmp_path / "several.safetensors", factory__points=3)
    with pytest.raises(HyperspaceError, match="replaced by integrated ones"):
        load_model(several)


def test_a_newer_version_is_named_and_the_way_out_too(tmp_path):
    import napari_hyperspace

    newer = changed(FILES[-1], tmp_path / "newer.safetensors", format_version=2, new={"key": 1})
    with pytest.raises(HyperspaceError, match="newer version") as caught:
        load_model(newer)
    error = caught.value
    assert error.found == "format 2"
    assert "format 1" in str(error.expected)
    assert napari_hyperspace.__version__ in str(error.expected)
    assert "pip install --upgrade" in error.fix


@pytest.mark.parametrize("version", ["2", 2.0, 0, True, None])
def test_a_version_that_is_no_positive_integer_is_refused(tmp_path, version):
    odd = changed(FILES[-1], tmp_path / "odd.safetensors", format_version=version)
    with pytest.raises(HyperspaceError) as caught:
        load_model(odd)
    assert caught.value.field == "format_version"


def test_an_unknown_key_may_be_of_a_newer_version(tmp_path):
    odd = changed(FILES[-1], tmp_path / "odd.safetensors", card__atlas="new")
    with pytest.raises(HyperspaceError, match="not permitted") as caught:
        load_model(odd)
    assert "newer version" in caught.value.fix
