"""Checkpoints are written whole or not at all, and read without executing anything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import napari_hyperspace.core.files
import training.fit.checkpoint
from napari_hyperspace.core.errors import HyperspaceError
from training.fit.checkpoint import (
    Checkpoint,
    TrainingProgress,
    read_checkpoint,
    restore_optimizer,
    state_tensors,
    write_checkpoint,
)


def _trained(seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    factory = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(factory.parameters(), fused=True)
    for _ in range(3):
        factory(torch.randn(5, 3)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return factory, optimizer


def _write(targets: list[Path], step: int = 3) -> tuple[nn.Module, torch.optim.Optimizer]:
    factory, optimizer = _trained()
    progress = TrainingProgress(step=step, best_dice=0.1 + 0.2, recent=[1 / 3])
    tensors = state_tensors(factory, AveragedModel(factory), optimizer)
    write_checkpoint(targets, Checkpoint(progress, {"seed": 1}, "abc", {"name": "x"}, tensors))
    return factory, optimizer


def test_everything_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    factory, optimizer = _write([path])
    checkpoint = read_checkpoint(path)
    assert checkpoint.progress == TrainingProgress(step=3, best_dice=0.1 + 0.2, recent=[1 / 3])
    assert (checkpoint.config, checkpoint.data, checkpoint.card) == (
        {"seed": 1},
        "abc",
        {"name": "x"},
    )
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    restored = torch.optim.AdamW(other.parameters(), fused=True)
    other.load_state_dict(checkpoint.weights)
    restore_optimizer(other, restored, checkpoint.part("optimizer"))
    for a, b in zip(factory.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert optimizer.state[a].keys() == restored.state[b].keys()
        assert all(
            torch.equal(optimizer.state[a][key], restored.state[b][key])
            for key in restored.state[b]
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.safetensors"]


def test_best_is_kept_when_last_is_replaced(tmp_path: Path) -> None:
    best, last = tmp_path / "best.safetensors", tmp_path / "last.safetensors"
    _write([best, last], step=3)
    _write([last], step=5)
    assert (read_checkpoint(best).progress.step, read_checkpoint(last).progress.step) == (3, 5)


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    best, last = tmp_path / "best.safetensors", tmp_path / "last.safetensors"
    _write([best, last])
    assert best.read_bytes() == last.read_bytes()


def test_files_that_are_not_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(HyperspaceError, match="no checkpoint"):
        read_checkpoint(path)
    _write([path])
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04 zip", whole[:-7], whole[:40]):
        path.write_bytes(content)
        with pytest.raises(HyperspaceError, match="not a valid checkpoint"):
            read_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(HyperspaceError, match="not a valid checkpoint"):
        read_checkpoint(path)
    header = {"format_version": 99}
    save_file({"a": torch.zeros(1)}, path, {"hyperspace-checkpoint": json.dumps(header)})
    with pytest.raises(HyperspaceError, match="newer version") as caught:
        read_checkpoint(path)
    assert (caught.value.found, caught.value.field) == ("format 99", "format_version")
    assert "pip install --upgrade" in caught.value.fix


@pytest.mark.parametrize("version", ["2", 2.0, 0, True, None])
def test_a_version_that_is_no_positive_integer_is_refused(tmp_path, version):
    path = tmp_path / "odd.safetensors"
    header = json.dumps({"format_version": version})
    save_file({"a": torch.zeros(1)}, path, {"hyperspace-checkpoint": header})
    with pytest.raises(HyperspaceError, match="not a valid checkpoint") as caught:
        read_checkpoint(path)
    assert "positive integer" in str(caught.value.found)


@pytest.mark.parametrize("progress", [{"step": -1}, {"step": "x"}, {"recent": 1}, {"other": 1}, 3])
def test_progress_of_other_types_is_refused(tmp_path: Path, progress: object) -> None:
    path = tmp_path / "odd.safetensors"
    header = {"format_version": 1, "progress": progress, "config": {}, "data": "", "card": {}}
    save_file({"a": torch.zeros(1)}, path, {"hyperspace-checkpoint": json.dumps(header)})
    with pytest.raises(HyperspaceError, match="not a valid checkpoint") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    header |= {"progress": {}, "card": 3}
    save_file({"a": torch.zeros(1)}, path, {"hyperspace-checkpoint": json.dumps(header)})
    with pytest.raises(HyperspaceError, match="must be mappings"):
        read_checkpoint(path)
    header |= {"card": {"name": "\ud800"}}
    save_file({"a": torch.zeros(1)}, path, {"hyperspace-checkpoint": json.dumps(header)})
    with pytest.raises(HyperspaceError, match="surrogates"):
        read_checkpoint(path)


def test_the_state_of_another_optimizer_is_refused() -> None:
    factory = nn.Linear(3, 2)
    state = {"weight.step": torch.tensor(1.0), "weight.exp_avg": torch.zeros(2)}
    with pytest.raises(HyperspaceError, match="optimizer does not fit") as caught:
        restore_optimizer(factory, torch.optim.AdamW(factory.parameters()), state)
    assert caught.value.field == "optimizer.weight.exp_avg"


_WRITE_FOREVER = """
import sys
from pathlib import Path
import torch
from torch import nn
from training.fit.checkpoint import Checkpoint, TrainingProgress, state_tensors, write_checkpoint

factory = nn.Linear(1500, 1000)
optimizer = torch.optim.AdamW(factory.parameters())
for step in range(10**9):
    with torch.no_grad():
        factory.weight.fill_(step)
    tensors = state_tensors(factory, None, optimizer)
    checkpoint = Checkpoint(TrainingProgress(step=step), {}, "", {}, tensors)
    write_checkpoint([Path(sys.argv[1])], checkpoint)
    print(step, flush=True)
"""


def test_a_process_killed_while_writing_keeps_the_former_checkpoint(tmp_path: Path) -> None:
    """Fault 67 of the list of bad inputs."""
    path = tmp_path / "last.safetensors"
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITE_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    seen = [int(child.stdout.readline()) for _ in range(3)][-1]
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".*.safetensors")) and time.monotonic() < deadline:
        pass  # kill it during the next write
    child.send_signal(signal.SIGKILL)
    child.communicate()
    checkpoint = read_checkpoint(path)
    assert checkpoint.progress.step >= seen
    assert (checkpoint.part("factory")["weight"] == checkpoint.progress.step).all()


@pytest.mark.parametrize(
    ("module", "failing"),
    [(training.fit.checkpoint, "save_file"), (napari_hyperspace.core.files, "_sync")],
)
def test_a_full_disk_keeps_the_former_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, failing: str
) -> None:
    """Fault 68 of the list of bad inputs."""
    path = tmp_path / "last.safetensors"
    _write([path], step=3)
    before = path.read_bytes()

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, failing, full)
    with pytest.raises(HyperspaceError, match=r"No space left.*--resume"):
        _write([path], step=5)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]


def test_the_names_of_former_checkpoints_are_read(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    _, optimizer = _write([path])
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    former = {
        name.replace("optimizer.", "optimiser."): tensor for name, tensor in load_file(path).items()
    }
    save_file(former, path, metadata)
    part = read_checkpoint(path).part("optimizer")
    assert len(part) == sum(len(state) for state in optimizer.state.values()) > 0


def test_a_checkpoint_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    _write([path])
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(start, len(whole), 37), whole.index(b"best_step"), whole.index(b"checksum")]
    places += [whole.index(b'step\\": 3') + 8, whole.index(b"F32")]
    for number, place in enumerate(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (number % 7)
        path.write_bytes(damaged)
        with pytest.raises(HyperspaceError) as error:
            read_checkpoint(path)
        assert error.value.where == str(path)
    path.write_bytes(whole)
    assert read_checkpoint(path).progress.step == 3


def test_a_checkpoint_without_checksum_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    _write([path])
    with safe_open(path, framework="pt") as file:
        header = file.metadata()["hyperspace-checkpoint"]
    # Copies: the tensors of some versions of safetensors are mapped from the file.
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"hyperspace-checkpoint": header})
    read = read_checkpoint(path).tensors
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_deeply_nested_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    for text in ("[" * 100_000, "9" * 5_000, "[]", "{}"):
        save_file({"a": torch.zeros(1)}, path, {"hyperspace-checkpoint": text})
        with pytest.raises(HyperspaceError, match="not a valid checkpoint"):
            read_checkpoint(path)
