"""What is evaluated: model files, and what to do outside of their trained range."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.inference.options import Outside
from napari_hyperspace.nets.model import Model
from napari_hyperspace.nets.model_file import load_model
from training.data.base import DataSet

MAX_RES = " MaxRes"


@dataclass(frozen=True)
class Method:
    """A model as it is used; a column of the table.

    Parameters
    ----------
    label
        What tables and figures call it.
    model
        Name of a bundled model, or a model file.
    outside
        What to do outside of the trained range. ``"clamp"`` makes MaxRes of a model that adapts,
        and FS of a model whose trained range is one spacing; ``"extrapolate"`` makes FSNR of the
        latter.
    """

    label: str
    model: str
    outside: Outside = "refuse"

    def load(self) -> Model:
        """Load the model."""
        return load_model(self.model)


def name_methods(arguments: Sequence[str], outside: Outside, max_res: bool = False) -> list[Method]:
    """Turn what a user names into methods.

    Parameters
    ----------
    arguments
        Bundled names, model files, or either with ``LABEL=`` before it. Without a label: the
        model's name, or where models share it, that of the file or of its folder.
    outside
        As in `Method`.
    max_res
        Whether to add each model a second time, clamped to its trained range.
    """
    given = [_split(argument) for argument in arguments]
    names = [label or load_model(model).name for label, model in given]
    for shorter in (lambda path: path.stem, lambda path: path.absolute().parent.name):
        shared = {name for name, count in Counter(names).items() if count > 1}
        names = [
            shorter(Path(model)) if name in shared and not label else name
            for name, (label, model) in zip(names, given, strict=True)
        ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise HyperspaceError(
            "two models have the same name",
            found=", ".join(twice),
            fix="Name them: LABEL=model.safetensors",
        )
    methods = [Method(name, model, outside) for name, (_, model) in zip(names, given, strict=True)]
    if max_res:
        clamped = [replace(m, label=m.label + MAX_RES, outside="clamp") for m in methods]
        methods = [method for pair in zip(methods, clamped, strict=True) for method in pair]
    return methods


def _split(argument: str) -> tuple[str, str]:
    label, sign, model = argument.partition("=")
    if not sign or Path(argument).exists():
        return "", argument
    return label, model


def check_fit(model: Model, dataset: DataSet) -> None:
    """Refuse a model that does not fit a data set.

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
    if model.in_channels != len(dataset.channel_names):
        raise HyperspaceError(
            "model and data set have different numbers of channels",
            where=model.name,
            found=model.in_channels,
            expected=len(dataset.channel_names),
        )


def same_spacing(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether a spacing is the other one, but for rounding."""
    return all(abs(x - y) <= 1e-6 * y for x, y in zip(a, b, strict=True))


def in_range(model: Model, spacing_mm: Triple) -> bool:
    """Whether a spacing lies in a model's trained range; true where that is unknown."""
    ranges = model.trained_range_mm
    return ranges is None or within(ranges, spacing_mm)


def within(ranges: Sequence[tuple[float, float]], spacing_mm: Triple) -> bool:
    """Whether a spacing lies in a trained range (mm; axes in canonical order), but for rounding."""
    steps = spacing_mm[3 - len(ranges) :]
    return all(
        low * (1 - 1e-3) <= step <= high * (1 + 1e-3)
        for step, (low, high) in zip(steps, ranges, strict=True)
    )
