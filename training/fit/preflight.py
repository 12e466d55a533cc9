"""What is checked and decided before the first step of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.model_file import load_model
from training.config.fit import FitConfig, changes, parse_config
from training.config.paths import resolve_path
from training.data.base import DataSet
from training.data.splits import Split, draw_split, read_split
from training.fit.checkpoint import Checkpoint, read_checkpoint
from training.fit.run_folder import RunFolder

# Sections that say how to compute or what to call things, not what is computed.
_MAY_CHANGE = ("compute", "card", "validation.report_spacings_mm", "data.folder", "data.split")


def checkpoint_to_resume(
    run: RunFolder, resume: bool, init: str | os.PathLike[str] | None
) -> Checkpoint | None:
    """Return the checkpoint to go on from, or `None` for a run that starts.

    Raises
    ------
    HyperspaceError
        If there is none to resume, or one that a new run would overwrite.
    """
    if not resume:
        if run.last.exists():
            raise HyperspaceError(
                "the folder already holds a run",
                where=run.path,
                fix="Go on with --resume, or choose another folder with --out",
            )
        return None
    if init is not None:
        raise HyperspaceError(
            "a run is either resumed or started from a model file",
            field="--init",
            fix="Leave out --resume or --init",
        )
    return read_checkpoint(run.last)


def check_classes(config: FitConfig, dataset: DataSet) -> None:
    """Check that the network has the data set's channels and classes.

    Raises
    ------
    HyperspaceError
        If it has not, or the configuration names a label that the data set has not.
    """
    for key, found, expected in (
        ("network.in_channels", config.network.in_channels, len(dataset.channel_names)),
        ("network.out_channels", config.network.out_channels, 1 + len(dataset.label_names)),
    ):
        if found != expected:
            raise HyperspaceError(
                f"the network does not fit the data set {dataset.name!r}",
                field=key,
                found=found,
                expected=expected,
                fix=f"Set {key}: {expected}",
            )
    for key, values in (("data.names", config.data.names), ("data.colors", config.data.colors)):
        strange = sorted(set(values) - set(dataset.label_names))
        if strange:
            raise HyperspaceError(
                "the data set has no such label value",
                field=key,
                found=strange,
                expected=sorted(dataset.label_names),
            )


def choose_split(config: FitConfig, base: Path, dataset: DataSet) -> Split:
    """Read the split file, or draw a split where there is none."""
    if config.data.split is not None:
        return read_split(resolve_path(config.data.split, base, field="data.split"))
    subjects = {case.name: case.subject for case in dataset.cases()}
    return draw_split([*subjects], config.data.validation_cases, config.seed, subjects)


def changed_keys(stored: dict[str, Any], config: FitConfig) -> list[str]:
    """List the keys that change the result and differ from a run's stored configuration."""
    # Through the model, so that a key that is new with a default does not count as changed.
    old, new = (c.model_dump(mode="json") for c in (parse_config(stored), config))
    return [key for key in changes(old, new) if not key.startswith(_MAY_CHANGE)]


def check_resumable(checkpoint: Checkpoint, config: FitConfig, data: str, run: RunFolder) -> None:
    """Check that a run goes on with the configuration and data that it was started with.

    Raises
    ------
    HyperspaceError
        If keys that change the result differ, or the data does.
    """
    way_out = (
        "Undo the change; or start a new run from this one's weights: "
        f"python -m training export {run.path} MODEL, then fit --init MODEL --out NEW"
    )
    changed = changed_keys(checkpoint.config, config)
    if changed:
        raise HyperspaceError(
            "the run was started with another configuration",
            where=run.path,
            field=", ".join(changed),
            fix=way_out,
        )
    if checkpoint.data != data:
        raise HyperspaceError(
            "the run was started with other data", where=run.path, field="data", fix=way_out
        )


def start_from(
    factory: nn.Module, config: FitConfig, init: str | os.PathLike[str]
) -> dict[str, Any]:
    """Load the weights of a model file into a new factory (a warm start).

    Returns
    -------
    dict
        What the new model's card says of that file: its name, identity, and how long it and the
        models that it was itself started from were trained.

    Raises
    ------
    HyperspaceError
        If the model's network or factory is configured otherwise.
    """
    model = load_model(init)
    for section, old, new in (
        ("network", model.factory.network_config, config.network),
        ("factory", model.factory.config, config.factory),
    ):
        differing = list(changes(old.model_dump(mode="json"), new.model_dump(mode="json"), section))
        if differing:
            raise HyperspaceError(
                "the model to start from is built otherwise",
                where=init,
                field=", ".join(differing),
                fix="Take these keys from the model: python -m training info MODEL --json",
            )
    factory.load_state_dict(model.factory.state_dict())
    before = model.card.training
    earlier = before.get("started_from", {})
    return {
        "name": model.card.name,
        "identity": model.identity,
        **{
            key: before.get(key, 0) + earlier.get(key, 0)
            for key in ("steps", "seconds")
            if key in before
        },
    }
