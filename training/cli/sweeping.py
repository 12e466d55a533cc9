"""The command that segments a scan at several working spacings."""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_hyperspace._resources import DEFAULT_MODEL
from napari_hyperspace.core.errors import HyperspaceWarning
from napari_hyperspace.core.format import format_bytes, format_seconds, format_spacing
from training.cli.console import emit, progress, spacing, spacings
from training.cli.options import (
    AllowImplausibleOption,
    DeviceOption,
    FillHolesOption,
    FillOption,
    JsonOption,
    LargestComponentOption,
    ModelOption,
    OutsideOption,
    OutsideRule,
    ScanSpacingOption,
    SeriesOption,
    SmallestComponentOption,
    SplitSidesOption,
    VolumeOption,
    app,
)

if TYPE_CHECKING:
    from napari_hyperspace.api.sweeps.result import SweepPoint, SweepSummary
    from napari_hyperspace.api.sweeps.sweep import Sweep
    from napari_hyperspace.core.spacing import Range


@app.command(
    epilog="Example: hyperspace sweep scan.nii.gz --model hippocampus --range 1,4 --out sweep"
)
def sweep(
    source: Annotated[Path, typer.Argument(help="Scan: a file or a DICOM folder.")],
    out: Annotated[
        Path,
        typer.Option(file_okay=False, help="Folder for tables, figures and the stability map."),
    ],
    model: ModelOption = DEFAULT_MODEL,
    range_mm: Annotated[
        str | None,
        typer.Option("--range", help="Finest and coarsest working spacing in mm, such as 1,5."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Number of log-spaced spacings in the range.")
    ] = 9,
    at: Annotated[
        str | None,
        typer.Option(
            "--spacings",
            help="Instead of a range: spacings in mm, separated by spaces or semicolons: "
            "'1 2 3,1,1'.",
        ),
    ] = None,
    axis: Annotated[
        str | None,
        typer.Option(help="Change the spacing along this axis only: z, y or x. Default: all."),
    ] = None,
    fixed: Annotated[
        str | None,
        typer.Option(
            help="With --axis: spacing z,y,x in mm whose other two numbers are kept. Default: the "
            "scan's own, moved into the trained range."
        ),
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(
            help="Segment these voxels only, in the file's own axis order: 10:60,0:80,20:70."
        ),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            help="Labels on the scan's grid to measure Dice with. Default: the finest spacing."
        ),
    ] = None,
    loss: Annotated[
        float, typer.Option(min=0, max=1, help="Loss of Dice that is accepted at the knee.")
    ] = 0.01,
    labels: Annotated[
        bool, typer.Option("--labels", help="Write the labels of each spacing, too.")
    ] = False,
    outside: OutsideOption = OutsideRule.refuse,
    device: DeviceOption = None,
    volume: VolumeOption = None,
    series: SeriesOption = None,
    scan_spacing: ScanSpacingOption = None,
    fill: FillOption = None,
    largest_component: LargestComponentOption = False,
    smallest_component_mm3: SmallestComponentOption = 0.0,
    fill_holes_mm3: FillHolesOption = 0.0,
    split_sides: SplitSidesOption = False,
    allow_implausible: AllowImplausibleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment a scan at several working spacings, from coarse to fine, and compare the results.

    The folder gets sweep.csv and sweep.json (complete after each spacing), sweep.png and sweep.svg,
    and stability.nii.gz: the share of the spacings that agree on the label of each voxel. What is
    finished is kept if the command is stopped. Post-processing is that of predict, at each spacing.
    """
    import napari_hyperspace as hs
    from napari_hyperspace.api.predict import Reading
    from napari_hyperspace.core.files import create_folder
    from napari_hyperspace.core.volume import PostprocessingOptions
    from napari_hyperspace.inference.options import InferenceOptions

    if (range_mm is None) == (at is None):
        raise typer.BadParameter("give one of --range and --spacings", param_hint="--range")
    ends = None if range_mm is None else _two_numbers(range_mm)
    part = None if box is None else _box(box)
    loaded = hs.load_model(model)
    reading = Reading(volume, series, spacing(scan_spacing) if scan_spacing else None, fill)
    swept = hs.sweep(
        reading.read(source, loaded),
        loaded,
        None if at is None else spacings(at),
        range_mm=ends,
        count=count,
        axis=axis,
        fixed_mm=spacing(fixed) if fixed else None,
        box=part,
        reference=None if reference is None else hs.read(reference),
        postprocessing=PostprocessingOptions(
            largest_component, smallest_component_mm3, fill_holes_mm3, split_sides
        ),
        options=InferenceOptions(
            device=device, outside=outside.value, allow_implausible=allow_implausible
        ),
    )
    create_folder(out)
    typer.echo(
        f"{len(swept.plan.spacings_mm)} spacings, about {format_seconds(swept.seconds)}", err=True
    )
    files: list[Path] = []
    try:
        with progress("sweep") as show:
            for step in swept.steps():
                show(step.fraction, step.message)
                if step.summary is not None:
                    files = _write_tables(step.summary, loss, out)
                    if labels:
                        _write_labels(step.summary.points[-1], out)
    finally:
        if swept.summary.points:
            files += _write_rest(swept, loss, out, loaded.trained_range_mm)
    summary = swept.summary
    values = {**summary.to_dict(loss), "files": [str(path) for path in files]}
    emit(values, _describe(summary, loss), as_json)


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"not two spacings in mm: {text!r}; expected some such as 1,5", param_hint="--range"
        ) from None
    return low, high


def _box(text: str) -> list[slice]:
    parts = [re.fullmatch(r"\s*(\d*):(\d*)\s*", part) for part in text.split(",")]
    found = [part for part in parts if part is not None]
    if len(found) != 3 or len(parts) != 3:
        raise typer.BadParameter(
            f"not a box: {text!r}; expected three ranges of voxels such as 10:60,0:80,20:70",
            param_hint="--box",
        )
    return [slice(*(int(end) if end else None for end in part.groups())) for part in found]


def _write_tables(summary: SweepSummary, loss: float, out: Path) -> list[Path]:
    from napari_hyperspace.core.files import write_text

    table, data = out / "sweep.csv", out / "sweep.json"
    write_text(table, summary.to_csv(loss))
    write_text(data, json.dumps(summary.to_dict(loss), indent=1) + "\n")
    return [table, data]


def _write_labels(point: SweepPoint, out: Path) -> None:
    from napari_hyperspace import write

    steps = format_spacing(point.spacing_mm, collapse=True, unit=False).replace(" × ", "x")
    write(point.labels(), out / f"labels-{steps}mm.nii.gz")


def _write_rest(
    swept: Sweep, loss: float, out: Path, trained: Sequence[Range] | None
) -> list[Path]:
    """Write the stability map, and the figure if matplotlib is installed."""
    from napari_hyperspace import write

    stability = out / "stability.nii.gz"
    write(swept.stability(), stability)
    try:
        from training.cli.sweep_figure import draw_sweep, write_figure
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("matplotlib"):
            raise
        warnings.warn(
            "no figure was drawn: matplotlib is not installed", HyperspaceWarning, stacklevel=2
        )
        return [stability]
    summary = swept.summary
    figure = draw_sweep(summary, loss, _range_along(trained, summary.axis))
    return [stability, *write_figure(figure, out, "sweep")]


def _range_along(trained: Sequence[Range] | None, axis: int | None) -> Range | None:
    """Return the trained range of one axis, or of all axes together; `None` without one."""
    if trained is None:
        return None
    if axis is not None:
        place = axis - (3 - len(trained))
        return trained[place] if place >= 0 else None
    low, high = max(low for low, _ in trained), min(high for _, high in trained)
    return (low, high) if low <= high else None


def _describe(summary: SweepSummary, loss: float) -> str:
    knee = summary.knee(loss)
    rows: list[tuple[Any, ...]] = [("spacing", "Dice", "time", "memory", "")]
    for i, (point, dice) in enumerate(zip(summary.points, summary.mean_dice, strict=True)):
        notes = [*(["knee"] if i == knee else []), *([] if point.trained else ["not trained"])]
        rows.append(
            (
                format_spacing(point.spacing_mm, collapse=True),
                "–" if math.isnan(dice) else f"{dice:.3f}",
                format_seconds(point.seconds),
                format_bytes(point.peak_bytes),
                ", ".join(notes),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
