"""The program, and the options that several commands share."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_hyperspace.core.errors import HyperspaceError
from training.cli.console import Commands, spacing

if TYPE_CHECKING:
    from napari_hyperspace.api.guidance import Guidance
    from training.data.base import DataSet

app = typer.Typer(
    cls=Commands,
    help="Train, apply and evaluate segmentation models that adapt to the voxel spacing.",
    epilog="Exit status: 0 success; 1 error, or a scan that failed, or errors in a data set; "
    "2 wrong usage; 130 stopped by Ctrl-C; 143 stopped by SIGTERM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class OutsideRule(StrEnum):
    """What to do with a spacing outside the trained range."""

    refuse = "refuse"
    clamp = "clamp"
    extrapolate = "extrapolate"


class WeightsDtype(StrEnum):
    """Number format of a model file's weights."""

    float32 = "float32"
    float16 = "float16"


ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Name of an installed model, or a model file.")
]
SpacingOption = Annotated[
    str | None,
    typer.Option(
        "--spacing", help="Working spacing in mm: 2, or z,y,x such as 1,1,3. Default: the scan's."
    ),
]
OutsideOption = Annotated[
    OutsideRule,
    typer.Option(
        help="What to do with a spacing outside the trained range: refuse it, clamp it to the "
        "nearest trained spacing, or extrapolate."
    ),
]
AllowImplausibleOption = Annotated[
    bool,
    typer.Option(
        "--allow-implausible",
        help="Accept voxel spacings and sizes that no scanner makes, instead of refusing them.",
    ),
]
BestOption = Annotated[
    bool,
    typer.Option(
        "--best",
        help="Average networks for four neighboring spacings, each also with the mirrored image: "
        "more accurate, about eight times as slow.",
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps. Default: the best.")
]
VolumeOption = Annotated[
    int | None, typer.Option(help="Index of the volume in a file with more than three axes.")
]
SeriesOption = Annotated[
    str | None, typer.Option(help="UID of the DICOM series, if a folder has several.")
]
ScanSpacingOption = Annotated[
    str | None,
    typer.Option(
        help="Voxel spacing of the scan in mm, in the file's own axis order, if that in the file "
        "is missing or wrong."
    ),
]
LargestComponentOption = Annotated[
    bool,
    typer.Option(
        "--largest-component",
        help="Keep the largest connected component of each structure; of a structure that exists "
        "on both sides of the body under one label, keep one per side.",
    ),
]
SmallestComponentOption = Annotated[
    float, typer.Option(min=0, help="Remove connected components below this volume, in mm³.")
]
FillHolesOption = Annotated[
    float, typer.Option(min=0, help="Fill holes up to this volume, in mm³. Default: none.")
]
SplitSidesOption = Annotated[
    bool,
    typer.Option(
        "--split-sides",
        help="Divide structures that have one label for both sides of the body into left (1000 + "
        "the label's value) and right (2000 + it), at the mid-sagittal plane of the labels.",
    ),
]
FillOption = Annotated[
    float | None, typer.Option(help="Value for voxels that are NaN or infinite.")
]
GuidanceOption = Annotated[
    str | None,
    typer.Option(
        "--guidance",
        help="For a guided model: FILE of labels on any grid (or a folder with one per scan, named "
        "as its result), or a coarse pass, MODEL@SPACING such as brain@3 or brain@3,3,4.",
    ),
]
GuidanceDigestOption = Annotated[
    str | None,
    typer.Option(help="Digest of the coarse pass's model in the record of a result."),
]
SplitOption = Annotated[
    Path | None,
    typer.Option(
        help="Split file (JSON). Default: the configuration's, or the one that fit makes from it; "
        "for a data set without configuration, all labeled cases."
    ),
]
PartOption = Annotated[str, typer.Option(help="Part of the split: training or validation.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def read_guidance_option(
    text: str | None,
    digest: str | None = None,
    precision: str | None = None,
    localization_precision: str | None = None,
) -> Guidance | Path | None:
    """Return the guidance that an option names: a coarse pass, or a file or folder of labels."""
    if text is None:
        return None
    if os.path.exists(text):
        return Path(text)
    name, at, spacing_text = text.rpartition("@")
    if not at and not text.endswith(".safetensors"):
        raise HyperspaceError(
            "no such file of labels",
            where=text,
            field="--guidance",
            expected="a file or folder, or MODEL@SPACING such as brain@3",
        )
    from napari_hyperspace import load_model
    from napari_hyperspace.api.guidance import Guidance

    model = load_model(name if at else text, digest=digest)
    steps = spacing(spacing_text) if at else None
    return Guidance(model, steps, precision, localization_precision)


def part_of_split(data: DataSet, source: Path, split: Path | None, part: str) -> list[str]:
    """Return the cases of a part of a split: the given one, else the configuration's, else all.

    If the configuration of a run names no split file, its split is the one that `fit` makes.
    """
    from training.config.base import read_yaml
    from training.config.fit import load_config
    from training.config.paths import resolve_path
    from training.data.splits import read_split
    from training.fit.preflight import choose_split

    if part not in ("training", "validation"):
        raise HyperspaceError(
            "unknown part of a split",
            field="--part",
            found=part,
            expected="training, validation",
        )
    if split is not None:
        return list(getattr(read_split(split), part))
    if os.path.isfile(source) and "network" in read_yaml(source):
        return list(getattr(choose_split(*load_config(source), data), part))
    if data.section.split is not None:
        named = resolve_path(data.section.split, source.absolute().parent, field="data.split")
        return list(getattr(read_split(named), part))
    return [case.name for case in data.cases()]
