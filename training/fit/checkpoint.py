"""Checkpoints: the whole state of a run in one safetensors file with JSON metadata."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from pydantic import JsonValue, NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from napari_hyperspace import __version__
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import replacing
from napari_hyperspace.nets.card import ModelCard
from training.config.errors import first_problem
from training.evaluation.scores import SpacingScore

FORMAT_VERSION = 1
_KEY = "hyperspace-checkpoint"
_CHECKSUM_KEY = "hyperspace-checksum"
_INVALID = (
    SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
_FORMER_PARTS = {"optimiser": "optimizer"}


@dataclass
class TrainingProgress:
    """What a run needs to continue, besides its tensors.

    Parameters
    ----------
    step
        Optimizer steps done.
    best_dice, best_step
        Best mean Dice of a validation so far, and its step.
    stale
        Validations since then.
    seconds
        Training time so far.
    recent
        Losses since the last line of the log.
    scores
        Scores of the best validation, by `SpacingScore.to_dict`.
    """

    step: NonNegativeInt = 0
    best_dice: float = -1.0
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    scores: list[dict[str, JsonValue]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Parameters
    ----------
    progress
        Progress of the run.
    config
        Its configuration as plain data.
    data
        Fingerprint of its data.
    card
        Card of its model as plain data.
    tensors
        State by name: ``factory.…``, ``average.…`` and ``optimizer.…``; see `state_tensors`.
    path
        The file that it was read from, for errors.
    """

    progress: TrainingProgress
    config: dict[str, JsonValue]
    data: str
    card: dict[str, JsonValue]
    tensors: dict[str, Tensor]
    path: Path | None = None

    def model_card(self) -> ModelCard:
        """Return the card of its model.

        Raises
        ------
        HyperspaceError
            If it is not valid.
        """
        try:
            return ModelCard.model_validate(self.card)
        except ValidationError as error:
            raise self._invalid("card", first_problem(error)) from None

    def scores(self) -> list[SpacingScore]:
        """Return the scores of the best validation.

        Raises
        ------
        HyperspaceError
            If they are not valid.
        """
        try:
            scores = [SpacingScore.from_dict(score) for score in self.progress.scores]
            for score in scores:
                score.to_record()
        except ValidationError as error:
            raise self._invalid("scores", first_problem(error)) from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise self._invalid("scores", error) from error
        return scores

    def load_into(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        """Copy some of its tensors into a module.

        Raises
        ------
        HyperspaceError
            If they are not those of the module.
        """
        try:
            module.load_state_dict(dict(tensors))
        except RuntimeError as error:
            raise self._invalid("tensors", " ".join(str(error).split())) from error

    def _invalid(self, field: str, found: object) -> HyperspaceError:
        return HyperspaceError(
            "the content of the checkpoint is not valid",
            where=self.path,
            field=field,
            found=found,
        )

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, without its prefix; empty if there is none."""
        prefix = f"{name}."
        return {
            key.removeprefix(prefix): tensor
            for key, tensor in self.tensors.items()
            if key.startswith(prefix)
        }

    @property
    def weights(self) -> dict[str, Tensor]:
        """State of the factory to validate and export: the moving average if there is one."""
        return self.part("average") or self.part("factory")


def state_tensors(
    factory: nn.Module, average: AveragedModel | None, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return the state of a run as tensors in main memory, for `Checkpoint.tensors`."""
    tensors = {f"factory.{name}": tensor for name, tensor in factory.state_dict().items()}
    if average is not None:
        state = average.module.state_dict()
        tensors |= {f"average.{name}": tensor for name, tensor in state.items()}
    tensors |= {
        f"optimizer.{name}.{key}": value
        for name, parameter in factory.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def restore_optimizer(
    factory: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Restore an optimizer's state.

    Parameters
    ----------
    factory
        The factory whose parameters are optimized.
    optimizer
        The optimizer.
    tensors
        The part ``optimizer`` of a checkpoint.

    Raises
    ------
    HyperspaceError
        If a tensor does not have the shape of its parameter.
    """
    for name, parameter in factory.named_parameters():
        prefix = f"{name}."
        state = {
            key.removeprefix(prefix): value
            for key, value in tensors.items()
            if key.startswith(prefix) and "." not in key.removeprefix(prefix)
        }
        for key, value in state.items():
            if value.ndim and value.shape != parameter.shape:
                raise HyperspaceError(
                    "the state of the optimizer does not fit the network",
                    field=f"optimizer.{name}.{key}",
                    found=tuple(value.shape),
                    expected=tuple(parameter.shape),
                )
        if state:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) for key, value in state.items()
            }


def write_checkpoint(targets: Sequence[Path], checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    targets
        Files to replace, in this order. They are links to the same bytes if the file system has
        hard links.
    checkpoint
        The checkpoint.

    Raises
    ------
    HyperspaceError
        If the disk is full or the folder is read-only; the former files are kept.
    """
    header = {
        "format_version": FORMAT_VERSION,
        "progress": asdict(checkpoint.progress),
        "config": checkpoint.config,
        "data": checkpoint.data,
        "card": checkpoint.card,
    }
    text = json.dumps(header)
    metadata = {_KEY: text, _CHECKSUM_KEY: _checksum(text, checkpoint.tensors)}
    *copies, last = targets
    try:
        with replacing(last) as temporary:
            save_file(checkpoint.tensors, temporary, metadata=metadata)
            for copy in copies:
                with replacing(copy) as link:
                    _link(temporary, link)
    except (HyperspaceError, SafetensorError) as error:
        raise HyperspaceError(
            "the checkpoint cannot be written",
            where=last,
            found=error.found if isinstance(error, HyperspaceError) else error,
            fix="Free disk space and continue with --resume; the former checkpoint is kept",
        ) from error


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Return a digest of the JSON metadata and of names, types, shapes and bytes of the tensors."""
    digest = hashlib.blake2b(text.encode(), digest_size=32)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    HyperspaceError
        If the file does not exist, is not a checkpoint, does not have the content that was
        written, or was written by a newer version. Older files without a checksum are accepted.
    """
    if not os.path.isfile(path):  # false for a name that is too long, too
        raise HyperspaceError("there is no checkpoint", where=path, fix="Train without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            text = metadata[_KEY]
            header = json.loads(text)
            if "\\u" in text:  # half of a surrogate pair cannot be written again
                json.dumps(header, ensure_ascii=False).encode()
            version = header["format_version"]
            if type(version) is not int or version < 1:
                raise ValueError(f"format_version {version!r} is not a positive integer")
            if version > FORMAT_VERSION:
                raise HyperspaceError(
                    "the checkpoint was written by a newer version of this program",
                    where=path,
                    field="format_version",
                    found=f"format {version}",
                    expected=f"format {FORMAT_VERSION}, read by napari-hyperspace {__version__}",
                    fix="Continue with that version, or: pip install --upgrade napari-hyperspace",
                )
            # A damaged name of the checksum must not look like a file without checksum.
            unknown = sorted(metadata.keys() - {_KEY, _CHECKSUM_KEY})
            if unknown:
                raise HyperspaceError("unknown metadata", where=path, found=", ".join(unknown))
            names = list(file.keys())
            tensors = {_present_name(name): file.get_tensor(name) for name in names}
            if metadata.get(_CHECKSUM_KEY) not in (None, _checksum(text, tensors)):
                raise HyperspaceError(
                    "the checkpoint is damaged: it differs from what was written",
                    where=path,
                    field="checksum",
                    fix="Copy the file from a backup",
                )
            progress = TypeAdapter(TrainingProgress).validate_python(
                asdict(TrainingProgress(**header["progress"]))
            )
            config, data, card = header["config"], header["data"], header["card"]
            if not (isinstance(config, dict) and isinstance(data, str) and isinstance(card, dict)):
                raise ValueError("config and card must be mappings, data a text")
            return Checkpoint(progress, config, data, card, tensors, path)
    except ValidationError as error:
        raise HyperspaceError(
            "not a valid checkpoint", where=path, field="progress", found=first_problem(error)
        ) from None
    except _INVALID as error:
        raise HyperspaceError("not a valid checkpoint", where=path, found=error) from error


def _present_name(name: str) -> str:
    part, _, rest = name.partition(".")
    return f"{_FORMER_PARTS.get(part, part)}.{rest}"
