from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.card import ModelCard
from napari_hyperspace.nets.digest import digest_of
from napari_hyperspace.nets.locations import bundled_models
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, read_card, save_model
from tests.nets.rounding import assert_equal_in_float64


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
    states = [model.factory.state_dict() for model in (loaded, tiny_model)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    image = torch.randn(1, 1, 9, 8, 7).double()
    networks = [model.factory.double().bake(spacing) for model in (loaded, tiny_model)]
    assert_equal_in_float64(networks[0](image), networks[1](image))


def test_a_loaded_model_is_the_saved_one(tiny_model, path):
    loaded = load_model(path)
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


def test_an_unknown_name_is_refused():
    with pytest.raises(HyperspaceError, match="no such model"):
        load_model("no-such-model")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_pickles_are_refused(tmp_path, legacy):
    """Fault 45 of the list of bad inputs."""
    for name in ("model.pt", "renamed.safetensors"):
        path = tmp_path / name
        torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(HyperspaceError, match="import-checkpoint"):
            load_model(path)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_truncated_files_are_refused(path, keep):
    """Fault 46 of the list of bad inputs."""
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(HyperspaceError, match="safetensors"):
        load_model(path)


def test_headers_longer_than_the_file_are_refused(path):
    """Fault 46 of the list of bad inputs."""
    data = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 1 << 60) + data[8:])
    with pytest.raises(HyperspaceError, match="longer than the file"):
        load_model(path)


def test_overlapping_tensors_are_refused(tmp_path):
    """Fault 46 of the list of bad inputs."""
    header = json.dumps(
        {
            "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        }
    ).encode()
    path = tmp_path / "overlap.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    with pytest.raises(HyperspaceError, match="not a valid safetensors"):
        load_model(path)


def test_other_safetensors_files_are_refused(tmp_path):
    """Fault 46 of the list of bad inputs."""
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(HyperspaceError, match="not a model of this program"):
        load_model(path)


@pytest.mark.parametrize("change", ["missing", "extra", "misshaped"])
def test_tensors_that_do_not_fit_are_refused(path, change):
    """Fault 47 of the list of bad inputs."""

    def alter(tensors):
        if change == "missing":
            del tensors["perceptron.0.bias"]
        elif change == "extra":
            tensors["zzz"] = torch.zeros(1)
        else:
            tensors["heads.stem/conv.weight"] = tensors["heads.stem/conv.weight"][:-1].clone()

    rewrite(path, alter)
    with pytest.raises(HyperspaceError, match="do not fit the configuration") as caught:
        load_model(path)
    names = {"missing": "perceptron.0.bias", "extra": "zzz", "misshaped": "heads.stem/conv.weight"}
    assert caught.value.field == names[change]
    assert caught.value.where == str(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(path, value):
    """Fault 48 of the list of bad inputs."""

    def spoil(tensors):
        tensors["heads.head.bias"][3] = value

    rewrite(path, spoil)
    with pytest.raises(HyperspaceError, match="not finite") as caught:
        load_model(path)
    assert caught.value.field == "heads.head.bias"


def test_newer_versions_are_refused(path):
    """Fault 49 of the list of bad inputs."""
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
def test_inconsistent_headers_are_refused(path, change, words):
    """Fault 49 of the list of bad inputs."""

    def apply(header):
        change(header)

    rewrite(path, None, apply)
    with pytest.raises(HyperspaceError, match=words) as caught:
        load_model(path)
    assert caught.value.where == str(path)


def test_metadata_that_is_not_json_is_refused(path):
    tensors = load_file(path)
    save_file(tensors, path, {"hyperspace": "{"})
    with pytest.raises(HyperspaceError, match="metadata"):
        load_model(path)


class TestChecksum:
    """A file whose content changed after it was written is refused."""

    def test_flipped_bits_are_refused(self, path, rng):
        data = path.read_bytes()
        body = 8 + struct.unpack("<Q", data[:8])[0]
        for at in rng.integers(body, len(data), 60).tolist():
            flipped = bytearray(data)
            flipped[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(flipped)
            with pytest.raises(HyperspaceError, match=r"damaged|not finite") as caught:
                load_model(path)
            assert caught.value.where == str(path)
        path.write_bytes(data)
        load_model(path)

    def test_a_flipped_bit_in_the_card_is_refused(self, path):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"structure 1", b"structure 3", 1))
        with pytest.raises(HyperspaceError, match="damaged") as caught:
            load_model(path)
        assert "again" in caught.value.fix

    def test_a_card_of_half_a_character_is_not_written(self, tiny_model, tmp_path):
        card = tiny_model.card.model_copy(update={"description": "\ud800"})
        path = tmp_path / "new.safetensors"
        with pytest.raises(HyperspaceError, match="cannot be stored"):
            save_model(Model(tiny_model.factory, card), path)
        assert not path.exists()

    def test_a_damaged_name_of_the_checksum_is_no_file_without_one(self, path):
        data = path.read_bytes()
        path.write_bytes(data.replace(b"hyperspace-digest", b"hyperspace-dihest", 1))
        with pytest.raises(HyperspaceError, match="damaged"):
            load_model(path)
        path.write_bytes(data.replace(b"hyperspace-digest", b"notes-of-somebody", 1))
        load_model(path)

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_names_shapes_and_order_of_tensors_count(self, tiny_model, tmp_path, dtype):
        path = save_model(tiny_model, tmp_path / "m.safetensors", dtype=dtype)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        tensors = load_file(path)
        text = metadata["hyperspace"]
        assert metadata["hyperspace-digest"] == digest_of(text, tensors)
        name, tensor = next((name, t) for name, t in tensors.items() if t.numel() > 1)
        rest = {other: t for other, t in tensors.items() if other != name}
        for changed in (
            rest,
            {**rest, name: tensor.reshape(1, -1)},
            {**rest, f"{name}2": tensor},
            {**rest, name: tensor.view(torch.int16)},
        ):
            assert digest_of(text, changed) != metadata["hyperspace-digest"]
        assert digest_of(text, dict(reversed(tensors.items()))) == metadata["hyperspace-digest"]

    def test_files_without_one_open(self, path):
        identity = load_model(path).identity
        rewrite(path)
        with safe_open(path, framework="pt") as file:
            assert file.metadata().keys() == {"hyperspace"}
        assert load_model(path).identity == identity


@pytest.mark.parametrize(
    "text",
    [
        '{"format_version": ' + "9" * 5000 + "}",
        '{"format_version": 1, "network": {"channels": ' + "9" * 5000 + "}}",
        "[" * 100_000 + "]" * 100_000,
        '{"network":' * 10_000 + "1" + "}" * 10_000,
    ],
    ids=["digits", "digits inside", "nested lists", "nested objects"],
)
def test_metadata_with_huge_numbers_or_deep_nesting_is_refused(path, text):
    save_file(load_file(path), path, {"hyperspace": text})
    for read in (load_model, read_card):
        with pytest.raises(HyperspaceError, match=r"tiny\.safetensors") as caught:
            read(path)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_full_or_read_only_disk_is_a_declared_error(tiny_model, path, monkeypatch, number):
    before = path.read_bytes()

    def fail(self, *_args, **_kwargs):
        raise OSError(number, os.strerror(number), str(self))

    for method in ("write_bytes", "unlink"):
        monkeypatch.setattr(Path, method, fail)
    with pytest.raises(HyperspaceError, match="cannot be written") as caught:
        save_model(tiny_model, path)
    assert caught.value.found == os.strerror(number)
    assert path.read_bytes() == before


def test_a_disk_that_fills_up_while_writing_is_a_declared_error(tiny_model, path):
    """By a limit on the size of files, in a process of its own."""
    pytest.importorskip("resource")
    code = (
        "import resource, signal, sys\n"
        "from napari_hyperspace.core.errors import HyperspaceError\n"
        "from napari_hyperspace.nets.model_file import load_model, save_model\n"
        "model = load_model(sys.argv[1])\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    save_model(model, sys.argv[1])\n"
        "except HyperspaceError as error:\n"
        "    print(error.problem)\n"
    )
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    assert "cannot be written" in done.stdout
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a\0b.safetensors", "a" * 300 + ".safetensors"])
def test_names_that_no_file_can_have_are_refused(tiny_model, tmp_path, name):
    with pytest.raises(HyperspaceError):
        save_model(tiny_model, tmp_path / name)
    with pytest.raises(HyperspaceError, match="no such model"):
        load_model(tmp_path / name)


def test_a_failed_save_keeps_the_existing_file(tiny_model, path, monkeypatch):
    before = path.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(HyperspaceError, match="No space"):
        save_model(tiny_model, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.float64])
def test_unsupported_types_are_refused(path, dtype):
    def convert(tensors):
        tensors["heads.head.bias"] = tensors["heads.head.bias"].to(dtype)

    rewrite(path, convert)
    with pytest.raises(HyperspaceError, match="unsupported type") as caught:
        load_model(path)
    assert caught.value.field == "heads.head.bias"


def test_unreadable_and_unwritable_paths(tiny_model, tmp_path, monkeypatch):
    with pytest.raises(HyperspaceError, match="no such model"):
        load_model("a" * 300)
    with pytest.raises(HyperspaceError, match="cannot be written"):
        save_model(tiny_model, tmp_path / "none" / "m.safetensors")
    with pytest.raises(HyperspaceError, match="unknown precision"):
        save_model(tiny_model, tmp_path / "m.safetensors", dtype="bfloat16")
    path = save_model(tiny_model, tmp_path / "m.safetensors")

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)  # whoever runs the tests may read all files
    with pytest.raises(HyperspaceError, match="cannot be read"):
        load_model(path)


def test_bundled_files_with_former_keys_open():
    """The cards of some were written before the keys were renamed; see model_files, too."""
    former = 0
    for name, path in bundled_models().items():
        with safe_open(path, framework="pt") as file:
            stored = json.loads(file.metadata()["hyperspace"])["card"]
        card = read_card(name).card
        if "normalisation" not in stored:
            continue
        former += 1
        assert card.license == stored["licence"]
        assert card.normalization.model_dump() == stored["normalisation"]
    assert former
    assert read_card("brain").card.localization is not None


@pytest.mark.parametrize(
    ("former", "present", "value"),
    [
        ("normalisation", "normalization", {"kind": "window", "lower": -100, "upper": 300}),
        ("licence", "license", "CC-BY-SA 4.0"),
        ("search", "localization", {"spacing_mm": 3, "margin_mm": 9, "extent_mm": [90, 80, 70]}),
    ],
)
def test_a_file_with_a_former_key_opens(path, former, present, value):
    def write_key(key):
        def change(header):
            header["card"].pop(present, None)
            header["card"].pop(former, None)
            header["card"][key] = value

        return change

    expected = load_model(rewrite(path, None, write_key(present))).card
    found = load_model(rewrite(path, None, write_key(former))).card
    assert found == expected
    assert getattr(found, present) != ModelCard.model_fields[present].default
    dumped = json.loads(found.model_dump_json())
    assert present in dumped
    assert former not in dumped


def test_a_key_under_both_names_is_refused(path):
    def change(header):
        header["card"].update(licence="one", license="another")

    rewrite(path, None, change)
    with pytest.raises(HyperspaceError, match="its former and its present name"):
        load_model(path)


class TestTarget:
    """Writing a model never replaces a file that is something else."""

    def test_a_checkpoint_is_not_replaced(self, tmp_path, tiny_model):
        from safetensors.torch import save_file

        path = tmp_path / "best.safetensors"
        save_file({"weight": torch.ones(3)}, path, metadata={"checkpoint": "{}"})
        before = path.read_bytes()
        with pytest.raises(HyperspaceError, match="not a model file"):
            save_model(tiny_model, path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("name", ["m.txt", "m", "config.json", "m.safetensors.bak"])
    def test_other_extensions_are_refused(self, tmp_path, tiny_model, name):
        with pytest.raises(HyperspaceError, match=r"must end in \.safetensors"):
            save_model(tiny_model, tmp_path / name)
        assert list(tmp_path.iterdir()) == []

    def test_a_model_file_is_replaced(self, tmp_path, make_model):
        path = tmp_path / "model.safetensors"
        save_model(make_model(seed=0), path)
        save_model(make_model(seed=1), path)
        assert load_model(path).identity == make_model(seed=1).identity
