"""What is refused before the first step, and what a run can be started from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

import napari_hyperspace as hs
from tests.training.conftest import config_values, interrupt_after
from tests.training.fit.runs import same_run, train
from training.config.fit import parse_config
from training.fit.preflight import changed_keys
from training.fit.run_folder import RunFolder
from training.fit.signals import Interrupted


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
        train(dataset.parent, **{key: value})


def test_a_run_is_resumed_with_its_own_configuration_and_data_only(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 72 of the list of bad inputs."""
    base = dataset.parent
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            train(base)
    with pytest.raises(hs.HyperspaceError, match=r"optimizer\.learning_rate"):
        train(base, resume=True, optimizer__learning_rate=0.02)
    image = dataset / "imagesTr" / "tiny_000.nii.gz"
    kept = image.read_bytes()
    image.write_bytes((dataset / "imagesTr" / "tiny_006.nii.gz").read_bytes())
    with pytest.raises(hs.HyperspaceError, match="other data"):
        train(base, resume=True)
    image.write_bytes(kept)
    train(base, resume=True, compute__log_every_steps=3)  # how to compute may change


def _write_with_former_names(path: Path) -> None:
    """Rewrite a checkpoint as it was written before names were changed to American spelling."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hyperspace-checkpoint"])
    for section, renamed in (
        (header["config"], {"optimizer": "optimiser"}),
        (header["config"]["card"], {"license": "licence"}),
        (header["config"]["data"], {"normalization": "normalisation"}),
        (
            header["card"],
            {"normalization": "normalisation", "localization": "search", "license": "licence"},
        ),
    ):
        for present, former in renamed.items():
            section[former] = section.pop(present)
    tensors = {
        name.replace("optimizer.", "optimiser."): tensor for name, tensor in load_file(path).items()
    }
    assert any(name.startswith("optimiser.") for name in tensors)
    save_file(tensors, path, {"hyperspace-checkpoint": json.dumps(header)})


def test_a_run_with_the_former_names_is_resumed(
    dataset: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(dataset.parent / "run")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(Interrupted):
            train(dataset.parent)
    for path in (run.last, run.best):
        _write_with_former_names(path)
    config = json.loads(run.config.read_text())
    config["optimiser"] = config.pop("optimizer")
    run.config.write_text(json.dumps(config))
    assert changed_keys(config, parse_config(config_values())) == []
    train(dataset.parent, resume=True)
    assert same_run(unbroken, run.path)


def test_a_warm_start_takes_the_weights_of_a_model_file(dataset: Path, unbroken: Path) -> None:
    base = dataset.parent
    model = unbroken / "model.safetensors"
    train(
        base,
        "second",
        init=model,
        training__steps=1,
        optimizer__warm_up_steps=0,
        optimizer__learning_rate=1e-12,
        optimizer__final_learning_rate=0.0,
        optimizer__ema_decay=0.0,
    )
    old, new = load_file(model), load_file(base / "second/model.safetensors")
    # One step of AdamW changes a weight by the learning rate, about 1e-12.
    for key, tensor in old.items():
        assert float((new[key] - tensor).abs().max()) < 1e-11
    changes = {"training__steps": 4, "optimizer__warm_up_steps": 0}
    with pytest.MonkeyPatch.context() as patch:
        interrupt_after(patch, 2)
        with pytest.raises(Interrupted):
            train(base, "later", init=base / "second/model.safetensors", **changes)
    train(base, "later", resume=True, **changes)
    card = hs.load_model(base / "later/model.safetensors").card
    assert card.training["steps"] == 4
    started = card.training["started_from"]
    assert started["steps"] == hs.load_model(model).card.training["steps"] + 1
    assert started["identity"] == hs.load_model(base / "second/model.safetensors").identity
    with pytest.raises(hs.HyperspaceError, match=r"network\.channels.*different architecture"):
        train(base, "third", init=model, network__channels=6)
    with pytest.raises(hs.HyperspaceError, match="--init"):
        train(base, "later", init=model, resume=True)


@pytest.mark.parametrize(
    ("kind", "devices", "available", "named"),
    [
        ("cuda", 1, 0, "compute.device"),
        ("cuda", 2, 1, "compute.devices"),
        ("mps", 1, 0, "compute.device"),
    ],
)
def test_a_device_that_is_not_available_is_refused_before_anything_is_written(
    dataset: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    devices: int,
    available: int,
    named: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: available > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: available)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(hs.HyperspaceError) as error:
        train(dataset.parent, compute__device=kind, compute__devices=devices)
    assert error.value.field == named
    assert not (dataset.parent / "run").exists()


def test_a_damaged_checkpoint_is_not_resumed_and_the_best_one_is_named(
    dataset: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = dataset.parent
    run = RunFolder(base / "run")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)  # the best checkpoint is that of step 3
        with pytest.raises(Interrupted):
            train(base)
    whole = run.last.read_bytes()
    run.last.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(hs.HyperspaceError, match=r"damaged.*of step 3, copy best\.safetensors"):
        train(base, resume=True)
    run.last.write_bytes(run.best.read_bytes())
    train(base, resume=True)
    assert same_run(unbroken, run.path)
    run.last.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    run.best.write_bytes(run.last.read_bytes())
    with pytest.raises(hs.HyperspaceError, match=r"damaged.*backup"):
        train(base, resume=True)
