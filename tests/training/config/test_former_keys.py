"""Keys of configurations that were renamed: both names are accepted everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from napari_hyperspace.core.errors import HyperspaceError
from tests.training.conftest import config_values
from training.comparison.config import load_comparison
from training.config.base import rename_former_keys
from training.config.data import load_data_section
from training.config.fit import FitConfig, load_config, parse_config, set_key
from training.fit.preflight import changed_keys

FORMER = ("optimiser", "normalisation", "licence")
PRESENT = ("optimizer", "normalization", "license")


def _values(optimizer: str, normalization: str, license: str) -> dict[str, Any]:
    values = config_values()
    values[optimizer] = values.pop("optimizer")
    values["data"][normalization] = {"kind": "percentile", "lower": 1.0, "upper": 99.0}
    values["card"] = {"description": "d", license: "CC0", "citation": "c"}
    return values


def _write(tmp_path: Path, values: dict[str, Any]) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_file_with_former_keys(tmp_path: Path) -> None:
    former, _ = load_config(_write(tmp_path, _values(*FORMER)))
    assert former == parse_config(_values(*PRESENT))
    assert former.card.license == "CC0" and former.data.normalization.kind == "percentile"


def test_the_stored_configuration_of_an_old_run_is_unchanged() -> None:
    """`former-run.json` was written before keys were renamed: such a run can be resumed."""
    stored = json.loads(Path(__file__).with_name("former-run.json").read_text())
    assert {"optimiser"} < set(stored) and "licence" in stored["card"]
    config = parse_config(_values(*PRESENT))
    assert parse_config(stored) == config
    assert changed_keys(stored, config) == []
    other = parse_config({**_values(*FORMER), "seed": 4})
    assert changed_keys(stored, other) == ["seed"]


@pytest.mark.parametrize("in_file", [FORMER, PRESENT])
@pytest.mark.parametrize("in_override", [FORMER, PRESENT])
def test_overrides_in_either_spelling(
    tmp_path: Path, in_file: tuple[str, str, str], in_override: tuple[str, str, str]
) -> None:
    path = _write(tmp_path, _values(*in_file))
    optimizer, normalization, license = in_override
    config, _ = load_config(
        path,
        [
            f"{optimizer}.learning_rate=0.5",
            f"data.{normalization}.upper=98",
            f"data.{normalization}.lower=2",
            f"card.{license}=MIT",
        ],
    )
    assert config.optimizer.learning_rate == 0.5
    assert config.optimizer.warm_up_steps == 2, "other keys of the section are kept"
    assert (config.data.normalization.lower, config.data.normalization.upper) == (2, 98)
    assert config.card.license == "MIT"
    # A whole section is replaced, and its own keys may have former names too.
    config, _ = load_config(path, [f"{optimizer}={{kind: adam, warm_up_steps: 1}}"])
    assert (config.optimizer.kind, config.optimizer.ema_decay) == ("adam", 0)
    config, _ = load_config(path, [f"card={{{license}: MIT}}", "card.citation=x"])
    assert (config.card.license, config.card.citation) == ("MIT", "x")


@pytest.mark.parametrize("in_file", [FORMER, PRESENT])
@pytest.mark.parametrize("in_set", [FORMER, PRESENT])
def test_methods_of_a_comparison_in_either_spelling(
    tmp_path: Path, in_file: tuple[str, str, str], in_set: tuple[str, str, str]
) -> None:
    values = _values(*in_file)
    values["data"]["split"] = "split.json"
    values["comparison"] = {
        "methods": {
            "a": {},
            "b": {"set": {f"{in_set[0]}.learning_rate": 0.25, "training.steps": 9}},
            "c": {"set": {in_set[0]: {"learning_rate": 0.125, "warm_up_steps": 0}}},
        },
        "tables": {"all": {"title": "t", "methods": ["a", "b", "c"], "seeds": [0]}},
    }
    comparison = load_comparison(_write(tmp_path, values))
    a, b, c = (comparison.config(method, 0).optimizer for method in "abc")
    assert (a.learning_rate, b.learning_rate, c.learning_rate) == (0.01, 0.25, 0.125)
    assert (b.warm_up_steps, b.ema_decay) == (2, 0.9)
    assert (c.warm_up_steps, c.ema_decay) == (0, 0)


@pytest.mark.parametrize("former", ["optimiser", "data.normalisation", "card.licence"])
def test_both_names_at_once_are_refused(former: str) -> None:
    values = _values(*PRESENT)
    *parents, last = former.split(".")
    section = values
    for parent in parents:
        section = section[parent]
    section[last] = section[dict(zip(FORMER, PRESENT, strict=True))[last]]
    with pytest.raises(HyperspaceError, match=last):
        parse_config(values)
    with pytest.raises(HyperspaceError, match=last):
        set_key(values, "optimizer.learning_rate", 1)
        parse_config(values)


def test_unknown_keys_still_name_the_nearest() -> None:
    values = _values(*FORMER)
    values["optimiser"]["learning_rat"] = 1
    values["optimizr"] = {}
    with pytest.raises(HyperspaceError) as error:
        parse_config(values)
    text = str(error.value)
    assert "optimizer.learning_rat: unknown key; did you mean learning_rate?" in text
    assert "optimizr: unknown key; did you mean optimizer?" in text
    with pytest.raises(HyperspaceError, match="not a section"):
        set_key(_values(*FORMER), "optimiser.learning_rate.x", 1)


def test_a_section_of_data_alone(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("data: {kind: spider, folder: a, normalisation: {kind: none}}\n")
    assert load_data_section(path)[0].normalization.kind == "none"


def test_renaming_changes_nothing_else() -> None:
    present = _values(*PRESENT)
    assert rename_former_keys(present, FitConfig) == present
    assert rename_former_keys(_values(*FORMER), FitConfig) == present
    assert rename_former_keys({"data": 3, 4: None}, FitConfig) == {"data": 3, 4: None}
