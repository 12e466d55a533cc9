"""Runs: what they write, how they stop, and that a resumed run equals an uninterrupted one."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch.utils.data import get_worker_info

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

import napari_hyperspace as hs
from tests.training.conftest import config_values, interrupt_after
from tests.training.fit.runs import log_entries, same_run, same_tensors, train
from training.config.fit import parse_config
from training.fit.checkpoint import read_checkpoint
from training.fit.errors import NotFiniteError, WorkerDiedError
from training.fit.run_folder import RunFolder
from training.fit.signals import Interrupted
from training.sampling.batches import TrainingBatches


def test_a_run_writes_a_model_and_a_report(dataset: Path) -> None:
    base = dataset.parent
    report = train(
        base,
        training__steps=60,
        optimizer__warm_up_steps=5,
        validation__every_steps=30,
        data__names={2: "behind"},
        data__colors={1: "#123456"},
        data__paired=[1],
        card__description="Two halves.",
    )
    run = base / "run"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        *("config.json", "split.json", "log.jsonl", "checkpoints", "tensorboard"),
        *("model.safetensors", "report.md", "report.json", "curves.png", "dice.png"),
    }
    losses = [entry["loss"] for entry in log_entries(run) if entry["event"] == "training"]
    assert losses[-1] < 0.6 * losses[0]
    assert report["mean_dice"] > 0.5
    assert json.loads((run / "report.json").read_text()) == report
    assert "behind" in (run / "report.md").read_text()
    model = hs.load_model(run / "model.safetensors")
    assert model.label_names == {1: "front", 2: "behind"}
    assert model.label_colors[1] == "#123456"
    assert [value for value, one in model.label_sides.items() if one.paired] == [1]
    assert model.trained_range_mm == ((1.0, 2.5), (1.2, 3.0), (1.0, 2.0))
    card = model.card
    assert card.description == "Two halves." and card.license == "CC0"
    assert card.training["steps"] == report["best_step"]
    assert card.training["configuration"]["seed"] == 3
    assert [record.spacing_mm for record in card.dice] == [(1.5, 1.5, 1.0), (2.0, 2.0, 2.0)]
    assert card.dice[0].mean == pytest.approx(report["dice"][0]["mean"])
    scan = hs.read(dataset / "imagesTr" / "tiny_000.nii.gz")
    assert set(hs.segment(scan, model, precision="fp32").array.flat) == {0, 1, 2}


def test_a_resumed_run_equals_an_uninterrupted_one(
    dataset: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = dataset.parent
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(Interrupted):
            train(base)
    assert read_checkpoint(base / "run/checkpoints/last.safetensors").progress.step == 4
    train(base, resume=True)
    assert same_run(unbroken, base / "run")


@pytest.mark.parametrize(
    "changes",
    [
        {"compute__precision": "bf16"},
        {"optimizer__kind": "adam", "optimizer__ema_decay": 0.0, "optimizer__gradient_clip": 0},
        {"factory": {"kind": "constant"}, "compute__channels_last": True},
        {"network__norm": "batch", "loss__dice_weight": 0.0},
    ],
)
def test_other_configurations_train_and_resume(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    base = dataset.parent
    train(base, "unbroken", **changes)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            train(base, "broken", **changes)
    train(base, "broken", resume=True, **changes)
    assert same_run(base / "unbroken", base / "broken")


def test_a_run_resumed_from_an_older_checkpoint_equals_an_uninterrupted_one(
    dataset: Path, unbroken: Path
) -> None:
    """After a kill, log and folder may be ahead of the checkpoint."""
    base = dataset.parent
    train(base)
    run = RunFolder(base / "run")
    first = read_checkpoint(run.best if log_entries(run.path)[-1]["step"] != 3 else run.last)
    assert first.progress.step in (3, 6)
    with run.log.open("a") as file:
        file.write('{"event": "trai')  # cut short
    leftover = run.checkpoints / ".0123456789ab.safetensors"
    leftover.write_bytes(b"half")
    os.replace(run.best, run.last) if first.progress.step == 3 else None
    train(base, resume=True)
    assert same_tensors(run.model, unbroken / "model.safetensors")
    assert log_entries(run.path) == log_entries(unbroken)
    assert not leftover.exists()


def test_the_number_of_workers_does_not_change_the_result(dataset: Path, unbroken: Path) -> None:
    train(dataset.parent, compute__workers=2)
    assert same_run(unbroken, dataset.parent / "run")


def test_the_seed_changes_the_result(dataset: Path, unbroken: Path) -> None:
    split = dataset.parent / "split.json"
    split.write_text((unbroken / "split.json").read_text())
    train(dataset.parent, data__split="split.json", seed=4)
    run = dataset.parent / "run"
    assert (run / "split.json").read_text() == split.read_text()
    assert not same_tensors(unbroken / "model.safetensors", run / "model.safetensors")


def test_patience_stops_early(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = train(
        dataset.parent,
        training__steps=50,
        training__patience=2,
        validation__every_steps=1,
        optimizer__learning_rate=1e-9,
        optimizer__final_learning_rate=0.0,
    )
    assert report["steps"] == 3
    assert "stopped early: no improvement over 2 validations" in capsys.readouterr().err


def test_a_run_is_not_overwritten(dataset: Path) -> None:
    base = dataset.parent
    train(base, training__steps=3)
    with pytest.raises(hs.HyperspaceError, match="--resume"):
        train(base, training__steps=3)
    with pytest.raises(hs.HyperspaceError, match="no checkpoint"):
        train(base, "elsewhere", resume=True)


def test_a_signal_stops_a_run_with_a_checkpoint(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 69 of the list of bad inputs."""
    handler = signal.getsignal(signal.SIGTERM)
    interrupt_after(monkeypatch, 2)
    with pytest.raises(Interrupted, match="SIGTERM after step 2") as error:
        train(dataset.parent, compute__workers=1)
    assert (error.value.exit_code, error.value.step) == (143, 2)
    assert read_checkpoint(RunFolder(dataset.parent / "run").last).progress.step == 2
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_loss_that_is_not_finite_names_the_case(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 70 of the list of bad inputs."""
    original = TrainingBatches.__getitem__

    def poisoned(self: TrainingBatches, step: int) -> Any:
        batch = original(self, step)
        if step == 4:
            batch.image[1, 0, 2, 3, 1] = float("nan")
        return batch

    monkeypatch.setattr(TrainingBatches, "__getitem__", poisoned)
    with pytest.raises(NotFiniteError, match="not finite at step 4") as error:
        train(dataset.parent)
    config = parse_config(config_values())
    run = RunFolder(dataset.parent / "run")
    good = read_checkpoint(run.last)
    assert good.progress.step == 3
    assert all(torch.isfinite(tensor).all() for tensor in good.tensors.values())
    assert len(error.value.cases) == 1 and config.training.batch_size == 2
    assert error.value.cases[0] in json.loads(run.split.read_text())["training"]
    assert error.value.step == 4


def test_a_killed_worker_names_its_cases_and_the_run_can_be_resumed(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 71 of the list of bad inputs."""
    base = dataset.parent
    train(base, "unbroken", training__steps=12)
    original = TrainingBatches.__getitem__

    def fatal(self: TrainingBatches, step: int) -> Any:
        if step == 8 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingBatches, "__getitem__", fatal)
        with pytest.raises(WorkerDiedError, match="died near step") as error:
            train(base, training__steps=12, compute__workers=1)
    assert error.value.cases and all(name.startswith("tiny_00") for name in error.value.cases)
    assert "--resume" in str(error.value)
    train(base, training__steps=12, compute__workers=1, resume=True)
    assert same_run(base / "unbroken", base / "run")


def test_a_worker_killed_while_it_hands_over_a_batch(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 71 of the list of bad inputs, at the connection to the worker."""

    def broken(*_: Any) -> Any:
        raise ConnectionResetError(104, "Connection reset by peer")
        yield

    monkeypatch.setattr("training.fit.trainer.prepared", broken)
    with pytest.raises(WorkerDiedError, match="died near step 0"):
        train(dataset.parent, training__steps=3)


def test_two_runs_in_one_folder(dataset: Path) -> None:
    """Fault 73 of the list of bad inputs."""
    run = dataset.parent / "run"
    run.mkdir()
    with FileLock(run / "lock"), pytest.raises(hs.HyperspaceError, match="another process"):
        train(dataset.parent)
    train(dataset.parent, training__steps=3)
