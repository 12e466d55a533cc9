"""YAML files that are refused: duplicate keys, deep nesting, huge numbers, endless aliases."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from napari_hyperspace.core.errors import HyperspaceError
from tests.training.conftest import config_values
from training.config.base import read_yaml
from training.config.fit import load_config
from training.config.plain_yaml import parse_yaml


@pytest.mark.parametrize(
    "text",
    [
        "seed: 1\nseed: 2\n",
        "training:\n  steps: 1\n  steps: 2\n",
        "a: [{b: 1, 'b': 2}]\n",
        "1: a\n0x1: b\n",
    ],
)
def test_a_key_that_is_given_twice_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(HyperspaceError, match="given twice") as error:
        read_yaml(path)
    assert error.value.where == str(path) and "line" in str(error.value)


def test_a_merged_mapping_may_be_overridden_and_aliases_are_resolved() -> None:
    text = "base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  b: 3\nagain: *base\nmore: {<<: *base}\n"
    plain = {"base": {"a": 1, "b": 2}, "own": {"a": 1, "b": 3}}
    assert parse_yaml(text) == {**plain, "again": plain["base"], "more": plain["base"]}


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 20_000,
        "a: " + "[" * 20_000 + "]" * 20_000,
        "a:\n" + "".join(" " * n + "- b:\n" for n in range(1, 2_000)),
        "a: " + "9" * 5_000,
        "9" * 5_000 + ": a",
        "a: &a [*a]",
        "a: 2026-13-45",
        "a: !!python/object/apply:os.getcwd []",
        "a: \x07",
        "&a0 [x]: 1",
    ],
)
def test_yaml_that_cannot_be_converted_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(HyperspaceError) as error:
        read_yaml(path)
    assert error.value.where == str(path)


def test_aliases_that_expand_without_limit_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(HyperspaceError, match="aliases"):
        parse_yaml("\n".join(lines))


@pytest.mark.parametrize("text", ["a: !!timestamp x", "a: !!float x", "a: !!int", "a: !!bool x"])
def test_values_that_do_not_have_their_tag_are_refused(text: str) -> None:
    with pytest.raises(HyperspaceError, match="plain YAML"):
        parse_yaml(text)


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes("name: Größe\n".encode("latin-1"))
    with pytest.raises(HyperspaceError, match="UTF-8"):
        read_yaml(path)


@pytest.mark.parametrize("value", ["[" * 20_000, "9" * 5_000, "{a: 1, a: 2}", "[1"])
def test_an_override_that_cannot_be_converted_is_refused(value: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config_values()))
    with pytest.raises(HyperspaceError, match="--set"):
        load_config(path, [f"training.steps={value}"])
