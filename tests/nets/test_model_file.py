from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets import model_file
from napari_hyperspace.nets.model_file import bundled_models, load_model, read_card, save_model


@pytest.fixture
def path(tiny_model, tmp_path) -> Path:
    return save_model(tiny_model, tmp_path / "tiny.safetensors")


def rewrite(path: Path, change_tensors=None, change_header=None) -> Path:
    """Write the file again with other tensors or another header."""
    tensors = load_file(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hyperspace"])
    if change_tensors:
        change_tensors(tensors)
    if change_header:
        header = change_header(header) or header
    save_file(tensors, path, {"hyperspace": json.dumps(header)})
    return path


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 2.0, 4.9)])
def test_round_trip_is_exact(tiny_model, path, spacing):
    loaded = load_model(path)
    image = torch.randn(1, 1, 9, 8, 7)
    torch.testing.assert_close(
        loaded.network(spacing)(image), tiny_model.network(spacing)(image), rtol=0, atol=0
    )
    assert loaded.identity == tiny_model.identity
    assert loaded.card == tiny_model.card
    assert read_card(path).card == tiny_model.card


def test_half_precision_halves_the_file(make_model, tmp_path):
    model = make_model(channels=16)
    full = save_model(model, tmp_path / "full.safetensors")
    half = save_model(model, tmp_path / "half.safetensors", dtype="float16")
    assert half.stat().st_size < 0.55 * full.stat().st_size
    loaded = load_model(half)
    assert all(t.dtype == torch.float32 for t in loaded.factory.state_dict().values())
    image = torch.randn(1, 1, 9, 8, 7)
    a, b = (m.network((1, 2, 3))(image).argmax(1) for m in (model, loaded))
    assert (a == b).float().mean() > 0.98


def test_bundled_models_load():
    for name, path in bundled_models().items():
        model = load_model(name)
        assert path.stat().st_size <= 40 << 20
        assert model.card.license
        assert model.trained_range_mm
        spacing = tuple(low for low, _ in model.trained_range_mm)
        size = (17, 20, 14)[: model.n_dim]
        logits = model.network(spacing)(torch.randn(1, model.in_channels, *size))
        assert torch.isfinite(logits).all()


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(HyperspaceError, match="no such model"):
        load_model("no-such-model")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_fault_45_pickle(tmp_path, legacy):
    for name in ("model.pt", "renamed.safetensors"):
        path = tmp_path / name
        torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(HyperspaceError, match="import-checkpoint"):
            load_model(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_fault_46_truncated(path, keep):
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(HyperspaceError, match="safetensors"):
        load_model(path)


def test_fault_46_huge_header(path):
    data = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 1 << 60) + data[8:])
    with pytest.raises(HyperspaceError, match="header does not fit"):
        load_model(path)


def test_fault_46_overlapping_tensors(tmp_path):
    header = json.dumps(
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        }
    ).encode()
    path = tmp_path / "overlap.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    with pytest.raises(HyperspaceError, match="not a sound safetensors"):
        load_model(path)


def test_fault_46_not_a_model(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(HyperspaceError, match="not a model of this program"):
        load_model(path)


@pytest.mark.parametrize("change", ["missing", "extra", "misshaped"])
def test_fault_47_tensors_that_do_not_fit(path, change):
    def mend(tensors):
        if change == "missing":
            del tensors["perceptron.0.bias"]
        elif change == "extra":
            tensors["zzz"] = torch.zeros(1)
        else:
            tensors["heads.stem/conv.weight"] = tensors["heads.stem/conv.weight"][:-1].clone()

    rewrite(path, mend)
    with pytest.raises(HyperspaceError, match="do not fit the configuration") as caught:
        load_model(path)
    names = {"missing": "perceptron.0.bias", "extra": "zzz", "misshaped": "heads.stem/conv.weight"}
    assert caught.value.field == names[change]
    assert caught.value.where == str(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_fault_48_weights_that_are_not_finite(path, value):
    def poison(tensors):
        tensors["heads.head.bias"][3] = value

    rewrite(path, poison)
    with pytest.raises(HyperspaceError, match="not finite") as caught:
        load_model(path)
    assert caught.value.field == "heads.head.bias"


def test_fault_49_newer_version(path):
    rewrite(path, None, lambda header: {**header, "format_version": 99, "new": {"key": 1}})
    with pytest.raises(HyperspaceError, match="newer version") as caught:
        load_model(path)
    assert "Update" in caught.value.fix


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h["card"]["labels"].pop(), "number of classes"),
        (lambda h: h["card"].update(channel_names=["T1", "T2"]), "number of input channels"),
        (lambda h: h["card"].update(color="red"), "Extra inputs"),
        (lambda h: h["network"].update(channels=1 << 40), "less than or equal"),
        (lambda h: h["network"].update(channels=1024), "do not fit the configuration"),
        (
            lambda h: h["network"].update(
                channels=1024, channel_growth=4, strides=[[2, 2, 2]] * 8, kernel_size=5
            ),
            "overflow|do not fit",
        ),
        (
            lambda h: h["card"].update(normalization={"kind": "percentile", "lower": -5}),
            "between 0 and 100",
        ),
        (lambda h: h["factory"].update(range_mm=[[1, 2]] * 2), "needs 3 pairs"),
    ],
)
def test_fault_49_header_that_contradicts_itself(path, change, words):
    def apply(header):
        change(header)

    rewrite(path, None, apply)
    with pytest.raises(HyperspaceError, match=words) as caught:
        load_model(path)
    assert caught.value.where == str(path)


def test_metadata_that_is_no_json(path):
    tensors = load_file(path)
    save_file(tensors, path, {"hyperspace": "{"})
    with pytest.raises(HyperspaceError, match="metadata"):
        load_model(path)


def test_a_failed_save_leaves_the_old_file(tiny_model, path, monkeypatch):
    before = path.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(model_file, "save_file", fail)
    with pytest.raises(HyperspaceError, match="No space"):
        save_model(tiny_model, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.float64])
def test_types_that_weights_do_not_have(path, dtype):
    def convert(tensors):
        tensors["heads.head.bias"] = tensors["heads.head.bias"].to(dtype)

    rewrite(path, convert)
    with pytest.raises(HyperspaceError, match="type that model files do not hold") as caught:
        load_model(path)
    assert caught.value.field == "heads.head.bias"


def test_places_that_no_file_can_have(tiny_model, tmp_path, monkeypatch):
    with pytest.raises(HyperspaceError, match="no such model"):
        load_model("a" * 300)
    with pytest.raises(HyperspaceError, match="cannot be written"):
        save_model(tiny_model, tmp_path / "none" / "m.safetensors")
    with pytest.raises(HyperspaceError, match="one of two precisions"):
        save_model(tiny_model, tmp_path / "m.safetensors", dtype="bfloat16")
    path = save_model(tiny_model, tmp_path / "m.safetensors")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # whoever runs the tests may read all files
    with pytest.raises(HyperspaceError, match="cannot be read"):
        load_model(path)
