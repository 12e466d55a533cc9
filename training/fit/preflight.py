"""What is read and checked before the first step of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.base.quality import QualityConfig
from napari_hyperspace.nets.card import ModelCard
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model, read_card
from training.config.fit import ComputeSection, FitConfig, changes, parse_config
from training.config.head import ClassConditionalHead
from training.config.paths import resolve_path
from training.data import open_dataset
from training.data.base import DataSet, Source, digest
from training.data.splits import Split, random_split, read_split
from training.evaluation.quality.expected import (
    expected_quality_of,
    labels_of_sources,
    like_ct_of,
)
from training.fit.checkpoint import Checkpoint, read_checkpoint
from training.fit.export import label_name, make_card
from training.fit.run_folder import RunFolder
from training.sampling.hints import HINTS
from training.sampling.sizes import check_sizes

# Sections that change how to compute or what to call things, and not the result.
_MAY_CHANGE = ("compute", "card", "validation.report_spacings_mm", "data.folder", "data.split")


@dataclass(frozen=True)
class RunInputs:
    """What a run starts from.

    Parameters
    ----------
    split
        Names of the cases of the training and the validation set.
    training, validation
        The cases.
    data
        Fingerprint of the cases.
    held_out
        Labels that are never the structure of a sample of class-conditional training.
    card
        Card of the model to train.
    checkpoint
        Checkpoint to continue from, if the run is resumed.
    initial
        Model whose weights the run starts from, if there is one.
    """

    split: Split
    training: Sequence[Source]
    validation: Sequence[Source]
    data: str
    held_out: tuple[int, ...]
    card: ModelCard
    checkpoint: Checkpoint | None
    initial: Model | None


def read_inputs(
    config: FitConfig,
    base: Path,
    run: RunFolder,
    *,
    resume: bool,
    init: str | os.PathLike[str] | None,
) -> RunInputs:
    """Read the data of a run and the weights to start from, and check that they fit.

    Parameters
    ----------
    config, base, resume, init
        As in `training.fit.trainer.fit`.
    run
        Folder of the run.

    Raises
    ------
    HyperspaceError
        If configuration, data, run or model do not fit each other.
    """
    checkpoint = checkpoint_to_resume(run, resume, init)
    dataset = open_dataset(config.data, base)
    check_classes(config, dataset)
    initial = None if init is None else initial_model(config, init)
    split = choose_split(config, base, dataset)
    training, validation = (
        dataset.sources(names, config.data.normalization.build())
        for names in (split.training, split.validation)
    )
    check_sizes(config, training, validation)
    data = digest([*training, *validation])
    started_from = None if initial is None else lineage(initial)
    if checkpoint is not None:
        check_resumable(checkpoint, config, data, run)
        started_from = checkpoint.model_card().training.get("started_from")
    card = make_card(config, dataset, started_from, _expected(config, dataset, split, training))
    return RunInputs(
        split, training, validation, data, held_out(config, dataset), card, checkpoint, initial
    )


def _expected(
    config: FitConfig, dataset: DataSet, split: Split, training: Sequence[Source]
) -> QualityConfig | None:
    """Return what the card expects of results: figures of the training labels."""
    if isinstance(config.head, ClassConditionalHead):
        return None
    names = [label_name(config, dataset, value) for value in sorted(dataset.label_names)]
    like_ct = like_ct_of(dataset, split.training)
    return expected_quality_of(labels_of_sources(training), names, like_ct)


def checkpoint_to_resume(
    run: RunFolder, resume: bool, init: str | os.PathLike[str] | None
) -> Checkpoint | None:
    """Return the checkpoint to continue from, or `None` for a new run.

    Raises
    ------
    HyperspaceError
        If there is no checkpoint to continue from, or a new run would overwrite one, or the model
        to start from.
    """
    if init is not None and run.owns(init):
        raise HyperspaceError(
            "the model to start from is a file of the run itself, which would replace it",
            where=init,
            field="--init",
            fix="Choose another folder with --out",
        )
    if not resume:
        if run.last.exists():
            raise HyperspaceError(
                "the folder already contains a run",
                where=run.path,
                fix="Continue with --resume, or choose another folder with --out",
            )
        return None
    if init is not None:
        raise HyperspaceError(
            "a run is either resumed or started from a model file",
            field="--init",
            fix="Leave out --resume or --init",
        )
    try:
        return read_checkpoint(run.last)
    except HyperspaceError as error:
        raise error.replace(fix=_way_out(run) or error.fix) from error


def _way_out(run: RunFolder) -> str | None:
    """Return how to continue a run whose last checkpoint cannot be read, if there is a way."""
    try:
        step = read_checkpoint(run.best).progress.step
    except HyperspaceError:
        return None
    return (
        f"To continue from the best checkpoint, of step {step}, copy {run.best.name} over "
        f"{run.last.name} and try again with --resume"
    )


def check_devices(section: ComputeSection) -> None:
    """Check that the devices of a run are available.

    Raises
    ------
    HyperspaceError
        If they are not.
    """
    kind = section.device
    if kind == "cuda":
        available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    elif kind == "mps":
        available = int(torch.backends.mps.is_available())
    else:
        return
    if not available:
        raise HyperspaceError(
            f"torch finds no {kind.upper()} device",
            field="compute.device",
            found=kind,
            fix="Set compute.device: auto or cpu, or install a driver and a build of torch for it",
        )
    if section.devices > available:
        raise HyperspaceError(
            f"torch finds fewer {kind.upper()} devices",
            field="compute.devices",
            found=section.devices,
            expected=f"at most {available}",
        )


def check_classes(config: FitConfig, dataset: DataSet) -> None:
    """Check that the network has the channels and classes of the data set.

    Raises
    ------
    HyperspaceError
        If it does not, or the configuration names a label that the data set does not have.
    """
    conditional = isinstance(config.head, ClassConditionalHead)
    classes = 2 if conditional else 1 + len(dataset.label_names)
    channels = len(dataset.channel_names) + (HINTS if conditional else 0)
    if config.guidance is not None:
        channels += classes
    for key, found, expected in (
        ("network.in_channels", config.network.in_channels, channels),
        ("network.out_channels", config.network.out_channels, classes),
    ):
        if found != expected:
            raise HyperspaceError(
                f"the network does not fit the data set {dataset.name!r}",
                field=key,
                found=found,
                expected=expected,
                fix=f"Set {key}: {expected}",
            )
    section = config.data
    for key, values in (
        ("data.names", section.names),
        ("data.colors", section.colors),
        ("data.paired", section.paired),
    ):
        unknown = sorted(set(values) - set(dataset.label_names))
        if unknown:
            raise HyperspaceError(
                "the data set has no such label value",
                field=key,
                found=unknown,
                expected=sorted(dataset.label_names),
            )


def held_out(config: FitConfig, dataset: DataSet) -> tuple[int, ...]:
    """Return the channels of the labels that class-conditional training leaves out.

    Raises
    ------
    HyperspaceError
        If the data set has no label of that name.
    """
    if not isinstance(config.head, ClassConditionalHead):
        return ()
    names = {
        config.data.names.get(value, dataset.label_names[value]): channel
        for channel, value in enumerate(sorted(dataset.label_names), start=1)
    }
    unknown = sorted(set(config.head.held_out) - set(names))
    if unknown:
        raise HyperspaceError(
            "the data set has no such label",
            field="head.held_out",
            found=unknown,
            expected=sorted(names),
        )
    return tuple(names[name] for name in config.head.held_out)


def choose_split(config: FitConfig, base: Path, dataset: DataSet) -> Split:
    """Read the split file, or split at random if the configuration names none."""
    if config.data.split is not None:
        return read_split(resolve_path(config.data.split, base, field="data.split"))
    subjects = {case.name: case.subject for case in dataset.cases()}
    return random_split([*subjects], config.data.validation_cases, config.seed, subjects)


def changed_keys(stored: Mapping[str, JsonValue], config: FitConfig) -> list[str]:
    """List the keys that change the result and differ from a run's stored configuration."""
    # The stored configuration is parsed, so that a key added since, with a default, is no change.
    old, new = (c.model_dump(mode="json") for c in (parse_config(stored), config))
    return [key for key in changes(old, new) if not key.startswith(_MAY_CHANGE)]


def check_resumable(checkpoint: Checkpoint, config: FitConfig, data: str, run: RunFolder) -> None:
    """Check that a run continues with the configuration and data that it was started with.

    Raises
    ------
    HyperspaceError
        If keys that change the result differ, or the data does.
    """
    fix = (
        "Undo the change; or start a new run from this one's weights: "
        f"hyperspace export {run.path} MODEL, then fit --init MODEL --out NEW"
    )
    changed = changed_keys(checkpoint.config, config)
    if changed:
        raise HyperspaceError(
            "the run was started with another configuration",
            where=run.path,
            field=", ".join(changed),
            fix=fix,
        )
    if checkpoint.data != data:
        raise HyperspaceError(
            "the run was started with other data", where=run.path, field="data", fix=fix
        )


def initial_model(config: FitConfig, init: str | os.PathLike[str]) -> Model:
    """Load the model whose weights a run starts from (a warm start).

    Raises
    ------
    HyperspaceError
        If its network or factory has another configuration.
    """
    header = read_card(init)
    for section, old, new in (
        ("network", header.network, config.network),
        ("factory", header.factory, config.factory),
    ):
        differing = list(changes(old.model_dump(mode="json"), new.model_dump(mode="json"), section))
        if differing:
            raise HyperspaceError(
                "the model to start from has a different architecture",
                where=init,
                field=", ".join(differing),
                fix="Copy these keys from the model: hyperspace info MODEL --json",
            )
    return load_model(init)


def lineage(initial: Model) -> dict[str, JsonValue]:
    """Return what the card of a new model says of the model that it was started from.

    Its name and identity, and the steps and seconds that it and its own ancestors were trained.
    """
    training = initial.card.training
    earlier = training.get("started_from", {})
    return {
        "name": initial.card.name,
        "identity": initial.identity,
        **{
            key: training.get(key, 0) + earlier.get(key, 0)
            for key in ("steps", "seconds")
            if key in training
        },
    }
