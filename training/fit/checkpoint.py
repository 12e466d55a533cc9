"""Checkpoints: the whole state of a run in one safetensors file with JSON metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from napari_hyperspace.core.errors import HyperspaceError

FORMAT_VERSION = 1
_KEY = "hyperspace-checkpoint"


@dataclass
class TrainingProgress:
    """How far a run is; all that it needs besides tensors to go on.

    Parameters
    ----------
    step
        Optimizer steps done.
    best_dice, best_step
        Best mean Dice of a validation so far, and its step.
    stale
        Validations since then.
    seconds
        Time spent so far.
    recent
        Losses since the last line of the log.
    scores
        Plain form of the scores of the best validation.
    """

    step: int = 0
    best_dice: float = -1.0
    best_step: int = 0
    stale: int = 0
    seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    scores: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read.

    Parameters
    ----------
    progress
        How far the run was.
    config
        Its configuration as plain data.
    data
        Fingerprint of its data.
    card
        Card of its model as plain data.
    tensors
        State by name: ``factory.…``, ``average.…`` and ``optimizer.…``.
    """

    progress: TrainingProgress
    config: dict[str, Any]
    data: str
    card: dict[str, Any]
    tensors: dict[str, Tensor]

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
        """The factory's state to use: the moving average where there is one."""
        return self.part("average") or self.part("factory")


def write_checkpoint(
    targets: Sequence[Path],
    *,
    progress: TrainingProgress,
    config: dict[str, Any],
    data: str,
    card: dict[str, Any],
    factory: nn.Module,
    average: nn.Module | None,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write a checkpoint whole or not at all: temporary file, fsync, rename.

    Parameters
    ----------
    targets
        Files to replace with it, in this order; later ones are links to the same bytes where the
        file system can.
    progress, config, data, card, factory, average, optimizer
        The state.

    Raises
    ------
    HyperspaceError
        If the disk is full or the folder read-only; the previous files are kept.
    """
    tensors = {f"factory.{name}": tensor for name, tensor in factory.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in average.state_dict().items()}
    tensors |= {f"optimizer.{name}": t for name, t in optimizer_tensors(factory, optimizer).items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {
        "format_version": FORMAT_VERSION,
        "progress": asdict(progress),
        "config": config,
        "data": data,
        "card": card,
    }
    folder = targets[0].parent
    temporary = folder / ".checkpoint.part"
    link = folder / ".checkpoint.link"
    try:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(header)})
        _sync(temporary)
        for target in targets[:-1]:
            link.unlink(missing_ok=True)
            try:
                os.link(temporary, link)
            except OSError:  # no hard links here
                save_file(tensors, link, metadata={_KEY: json.dumps(header)})
                _sync(link)
            os.replace(link, target)
        os.replace(temporary, targets[-1])
        _sync_folder(folder)
    except (OSError, SafetensorError) as error:
        raise HyperspaceError(
            f"the checkpoint cannot be written: {error}",
            where=targets[-1],
            fix="Make room on the disk and go on with --resume; the previous checkpoint is kept",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
        link.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    HyperspaceError
        If there is none, it is not one, or a newer version wrote it.
    """
    if not path.is_file():
        raise HyperspaceError("there is no checkpoint", where=path, fix="Train without --resume")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            version = header["format_version"]
            if version > FORMAT_VERSION:
                raise HyperspaceError(
                    "a newer version of this program wrote this checkpoint",
                    where=path,
                    field="format_version",
                    found=version,
                    expected=f"at most {FORMAT_VERSION}",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            progress = TrainingProgress(**header["progress"])
            return Checkpoint(progress, header["config"], header["data"], header["card"], tensors)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise HyperspaceError("this is not a sound checkpoint", where=path, found=error) from error


def optimizer_tensors(factory: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named after the factory's parameters."""
    return {
        f"{name}.{key}": value
        for name, parameter in factory.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    factory: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` returned."""
    for name, parameter in factory.named_parameters():
        prefix = f"{name}."
        state = {
            key.removeprefix(prefix): value
            for key, value in tensors.items()
            if key.startswith(prefix) and "." not in key.removeprefix(prefix)
        }
        if state:
            optimizer.state[parameter] = {
                key: value.to(parameter.device) for key, value in state.items()
            }
