"""Conversion of released HyperSpace checkpoints (``.pt``) into model files.

A ``.pt`` file is a pickle. It is read by a child process (`napari_hyperspace.nets.unpickle`), which
is isolated, has limited memory and time, accepts tensors and plain containers only
(``weights_only=True``) and passes them on as safetensors. The rest of the program never unpickles
anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.structures import LABEL_COLORS
from napari_hyperspace.nets import unpickle
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.hypernetwork.reference import factory_from_reference
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import check_model_target, save_model

_TIMEOUT_S = 600


def import_checkpoint(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Convert a released HyperSpace checkpoint into a model file.

    Parameters
    ----------
    source
        A state dict saved by ``torch.save``, by itself or under the key ``"model"``.
    target
        The model file to write. Its card has numbered labels and no trained range, which the
        checkpoint does not contain.

    Raises
    ------
    HyperspaceError
        If the file cannot be read, has more than tensors, or is not a HyperSpace hypernetwork.
    """
    source = Path(source)
    if not os.path.isfile(source):  # false for a name that is too long, too
        raise HyperspaceError("there is no such file", where=source)
    check_model_target(target)
    state = _unpickle(source)
    try:
        factory = factory_from_reference(state)
    except HyperspaceError as error:
        raise error.replace(where=source) from error
    network = factory.network_config
    card = ModelCard(
        name=Path(target).stem,
        description="Imported from a checkpoint of the released HyperSpace code.",
        labels=tuple(
            LabelClass(value=i, name=f"label {i}", color=LABEL_COLORS[(i - 1) % len(LABEL_COLORS)])
            for i in range(1, network.out_channels)
        ),
        channel_names=tuple(f"channel {i}" for i in range(network.in_channels))
        if network.in_channels > 1
        else ("image",),
        citation="Joutard, Pietsch, Prevost: HyperSpace, MICCAI 2024",
    )
    return save_model(Model(factory, card), target)


def _unpickle(source: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint, read by an isolated process."""
    # -I: neither the working folder nor the environment decides what is imported. The folders of
    # this process are passed on, except the working folder.
    here = Path.cwd()
    folders = [each for each in sys.path if os.path.isabs(each) and Path(each).resolve() != here]
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            tensors = Path(folder, "state.safetensors")
            script = [sys.executable, "-I", "-X", "utf8", os.path.abspath(unpickle.__file__)]
            child = subprocess.run(
                [*script, str(source.absolute()), str(tensors), *folders],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT_S,
                check=False,
                cwd=folder,
            )
            if child.returncode != 0:
                reason = child.stderr.strip().splitlines()
                raise HyperspaceError(
                    "the checkpoint cannot be read as a dict of tensors",
                    where=source,
                    found=reason[-1] if reason else f"exit status {child.returncode}",
                )
            return load_file(tensors)
    except subprocess.TimeoutExpired as error:
        raise HyperspaceError(
            "reading the checkpoint takes too long", where=source, found=f"{_TIMEOUT_S} s"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise HyperspaceError(
            "the checkpoint cannot be converted",
            where=source,
            found=str(error),
            fix="Free some space in the folder for temporary files",
        ) from error
