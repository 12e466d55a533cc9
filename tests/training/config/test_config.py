"""Configurations of runs: validation, overrides, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

import training
from napari_hyperspace.core.errors import HyperspaceError
from tests.training.conftest import config_values
from training.config.base import nested_models, read_yaml
from training.config.fit import ConfigSection, FitConfig, load_config, parse_config
from training.config.paths import resolve_path
from training.evaluation.real.config import RealScans


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    inner = [m for f in model.model_fields.values() for m in nested_models(f.annotation)]
    return [model, *(section for m in inner for section in _sections(m))]


def test_every_field_has_a_docstring() -> None:
    for section in _sections(FitConfig):
        for name, field in section.model_fields.items():
            if issubclass(section, ConfigSection):
                assert field.description, f"{section.__name__}.{name}"


CONFIGS = Path(training.__file__).parent / "configs"
MEASUREMENTS = [CONFIGS / "brain-real.yaml"]  # of `evaluate-real`, which trains nothing


@pytest.mark.parametrize(
    "path", sorted({*CONFIGS.glob("*.yaml")} - {*MEASUREMENTS}), ids=lambda p: p.stem
)
def test_shipped_configurations_are_valid(path: Path) -> None:
    config, base = load_config(path)
    assert base == path.parent
    assert config.factory.kind != "hypernetwork" or config.factory.range_mm is not None


@pytest.mark.parametrize("path", MEASUREMENTS, ids=lambda p: p.stem)
def test_shipped_lists_of_scans_are_valid(path: Path) -> None:
    scans = RealScans.model_validate(read_yaml(path))
    assert {scan.contrast for scan in scans.scans} >= {"t1", "t2", "flair"}


def test_the_factory_uses_the_training_range() -> None:
    config = parse_config(config_values())
    assert config.factory.range_mm == config.spacing.range_mm == ((1, 2.5), (1.2, 3), (1, 2))
    own = [[0.5, 4.0]] * 3
    assert parse_config(config_values(factory__range_mm=own)).factory.range_mm == ((0.5, 4),) * 3


def test_overrides_change_single_keys(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config_values()))
    config, base = load_config(path, ["training.steps=40", "optimizer.betas=[0.8, 0.9]"])
    assert (config.training.steps, config.optimizer.betas, base) == (40, (0.8, 0.9), tmp_path)
    with pytest.raises(HyperspaceError, match="key=value"):
        load_config(path, ["training.steps"])
    with pytest.raises(HyperspaceError, match="not a section"):
        load_config(path, ["seed.steps=3"])


@pytest.mark.parametrize(
    ("key", "suggestion"),
    [
        ("trainin", "trainin: unknown key; did you mean training?"),
        ("training__stepps", "training.stepps: unknown key; did you mean steps?"),
        ("factory__ranks", "factory.ranks: unknown key; did you mean rank?"),
        ("network__chanels", "network.chanels: unknown key; did you mean channels?"),
        ("data__learning_rate", "did you mean optimizer.learning_rate?"),
    ],
)
def test_an_unknown_key_gets_the_nearest_as_suggestion(key: str, suggestion: str) -> None:
    """Fault 51 of the list of bad inputs."""
    with pytest.raises(HyperspaceError) as error:
        parse_config(config_values(**{key: 1}), where="run.yaml")
    assert suggestion in str(error.value)
    assert str(error.value).startswith("run.yaml")


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("training__steps", "many", "training.steps"),
        ("training__steps", 0, "training.steps"),
        ("optimizer__learning_rate", float("nan"), "optimizer.learning_rate"),
        ("optimizer__learning_rate", float("inf"), "optimizer.learning_rate"),
        ("spacing__range_mm", [[2.0, 1.0], [1, 2], [1, 2]], "spacing.range_mm.0"),
        ("spacing__range_mm", [[1, 2], [1, 2]], "spacing.range_mm"),
        ("factory__rank", 0, "factory.rank"),
        ("factory__kind", "hyper", "factory"),
        ("network__n_dim", 2, "n"),
        ("optimizer__warm_up_steps", 6, "optimizer.warm_up_steps"),
        ("compute__devices", 4, "training.batch_size"),
        ("seed", -1, "seed"),
        ("compute__threads", 1_000_000, "compute.threads"),
        ("compute__workers", 1_000_000, "compute.workers"),
        ("training__steps", 10**4000, "training.steps"),
        ("training__batch_size", 10**9, "training.batch_size"),
        ("training__patch_shape", [16, 16, 10**9], "training.patch_shape.2"),
        ("training__patch_mm", 1e20, "training.patch_mm"),
        ("spacing__range_mm", [[1e-9, 1], [1, 2], [1, 2]], "spacing.range_mm.0.0"),
        ("spacing__range_mm", [[1, 1e20], [1, 2], [1, 2]], "spacing.range_mm.0.1"),
        ("validation__spacings_mm", [[1, 1, 1e-9]], "validation.spacings_mm.0.2"),
        ("augmentation__elastic_control_mm", 1e-9, "augmentation.elastic_control_mm"),
        ("data__ignore", "1-999999999999", "data.ignore"),
    ],
)
def test_an_invalid_value_names_its_key(key: str, value: object, named: str) -> None:
    """Fault 52 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match=named):
        parse_config(config_values(**{key: value}))


def test_the_limits_of_values_are_accepted() -> None:
    parse_config(config_values(compute__threads=1024, training__patch_mm=0.5))
    parse_config(config_values(spacing__range_mm=[[1e-6, 1000]] * 3))


@pytest.mark.parametrize(
    "path",
    [
        "/etc",
        "../elsewhere",
        "a/../../elsewhere",
        "~/data",
        "${HOME}/data",
        "${HYPERSPACE_DATA}/../secret",
        "${HYPERSPACE_DATA}/${HOME}",
    ],
)
def test_paths_outside_of_the_data_folder_are_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 53 of the list of bad inputs."""
    monkeypatch.setenv("HYPERSPACE_DATA", str(tmp_path / "data"))
    with pytest.raises(HyperspaceError, match=r"data\.folder"):
        resolve_path(path, tmp_path, field="data.folder")


def test_paths_inside_of_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERSPACE_DATA", str(tmp_path / "data"))
    inside = resolve_path("${HYPERSPACE_DATA}/a/./b", tmp_path, field="f")
    assert inside == tmp_path / "data" / "a" / "b"
    assert resolve_path("splits/../s.json", tmp_path, field="f") == tmp_path / "s.json"
    monkeypatch.delenv("HYPERSPACE_DATA")
    with pytest.raises(HyperspaceError, match="HYPERSPACE_DATA is not set"):
        resolve_path("${HYPERSPACE_DATA}/a", tmp_path, field="f")


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system ['true']", "a: !!python/name:os.system", "- 1", "a: ["],
)
def test_only_plain_yaml_is_read(text: str, tmp_path: Path) -> None:
    """Fault 54 of the list of bad inputs."""
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(HyperspaceError, match=r"run\.yaml"):
        load_config(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HyperspaceError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "network.in_channels: with guidance.*4 for one image .found 1"),
        ({"head": {"kind": "class-conditional"}}, "guidance: not with head.kind"),
        ({"training": {"steps": 2, "soft_labels": True}}, "goes with neither"),
        ({"guidance": {"spacing_mm": [4, 2]}}, "guidance.spacing_mm"),
        ({"guidance": {"shift_mm": -1}}, "guidance.shift_mm"),
        ({"guidance": {"spacings_mm": [2, 4]}}, "did you mean spacing_mm"),
    ],
)
def test_guidance_is_checked_with_the_rest(changes, message):
    values = {**config_values(guidance={}, optimizer={"warm_up_steps": 0}), **changes}
    if "head" in changes:
        values["network"] = {**values["network"], "in_channels": 4, "out_channels": 2}
    with pytest.raises(HyperspaceError, match=message):
        parse_config(values)
