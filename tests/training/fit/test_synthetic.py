"""Training on label maps alone, and judging what comes out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

from napari_hyperspace import load_model
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.intensity import Normalization
from training.cli import app
from training.config.fit import load_config, parse_config
from training.data import open_dataset
from training.evaluation import synthetic as judge_module
from training.evaluation.synthetic import judge
from training.fit.trainer import fit
from training.fit.validation import CONTRASTS, scored
from training.sampling.augment import working_shape
from training.sampling.batches import TrainingBatches, prepared
from training.sampling.patch import patch_shape
from training.sampling.synthesize import open_label_maps
from training.synthesis.render import covering_labels

CONFIGS = Path(__file__).parents[3] / "training" / "configs"


def _values(**changes: Any) -> dict[str, Any]:
    return {
        "name": "tiny brain",
        "seed": 1,
        "data": {
            "kind": "label-maps",
            "folder": "maps",
            "validation_cases": 1,
            "labels": {1: [3, 42], 2: [2, 41], 3: [10, 49, 13, 52]},
            "names": {1: "cortex", 2: "white matter", 3: "deep grey"},
        },
        "spacing": {"range_mm": [[1.0, 4.0]] * 3, "thick_slice_probability": 0.5},
        "network": {
            "out_channels": 4,
            "channels": 4,
            "strides": [[2, 2, 2]],
            "convs_per_level": 1,
        },
        "factory": {"kind": "hypernetwork", "rank": 2, "hidden": [4]},
        "optimizer": {"warm_up_steps": 2},
        "training": {"steps": 4, "batch_size": 2, "patch_shape": [16, 16, 16], "patch_mm": 20},
        "validation": {
            "every_steps": 2,
            "pairs_per_map": 2,
            "spacings_mm": [[2, 2, 2], [1.5, 1.5, 4]],
            "report_spacings_mm": [[2, 2, 2]],
        },
        "compute": {"device": "cpu", "threads": 1, "workers": 0, "log_every_steps": 2},
        **changes,
    }


def test_a_patch_has_a_limit_in_mm(folder: Path) -> None:
    config = parse_config(_values())
    assert config.training.patch_mm == (20, 20, 20)
    size = (50, 50, 9)
    assert patch_shape(config.training, (1, 2, 2), size) == (16, 10, 9)
    assert patch_shape(config.training, (3, 7, 30), size) == (7, 3, 1)
    free = config.training.model_copy(update={"patch_mm": None})
    assert patch_shape(free, (1, 2, 2), size) == (16, 16, 9)
    with pytest.raises(HyperspaceError, match="patch_mm"):
        parse_config(_values(training={"steps": 4, "patch_mm": [1, 2]}))


def test_batches_are_a_function_of_the_step(folder: Path) -> None:
    config = parse_config(_values(optimizer={"warm_up_steps": 1}))
    data = open_dataset(config.data, folder.parent)
    heads = data.sources([case.name for case in data.cases()], config.data.normalization.build())
    batches = TrainingBatches(config, heads)
    alone = [batches[step] for step in range(4)]
    shared = list(prepared(batches, 0, workers=1))
    for a, b in zip(alone, shared, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)
        assert a.names == b.names and a.image.shape == (2, 1, *a.labels.shape[1:])
        expected = patch_shape(
            config.training,
            a.spacing_mm,
            np.max([working_shape(head, a.spacing_mm) for head in heads], axis=0),
        )
        assert a.labels.shape[1:] == expected
    assert set(torch.cat([b.labels.flatten() for b in alone]).tolist()) <= {0, 1, 2, 3}


def test_validation_pairs_are_always_the_same(folder: Path) -> None:
    config = parse_config(_values())
    data = open_dataset(config.data, folder.parent)
    heads = data.sources(["head_1", "head_2"], config.data.normalization.build())
    held_back, count = scored(config, heads)
    assert len(held_back) == 2 and count == 4
    first, again = (held_back[1].scans_at((2, 2, 2)) for _ in range(2))
    assert [scan.name for scan in first] == [f"head_2 {CONTRASTS[2]}", f"head_2 {CONTRASTS[3]}"]
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.image, b.image) and torch.equal(a.labels, b.labels)
        assert a.labels.any() and a.spacing_mm == pytest.approx((2, 2, 2))
    assert not torch.equal(first[0].image, first[1].image)


def test_a_run_on_label_maps(folder: Path, tmp_path: Path) -> None:
    config = parse_config(_values())
    report = fit(config, tmp_path, tmp_path / "run")
    assert report is not None and report["dice"][0]["cases"] == 2
    model = load_model(tmp_path / "run" / "model.safetensors")
    assert [label.name for label in model.card.labels] == ["cortex", "white matter", "deep grey"]
    assert model.card.tile_mm == (20, 20, 20) and model.card.tile_shape == (16, 16, 16)
    longer = parse_config(_values(training={**_values()["training"], "steps": 4}))
    assert fit(longer, tmp_path, tmp_path / "run", resume=True) is not None


@pytest.mark.parametrize("change", [{"normalization": {"kind": "window"}}, {"sparse": "axial"}])
def test_what_cannot_be_synthesised_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(HyperspaceError, match=next(iter(change))):
        parse_config(_values(data=_values()["data"] | change))


def test_label_maps_are_checked_and_have_no_images(folder: Path, tmp_path: Path) -> None:
    description = tmp_path / "maps.yaml"
    description.write_text(json.dumps({"data": _values()["data"]}))
    runner = CliRunner()
    result = runner.invoke(app, ["check", str(description), "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["cases"] == 3 and not report["problems"]
    assert min(report["voxels"].values()) > 100
    with pytest.raises(HyperspaceError, match="no images"):
        open_label_maps(description).data.load(["head_0"], Normalization())
    values = _values()["data"] | {"labels": {1: [3, 1001]}, "names": {1: "cortex"}}
    description.write_text(json.dumps({"data": values}))
    with pytest.raises(HyperspaceError, match="1001"):
        open_label_maps(description)


def test_judging_a_model(folder: Path, tmp_path: Path) -> None:
    """An answer that is right gets 1, whatever the order of its labels."""
    config = parse_config(_values())
    fit(config, tmp_path, tmp_path / "run")
    file = tmp_path / "run" / "model.safetensors"
    description = tmp_path / "maps.yaml"
    description.write_text(json.dumps({"data": _values()["data"]}))
    out = tmp_path / "judged"
    options = ["--spacings", "3 2,2,4", "--contrasts", "t1 free", "--out", str(out)]
    runner = CliRunner()
    result = runner.invoke(app, ["judge", str(file), str(description), *options, "--write-card"])
    assert result.exit_code == 0, result.output
    text = (out / "synthetic.md").read_text()
    assert "| 2 × 2 × 4 |" in text and "| t1 | free | mean |" in text
    rows = json.loads((out / "synthetic.json").read_text())["rows"]
    assert len(rows) == 3 * 2 * 2 and set(rows[0]["dice"]) == {
        "cortex",
        "white matter",
        "deep grey",
    }
    records = load_model(file).card.dice
    assert [record.spacing_mm for record in records] == [(3, 3, 3), (2, 2, 4)]
    assert records[0].cases == 6


def test_a_right_answer_is_judged_right(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Any
) -> None:
    from napari_hyperspace.core.volume import Volume
    from napari_hyperspace.nets.card import LabelClass

    module = judge_module
    maps = open_label_maps(folder)
    answers: list[Any] = []
    plain = module.sample_whole_head

    def remember(head: Any, *arguments: Any, **options: Any) -> Any:
        draw = plain(head, *arguments, **options)
        answers.append(covering_labels(head.head, draw, head.targets).numpy())
        return draw

    def right(image: Volume, model: Any, device: Any = None) -> Volume:
        truth = answers[-1]
        table = np.zeros(14, np.uint8)
        table[1], table[2] = 9, 4  # cortex and white matter, as the model calls them
        return image.with_array(table[truth])

    monkeypatch.setattr(module, "sample_whole_head", remember)
    monkeypatch.setattr(module, "segment", right)
    labels = (LabelClass(value=4, name="white matter"), LabelClass(value=9, name="cortex"))
    model = make_model(labels=labels)
    judgment = judge(model, maps, ["head_0"], [(2, 2, 2)], ["t1", "t2"])
    assert judgment.names == ("white matter", "cortex") and judgment.dice.shape == (1, 1, 2, 2)
    assert np.all(judgment.dice == 1)
    monkeypatch.setattr(
        module, "segment", lambda image, *_, **__: image.with_array(np.zeros(image.shape, np.uint8))
    )
    assert not judge(model, maps, ["head_0"], [(2, 2, 2)], ["t1"]).dice.any()
    with pytest.raises(HyperspaceError, match="none of the maps' labels"):
        judge(make_model(), maps, ["head_0"], [(2, 2, 2)], ["t1"])


def test_what_is_not_known_is_not_judged() -> None:
    truth = np.array([[-1, 0, 1], [2, 3, -1]])  # -1: ids that data.ignore leaves out
    found = np.array([[3, 0, 1], [2, 3, 1]])
    channels = {"cortex": 1, "white matter": 2, "deep grey": 3}
    dice = judge_module._dice(found, truth, list(channels), channels, channels)
    np.testing.assert_array_equal(dice, 1)


@pytest.mark.parametrize("name", ["brain", "brain-grouped"])
def test_the_configurations_of_the_brain_models(name: str) -> None:
    config, _ = load_config(CONFIGS / f"{name}.yaml")
    section = config.data
    count = len(section.labels) if section.labels else 13
    assert config.network.out_channels == count + 1
    assert set(section.colors) == set(range(1, count + 1))
    assert config.spacing.range_mm == ((0.4, 7.0),) * 3
