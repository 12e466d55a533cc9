"""Runs: what they leave, how they stop, and that they go on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file
from torch.utils.data import get_worker_info

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

import napari_hyperspace as hs
from tests.training.conftest import config_values, interrupt_after
from training.config.fit import parse_config
from training.fit.checkpoint import read_checkpoint
from training.fit.export import export_checkpoint
from training.fit.run_folder import RunFolder
from training.fit.signals import Interrupted
from training.fit.trainer import fit
from training.sampling.batches import TrainingBatches


def _fit(base: Path, out: str = "run", **changes: Any) -> dict[str, Any]:
    options = {key: changes.pop(key) for key in ("resume", "init") if key in changes}
    report = fit(parse_config(config_values(**changes)), base, base / out, **options)
    assert report is not None
    return report


def _same_tensors(a: Path, b: Path) -> bool:
    one, other = load_file(a), load_file(b)
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def _log(run: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in entries]


def _same_run(a: Path, b: Path) -> bool:
    names = ("checkpoints/last.safetensors", "checkpoints/best.safetensors", "model.safetensors")
    return all(_same_tensors(a / name, b / name) for name in names) and _log(a) == _log(b)


def test_a_run_leaves_a_model_and_a_report(dataset: Path) -> None:
    base = dataset.parent
    report = _fit(
        base,
        training__steps=60,
        optimizer__warm_up_steps=5,
        validation__every_steps=30,
        data__names={2: "behind"},
        data__colors={1: "#123456"},
        card__description="Two halves.",
    )
    run = base / "run"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        *("config.json", "split.json", "log.jsonl", "checkpoints", "tensorboard"),
        *("model.safetensors", "report.md", "report.json", "curves.png", "dice.png"),
    }
    losses = [entry["loss"] for entry in _log(run) if entry["event"] == "training"]
    assert losses[-1] < 0.6 * losses[0]
    assert report["mean_dice"] > 0.5
    assert json.loads((run / "report.json").read_text()) == report
    assert "behind" in (run / "report.md").read_text()
    model = hs.load_model(run / "model.safetensors")
    assert model.label_names == {1: "front", 2: "behind"}
    assert model.label_colors[1] == "#123456"
    assert model.trained_range_mm == ((1.0, 2.5), (1.2, 3.0), (1.0, 2.0))
    card = model.card
    assert card.description == "Two halves." and card.license == "CC0"
    assert card.training["steps"] == report["best_step"]
    assert card.training["configuration"]["seed"] == 3
    assert [record.spacing_mm for record in card.dice] == [(1.5, 1.5, 1.0), (2.0, 2.0, 2.0)]
    assert card.dice[0].mean == pytest.approx(report["dice"][0]["mean"])
    scan = hs.read(dataset / "imagesTr" / "tiny_000.nii.gz")
    assert set(hs.segment(scan, model, form="fp32").array.flat) == {0, 1, 2}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_equals_an_unbroken_one(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    base = dataset.parent
    _fit(base, "unbroken", compute__precision=precision)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(Interrupted):
            _fit(base, "broken", compute__precision=precision)
    assert read_checkpoint(base / "broken/checkpoints/last.safetensors").progress.step == 4
    _fit(base, "broken", compute__precision=precision, resume=True)
    assert _same_run(base / "unbroken", base / "broken")


def test_a_run_resumed_from_an_older_checkpoint_equals_an_unbroken_one(dataset: Path) -> None:
    """As after a kill: log and folder are ahead of the checkpoint."""
    base = dataset.parent
    _fit(base, "unbroken")
    _fit(base, "broken")
    run = RunFolder(base / "broken")
    first = read_checkpoint(run.best if _log(run.path)[-1]["step"] != 3 else run.last)
    assert first.progress.step in (3, 6)
    with run.log.open("a") as file:
        file.write('{"event": "trai')  # cut short
    os.replace(run.best, run.last) if first.progress.step == 3 else None
    _fit(base, "broken", resume=True)
    assert _same_tensors(run.model, base / "unbroken/model.safetensors")
    assert _log(run.path) == _log(base / "unbroken")


def test_the_number_of_workers_changes_nothing(dataset: Path) -> None:
    base = dataset.parent
    _fit(base, "alone", compute__workers=0)
    _fit(base, "helped", compute__workers=2)
    assert _same_run(base / "alone", base / "helped")


def test_the_seed_changes_everything(dataset: Path) -> None:
    base = dataset.parent
    _fit(base, "one", data__split=None, training__steps=3)
    split = base / "split.json"
    split.write_text((base / "one/split.json").read_text())
    _fit(base, "other", data__split="split.json", training__steps=3, seed=4)
    assert (base / "other/split.json").read_text() == split.read_text()
    assert not _same_tensors(base / "one/model.safetensors", base / "other/model.safetensors")


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer__kind": "adam", "optimizer__ema_decay": 0.0, "optimizer__gradient_clip": 0},
        {"factory": {"kind": "constant"}, "compute__channels_last": True},
        {"network__norm": "batch", "loss__dice_weight": 0.0},
    ],
)
def test_other_choices_train_and_resume(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    base = dataset.parent
    _fit(base, "unbroken", **changes)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            _fit(base, "broken", **changes)
    _fit(base, "broken", resume=True, **changes)
    assert _same_run(base / "unbroken", base / "broken")


def test_patience_stops_early(dataset: Path) -> None:
    report = _fit(
        dataset.parent,
        training__steps=50,
        training__patience=2,
        validation__every_steps=1,
        optimizer__learning_rate=1e-9,
        optimizer__final_learning_rate=0.0,
    )
    assert report["steps"] == 3


def test_a_warm_start_takes_the_weights_of_a_model_file(dataset: Path, tmp_path: Path) -> None:
    base = dataset.parent
    _fit(base, "first", training__steps=20)
    model = base / "first/model.safetensors"
    _fit(
        base,
        "second",
        init=model,
        training__steps=1,
        optimizer__warm_up_steps=0,
        optimizer__learning_rate=1e-12,
        optimizer__ema_decay=0.0,
    )
    old, new = load_file(model), load_file(base / "second/model.safetensors")
    assert all(torch.allclose(old[key], new[key], atol=1e-9) for key in old)
    changes = {"training__steps": 4, "optimizer__warm_up_steps": 0}
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            _fit(base, "later", init=base / "second/model.safetensors", **changes)
    _fit(base, "later", resume=True, **changes)
    card = hs.load_model(base / "later/model.safetensors").card
    assert card.training["steps"] == 4
    started = card.training["started_from"]
    assert started["steps"] == hs.load_model(model).card.training["steps"] + 1
    assert started["identity"] == hs.load_model(base / "second/model.safetensors").identity
    with pytest.raises(hs.HyperspaceError, match=r"network\.channels"):
        _fit(base, "third", init=model, network__channels=6)
    with pytest.raises(hs.HyperspaceError, match="--init"):
        _fit(base, "first", init=model, resume=True)


def test_a_run_is_exported_before_its_end(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = dataset.parent
    interrupt_after(monkeypatch, 5)
    with pytest.raises(Interrupted):
        _fit(base)
    target = export_checkpoint(base / "run", base / "early.safetensors", dtype="float16")
    card = hs.load_model(target).card
    assert card.training["steps"] == 3 and card.dice[0].cases == 2
    last = export_checkpoint(base / "run/checkpoints/last.safetensors", base / "l.safetensors")
    options = {"tile_voxels": 80, "tile_mm": 60, "search_extent_mm": (30, 40, 35)}
    wide = export_checkpoint(base / "run", base / "w.safetensors", **options)
    card = hs.load_model(wide).card
    assert card.tile_shape == (80,) * 3 and card.tile_mm == (60,) * 3
    assert card.localization is not None and card.localization.extent_mm == (30, 40, 35)
    assert hs.load_model(last).card.training["steps"] == 5


def test_a_run_is_not_overwritten(dataset: Path) -> None:
    base = dataset.parent
    _fit(base, training__steps=3)
    with pytest.raises(hs.HyperspaceError, match="--resume"):
        _fit(base, training__steps=3)
    with pytest.raises(hs.HyperspaceError, match="no checkpoint"):
        _fit(base, "elsewhere", resume=True)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("network__out_channels", 4, "network.out_channels"),
        ("network__in_channels", 2, "network.in_channels"),
        ("data__names", {7: "x"}, "data.names"),
    ],
)
def test_configuration_and_data_must_fit(
    dataset: Path, key: str, value: object, named: str
) -> None:
    with pytest.raises(hs.HyperspaceError, match=named):
        _fit(dataset.parent, **{key: value})


def test_fault_69_signal_leaves_a_checkpoint(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    interrupt_after(monkeypatch, 2)
    with pytest.raises(Interrupted, match="SIGTERM after step 2") as error:
        _fit(dataset.parent, compute__workers=1)
    assert error.value.exit_code == 143
    assert read_checkpoint(RunFolder(dataset.parent / "run").last).progress.step == 2
    assert signal.getsignal(signal.SIGTERM) is handler


def test_fault_70_loss_not_finite(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = TrainingBatches.__getitem__

    def poisoned(self: TrainingBatches, step: int) -> Any:
        batch = plain(self, step)
        if step == 4:
            batch.image[1, 0, 2, 3, 1] = float("nan")
        return batch

    monkeypatch.setattr(TrainingBatches, "__getitem__", poisoned)
    with pytest.raises(hs.HyperspaceError, match="not finite at step 4") as error:
        _fit(dataset.parent)
    config = parse_config(config_values())
    run = RunFolder(dataset.parent / "run")
    good = read_checkpoint(run.last)
    assert good.progress.step == 3
    assert all(torch.isfinite(tensor).all() for tensor in good.tensors.values())
    split = json.loads(run.split.read_text())
    named = [name for name in split["training"] if name in str(error.value)]
    assert len(named) == 1 and config.training.batch_size == 2


def test_fault_71_worker_killed(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = dataset.parent
    _fit(base, "unbroken", training__steps=12)
    plain = TrainingBatches.__getitem__

    def fatal(self: TrainingBatches, step: int) -> Any:
        if step == 8 and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingBatches, "__getitem__", fatal)
        with pytest.raises(hs.HyperspaceError, match="died about step") as error:
            _fit(base, training__steps=12, compute__workers=1)
    assert "tiny_00" in str(error.value) and "--resume" in str(error.value)
    _fit(base, training__steps=12, compute__workers=1, resume=True)
    assert _same_run(base / "unbroken", base / "run")


def test_fault_71_worker_killed_amid_the_hand_over(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ConnectionResetError(104, "Connection reset by peer")
        yield

    monkeypatch.setattr("training.fit.trainer.prepared", broken)
    with pytest.raises(hs.HyperspaceError, match="died about step 0"):
        _fit(dataset.parent, training__steps=3)


def test_fault_72_other_configuration_or_data(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = dataset.parent
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            _fit(base)
    with pytest.raises(hs.HyperspaceError, match=r"optimizer\.learning_rate"):
        _fit(base, resume=True, optimizer__learning_rate=0.02)
    image = dataset / "imagesTr" / "tiny_000.nii.gz"
    kept = image.read_bytes()
    image.write_bytes((dataset / "imagesTr" / "tiny_006.nii.gz").read_bytes())
    with pytest.raises(hs.HyperspaceError, match="other data"):
        _fit(base, resume=True)
    image.write_bytes(kept)
    _fit(base, resume=True, compute__log_every_steps=3)  # how to compute may change


def test_fault_73_two_runs_in_one_folder(dataset: Path) -> None:
    run = dataset.parent / "run"
    run.mkdir()
    with FileLock(run / "lock"), pytest.raises(hs.HyperspaceError, match="another process"):
        _fit(dataset.parent)
    _fit(dataset.parent, training__steps=3)
