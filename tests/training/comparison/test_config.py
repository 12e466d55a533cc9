"""Configurations of comparisons: their methods, runs and seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from napari_hyperspace.core.errors import HyperspaceError
from tests.training.comparison.conftest import (
    COMPARISON,
    RUNS,
    write_comparison,
)
from tests.training.conftest import config_values
from training.comparison.config import load_comparison
from training.config.fit import changes, load_config


def test_runs_have_the_configuration_of_their_method(tmp_path: Path, dataset: Path) -> None:
    path = write_comparison(tmp_path, COMPARISON)
    comparison = load_comparison(path)
    assert comparison.runs() == [(m, seed) for m, seeds in RUNS.items() for seed in seeds]
    ranges = "spacing.range_mm=[[1.5, 1.5], [1.5, 1.5], [1.5, 1.5]]"
    overrides = ["factory={kind: constant}", ranges]
    expected, base = load_config(path, [*overrides, "name=tiny run-FS-0", "seed=0"])
    assert comparison.config("FS", 0) == expected and comparison.base == base
    assert comparison.config("HS", 0).factory.kind == "hypernetwork"
    assert [m.label for m in comparison.used("HS", Path("x"))] == ["HS", "HS MaxRes"]


def test_a_method_may_have_fewer_seeds(tmp_path: Path, dataset: Path) -> None:
    comparison = load_comparison(write_comparison(tmp_path, COMPARISON))
    table = comparison.section.tables["main"]
    assert comparison.section.seeds(table, "FSNR") == [0]
    assert comparison.section.seeds(table, "HS MaxRes") == [0, 1]


def test_fit_ignores_the_section_comparison(tmp_path: Path, dataset: Path) -> None:
    with_it, _ = load_config(write_comparison(tmp_path, COMPARISON))
    (tmp_path / "plain").mkdir()
    plain = tmp_path / "plain" / "run.yaml"
    plain.write_text(yaml.safe_dump(config_values(training__steps=3, data__split="split.json")))
    assert with_it == load_config(plain)[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methods": {"A": {"run": "B"}}}, "'B' is not a method with runs"),
        ({"methods": {"A": {}, "B": {"run": "A", "set": {"seed": 1}}}}, "runs of its own"),
        (
            {"tables": {"t": {"title": "", "methods": ["HSS"], "seeds": [0]}}},
            "'HSS' is not",
        ),
        ({"methods": {"A": {}, "B": {"run": "A", "seeds": [1]}}}, "runs of its own"),
        ({"intervals": ["5:1"]}, "not an interval"),
        ({"segment": [[1, 2]]}, "segments"),
    ],
)
def test_a_wrong_section_is_refused(
    tmp_path: Path, dataset: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(HyperspaceError, match=words):
        load_comparison(write_comparison(tmp_path, {**COMPARISON, **change}))


def test_refused_without_section_or_split(tmp_path: Path, dataset: Path) -> None:
    path = write_comparison(tmp_path, COMPARISON)
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({k: v for k, v in values.items() if k != "comparison"}))
    with pytest.raises(HyperspaceError, match="no section"):
        load_comparison(path)
    del values["data"]["split"]
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(HyperspaceError, match="validation cases"):
        load_comparison(path)


def test_the_comparison_of_the_repository() -> None:
    root = Path(__file__).parents[3]
    comparison = load_comparison(root / "training" / "configs" / "hippocampus-comparison.yaml")
    configs = {run: comparison.config(*run) for run in comparison.runs()}
    assert {seed for method, seed in configs if method == "HS"} == {0, 1}
    shared = comparison.shared()
    for (method, seed), config in configs.items():
        assert (config.name, config.seed) == (f"{shared.name}-{method}-{seed}", seed)
        assert (config.data, config.optimizer, config.loss) == (
            shared.data, shared.optimizer, shared.loss,
        )  # fmt: skip
        # The same budget for all but those that need larger patches; other keys as they say.
        differs = {key.partition(".")[0] for key in comparison.section.methods[method].set}
        assert ("training" in differs) == (method in ("HS-wide", "HS-strides"))
        if "spacing" in differs:
            differs.add("factory")  # its range is that of the spacings
        for section in {"training", "network", "augmentation", "spacing", "factory"} - differs:
            assert getattr(config, section) == getattr(shared, section), (method, section)


@pytest.mark.parametrize(
    ("name", "methods", "differs"),
    [
        ("ranks", {"HS": "HS"}, set()),
        ("work", {"FS": "FS"}, set()),
        ("work", {"HS-slices": "HS-slices"}, {"training.steps", "validation.every_steps"}),
    ],
)
def test_smaller_comparisons_of_the_repository_differ_as_described(
    name: str, methods: dict[str, str], differs: set[str]
) -> None:
    configs = Path(__file__).parents[3] / "training" / "configs"
    whole = load_comparison(configs / "hippocampus-comparison.yaml")
    other = load_comparison(configs / f"hippocampus-{name}.yaml")
    assert other.section.groups() == whole.section.groups()
    for own, same in methods.items():
        values = [c.model_dump(mode="json") for c in (whole.config(same, 0), other.config(own, 0))]
        assert {*changes(*values)} == {"name", *differs}
