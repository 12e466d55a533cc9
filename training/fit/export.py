"""Export a checkpoint to a model file with its card."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import JsonValue

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import resolved
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.nets.base.quality import QualityConfig
from napari_hyperspace.nets.build import build_factory
from napari_hyperspace.nets.card import LabelClass, LocalizationConfig, ModelCard
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import check_model_target, save_model
from training.config.data import DEFAULT_COLORS
from training.config.fit import FitConfig, parse_config
from training.config.head import ClassConditionalHead
from training.data.base import DataSet
from training.evaluation.scores import SpacingScore
from training.fit.checkpoint import Checkpoint, read_checkpoint
from training.fit.run_folder import RunFolder

SOURCE = Path(__file__).parents[2]  # the root, if this is a checkout


def make_card(
    config: FitConfig,
    dataset: DataSet,
    started_from: Mapping[str, JsonValue] | None = None,
    quality: QualityConfig | None = None,
) -> ModelCard:
    """Return the card of a model that is about to be trained.

    Parameters
    ----------
    config
        Configuration of the run.
    dataset
        Its data set.
    started_from
        The model that the run was started from; see `training.fit.preflight.lineage`.
    quality
        Figures of the training labels, by the names of `label_names`; `None`: none.
    """
    labels = tuple(
        LabelClass(
            value=value,
            name=label_name(config, dataset, value),
            color=config.data.colors.get(value, DEFAULT_COLORS[i % len(DEFAULT_COLORS)]),
            paired=value in config.data.paired,
        )
        for i, value in enumerate(sorted(dataset.label_names))
    )
    channel_names = dataset.channel_names
    if isinstance(config.head, ClassConditionalHead):
        labels = (LabelClass(value=1, name="structure", color=DEFAULT_COLORS[0]),)
        channel_names = (*channel_names, "rough mask", "voxels inside", "voxels outside")
    if config.guidance is not None:
        guided = ("background", *(label.name for label in labels))
        channel_names = (*channel_names, *(f"guidance: {name}" for name in guided))
    return ModelCard(
        name=config.name,
        description=config.card.description,
        labels=labels,
        channel_names=channel_names,
        head="class-conditional" if isinstance(config.head, ClassConditionalHead) else "labels",
        guidance=None if config.guidance is None else config.guidance.channels,
        normalization=config.data.normalization,
        trained_range_mm=config.spacing.range_mm,
        # Instance norms depend on the whole tile: larger tiles than in training change the result.
        tile_shape=config.training.patch_shape,
        tile_mm=config.training.patch_mm,
        license=config.card.license or dataset.license,
        citation=config.card.citation,
        quality=quality,
        training={
            "seed": config.seed,
            "data": dataset.name,
            "machine": _machine(config),
            **({"commit": commit} if (commit := commit_of(SOURCE)) else {}),
            **({"started_from": dict(started_from)} if started_from else {}),
        },
    )


def label_name(config: FitConfig, dataset: DataSet, value: int) -> str:
    """Return the name of a label in the card."""
    return config.data.names.get(value, dataset.label_names[value])


def trained_card(checkpoint: Checkpoint, scores: Sequence[SpacingScore]) -> ModelCard:
    """Return the card of a checkpoint's model, with its training and its accuracy.

    Parameters
    ----------
    checkpoint
        The checkpoint.
    scores
        Measured Dice at each spacing.
    """
    card = checkpoint.model_card()
    progress = checkpoint.progress
    training = {
        **card.training,
        "data_fingerprint": checkpoint.data,
        "steps": progress.step,
        "seconds": round(progress.seconds, 1),
        "validation_dice": progress.best_dice,
        "configuration": checkpoint.config,
    }
    records = tuple(score.to_record() for score in scores)
    return card.model_copy(update={"training": training, "dice": records})


def _machine(config: FitConfig) -> str:
    """Describe the kind of machine; nothing identifies the machine itself."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), cpu)
    parts = [f"{cpu}, {os.cpu_count()} cores"]
    if config.compute.device in ("auto", "cuda") and torch.cuda.is_available():
        parts.append(f"{config.compute.devices} × {torch.cuda.get_device_name()}")
    parts.append(f"{config.compute.precision}, torch {torch.__version__}")
    return ", ".join(parts)


def commit_of(folder: Path) -> str | None:
    """Return the commit of a git checkout, or `None` if the folder is not the root of one."""
    if not (folder / ".git").exists():
        return None
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip() or None


def build_model(checkpoint: Checkpoint, card: ModelCard) -> Model:
    """Return the model of a checkpoint."""
    config = parse_config(checkpoint.config, where=checkpoint.path)
    try:
        factory = build_factory(config.network, config.factory)
    except ValueError as error:  # keys that are valid, each by itself
        raise HyperspaceError(str(error), where=checkpoint.path, field="factory") from error
    checkpoint.load_into(factory, checkpoint.weights)
    try:
        return Model(factory, card)
    except HyperspaceError as error:
        raise error.replace(where=checkpoint.path) from error


def export_checkpoint(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    tile_voxels: int | None = None,
    tile_mm: float | None = None,
    localization_extent_mm: Triple | None = None,
    plausible_ml: tuple[float, float] | None = None,
    from_top_mm: float | None = None,
) -> Path:
    """Write a model file from a run or one of its checkpoints; the run may still be training.

    The card contains the Dice of the checkpoint's best validation. The model file that a run writes
    at its end contains the Dice of its report instead.

    Parameters
    ----------
    source
        Folder of a run (its best checkpoint is used), or a checkpoint.
    target
        The model file to write.
    dtype
        ``"float32"`` or ``"float16"``.
    tile_voxels, tile_mm
        Largest tile to run the model in, along each axis; if both are given, both apply. `None` for
        both: the training patch. A larger tile suits a network that was trained on whole scans at
        coarse spacings.
    localization_extent_mm
        The model localizes the structures in a coarse first pass and then segments only the box
        around them: the usual size of that box in mm (z, y, x). `None`: whole scans are segmented.
    plausible_ml, from_top_mm
        How the result of that pass is checked and looked for again; see `Localization`.

    Raises
    ------
    HyperspaceError
        If there is no checkpoint, or the target is a file of the run or one that is not a model
        file.
    """
    path = Path(source)
    is_run = os.path.isdir(path)  # false for a name that is too long, too
    run = RunFolder(path if is_run else path.parent.parent)
    if resolved(target) == resolved(path) or run.owns(target):
        raise HyperspaceError(
            "the target is a file of the run itself",
            where=target,
            fix="Choose another name, or a folder outside of the run",
        )
    check_model_target(target)
    if is_run:
        path = run.best if run.best.exists() else run.last
    checkpoint = read_checkpoint(path)
    card = trained_card(checkpoint, checkpoint.scores())
    if tile_voxels is not None or tile_mm is not None:
        shape = None if tile_voxels is None else (tile_voxels,) * 3
        size = None if tile_mm is None else (tile_mm,) * 3
        card = card.model_copy(update={"tile_shape": shape, "tile_mm": size})
    if localization_extent_mm is not None:
        localization = LocalizationConfig(
            extent_mm=localization_extent_mm, plausible_ml=plausible_ml, from_top_mm=from_top_mm
        )
        card = card.model_copy(update={"localization": localization})
    return save_model(build_model(checkpoint, card), target, dtype=dtype)
