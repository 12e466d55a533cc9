"""Conversion of released HyperSpace checkpoints (``.pt``) into model files.

A ``.pt`` file is a pickle. It is read in a child process that accepts tensors and plain containers
only (``weights_only=True``) and passes them on as safetensors; the rest of the program never
unpickles anything.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.nets.card import LabelClass, ModelCard
from napari_hyperspace.nets.hypernetwork.reference import factory_from_reference
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import check_model_target, save_model

_TIMEOUT_S = 600
_NESTED = ("model", "state_dict", "model_state_dict")
_COLORS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#bcf60c")


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
    if not source.is_file():
        raise HyperspaceError("there is no such file", where=source)
    check_model_target(target)
    with tempfile.TemporaryDirectory() as folder:
        tensors = Path(folder, "state.safetensors")
        child = subprocess.run(
            [sys.executable, "-m", __spec__.name, str(source), str(tensors)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        if child.returncode != 0:
            reason = child.stderr.strip().splitlines()
            raise HyperspaceError(
                "the checkpoint cannot be read as a dict of tensors",
                where=source,
                found=reason[-1] if reason else f"exit status {child.returncode}",
            )
        state = load_file(tensors)
    try:
        factory = factory_from_reference(state)
    except HyperspaceError as error:
        raise error.replace(where=source) from error
    network = factory.network_config
    card = ModelCard(
        name=Path(target).stem,
        description="Imported from a checkpoint of the released HyperSpace code.",
        labels=tuple(
            LabelClass(value=i, name=f"label {i}", color=_COLORS[(i - 1) % len(_COLORS)])
            for i in range(1, network.out_channels)
        ),
        channel_names=tuple(f"channel {i}" for i in range(network.in_channels))
        if network.in_channels > 1
        else ("image",),
        citation="Joutard, Pietsch, Prevost: HyperSpace, MICCAI 2024",
    )
    return save_model(Model(factory, card), target)


def _tensors(loaded: object) -> dict[str, torch.Tensor]:
    """Return the state dict in the contents of a checkpoint."""
    for key in _NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not loaded:
        raise SystemExit("it contains no state dict")
    for name, tensor in loaded.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise SystemExit(f"{name!r} is a {type(tensor).__name__}, not a tensor")
    return {name: tensor.detach().clone().contiguous() for name, tensor in loaded.items()}


if __name__ == "__main__":
    save_file(_tensors(torch.load(sys.argv[1], map_location="cpu", weights_only=True)), sys.argv[2])
