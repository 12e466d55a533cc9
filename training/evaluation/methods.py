"""The methods that are evaluated: model files, and what to do outside their trained range."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.inference.options import Outside
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model
from training.data.base import DataSet

MAX_RES = " MaxRes"


@dataclass(frozen=True)
class Method:
    """A model and how it is used; a column of the table.

    Parameters
    ----------
    label
        Its name in tables and figures.
    model
        Name of a bundled model, or a model file.
    outside
        What to do outside the trained range. In the terms of the paper, ``"clamp"`` is MaxRes for a
        model that adapts and FS for a model trained at one spacing; ``"extrapolate"`` is FSNR for
        the latter.
    guidance_only
        Of a guided model: the guidance itself, interpolated, without the network.
    guidance_from
        Of a guided model: ``MODEL@SPACING``, what segments the scan at this spacing (mm) for the
        guidance. Empty: guidance is made from the true labels.
    """

    label: str
    model: str
    outside: Outside = "refuse"
    guidance_only: bool = False
    guidance_from: str = ""

    def load(self) -> Model:
        """Load the model."""
        return load_model(self.model)


def name_methods(arguments: Sequence[str], outside: Outside, max_res: bool = False) -> list[Method]:
    """Return the methods that a user named.

    Parameters
    ----------
    arguments
        Bundled names or model files, either with ``LABEL=`` before it. The default label is the
        model's name, or where models share it, the name of the file or of its folder.
    outside
        As in `Method`.
    max_res
        Whether to add each model a second time, clamped to its trained range.

    Raises
    ------
    HyperspaceError
        If two methods have the same label.
    """
    given = [_split(argument) for argument in arguments]
    names = [label or load_model(model).name for label, model in given]
    files = [Path(model) for _, model in given]
    for fallback in ([file.stem for file in files], [f.absolute().parent.name for f in files]):
        shared = {name for name, count in Counter(names).items() if count > 1}
        names = [
            other if name in shared and not label else name
            for name, other, (label, _) in zip(names, fallback, given, strict=True)
        ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise HyperspaceError(
            "two models have the same name",
            found=", ".join(twice),
            fix="Give labels: LABEL=model.safetensors",
        )
    methods = [Method(name, model, outside) for name, (_, model) in zip(names, given, strict=True)]
    if max_res:
        clamped = [replace(m, label=m.label + MAX_RES, outside="clamp") for m in methods]
        methods = [method for pair in zip(methods, clamped, strict=True) for method in pair]
    return methods


def _split(argument: str) -> tuple[str, str]:
    label, sign, model = argument.partition("=")
    if not sign or os.path.exists(argument):
        return "", argument
    return label, model


def check_fit(model: Model, dataset: DataSet) -> None:
    """Check that a model fits a data set.

    Raises
    ------
    HyperspaceError
        If they differ in label values or in the number of channels.
    """
    if sorted(model.label_names) != sorted(dataset.label_names):
        raise HyperspaceError(
            "model and data set have different label values",
            where=model.name,
            found=sorted(model.label_names),
            expected=sorted(dataset.label_names),
        )
    if model.image_channels != len(dataset.channel_names):
        raise HyperspaceError(
            "model and data set have different numbers of channels",
            where=model.name,
            found=model.image_channels,
            expected=len(dataset.channel_names),
        )
