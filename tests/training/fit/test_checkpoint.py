"""Checkpoints: whole or not at all, and nothing in them that can run."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import training.fit.checkpoint
from napari_hyperspace.core.errors import HyperspaceError
from training.fit.checkpoint import (
    TrainingProgress,
    read_checkpoint,
    restore_optimizer,
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
    write_checkpoint(
        targets,
        progress=TrainingProgress(step=step, best_dice=0.1 + 0.2, recent=[1 / 3]),
        config={"seed": 1},
        data="abc",
        card={"name": "x"},
        factory=factory,
        average=copy.deepcopy(factory),
        optimizer=optimizer,
    )
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


def test_best_stays_when_last_goes_on(tmp_path: Path) -> None:
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


def test_unsound_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    with pytest.raises(HyperspaceError, match="no checkpoint"):
        read_checkpoint(path)
    _write([path])
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04 zip", whole[:-7], whole[:40]):
        path.write_bytes(content)
        with pytest.raises(HyperspaceError, match="not a sound checkpoint"):
            read_checkpoint(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(HyperspaceError, match="not a sound checkpoint"):
        read_checkpoint(path)
    header = {"format_version": 99}
    save_file({"a": torch.zeros(1)}, path, {"hyperspace-checkpoint": json.dumps(header)})
    with pytest.raises(HyperspaceError, match="newer version"):
        read_checkpoint(path)


_WRITE_FOREVER = """
import sys
from pathlib import Path
import torch
from torch import nn
from training.fit.checkpoint import TrainingProgress, write_checkpoint

factory = nn.Linear(1500, 1000)
optimizer = torch.optim.AdamW(factory.parameters())
for step in range(10**9):
    with torch.no_grad():
        factory.weight.fill_(step)
    write_checkpoint(
        [Path(sys.argv[1])], progress=TrainingProgress(step=step), config={}, data="", card={},
        factory=factory, average=None, optimizer=optimizer,
    )
    print(step, flush=True)
"""


def test_fault_67_killed_while_writing(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITE_FOREVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    seen = [int(child.stdout.readline()) for _ in range(3)][-1]
    part = tmp_path / ".checkpoint.part"
    deadline = time.monotonic() + 20
    while not part.exists() and time.monotonic() < deadline:
        pass  # kill it amid the next write
    child.send_signal(signal.SIGKILL)
    child.communicate()
    checkpoint = read_checkpoint(path)
    assert checkpoint.progress.step >= seen
    assert (checkpoint.part("factory")["weight"] == checkpoint.progress.step).all()


@pytest.mark.parametrize("failing", ["save_file", "_sync"])
def test_fault_68_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "last.safetensors"
    _write([path], step=3)
    before = path.read_bytes()

    def full(*arguments: object, **more: object) -> None:
        (tmp_path / ".checkpoint.part").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.fit.checkpoint, failing, full)
    with pytest.raises(HyperspaceError, match="No space left"):
        _write([path], step=5)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.safetensors"]
