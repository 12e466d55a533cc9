"""The command that refines rough labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_hyperspace.core.format import format_seconds
from training.cli.console import emit, progress, spacing
from training.cli.options import (
    AllowImplausibleOption,
    DeviceOption,
    FillOption,
    JsonOption,
    OutsideOption,
    OutsideRule,
    ScanSpacingOption,
    SeriesOption,
    SpacingOption,
    VolumeOption,
    app,
)


@app.command(epilog="Example: hyperspace refine scan.nii.gz rough.nii.gz fine.nii.gz --model M")
def refine(
    source: Annotated[Path, typer.Argument(help="Scan: a file or a DICOM folder.")],
    coarse: Annotated[
        Path, typer.Argument(help="Rough labels, on any grid: coarse, a part, or painted slices.")
    ],
    target: Annotated[Path, typer.Argument(help="File for the refined labels.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Class-conditional model: a name or a file. Default: the bundled one.",
        ),
    ] = None,
    working_spacing: SpacingOption = None,
    include: Annotated[
        Path | None,
        typer.Option(help="Strokes: voxels with a value belong to the structure of this value."),
    ] = None,
    exclude: Annotated[
        Path | None,
        typer.Option(help="Strokes: voxels with a value do not belong to its structure."),
    ] = None,
    context_mm: Annotated[
        float | None,
        typer.Option(min=0, help="How much around the labels is segmented, in mm. Default: 16."),
    ] = None,
    outside: OutsideOption = OutsideRule.refuse,
    device: DeviceOption = None,
    volume: VolumeOption = None,
    series: SeriesOption = None,
    scan_spacing: ScanSpacingOption = None,
    fill: FillOption = None,
    allow_implausible: AllowImplausibleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Refine rough labels, one structure after the other; the result is on the scan's own grid."""
    import napari_hyperspace as hs
    from napari_hyperspace.api.corrections.refine import CONTEXT_MM, DEFAULT_MODEL, refine_steps
    from napari_hyperspace.core.progress import run_to_end
    from napari_hyperspace.inference.options import InferenceOptions
    from napari_hyperspace.io.api import check_target

    check_target(target, source)
    for given in (coarse, include, exclude):
        if given is not None:
            check_target(target, given)
    loaded = hs.load_model(DEFAULT_MODEL if model is None else model)
    scan = hs.read(
        source,
        volume=volume,
        series=series,
        spacing_mm=spacing(scan_spacing) if scan_spacing else None,
        fill=fill,
    )
    steps = refine_steps(
        scan,
        hs.read(coarse),
        loaded,
        spacing(working_spacing) if working_spacing else None,
        InferenceOptions(device=device, outside=outside.value, allow_implausible=allow_implausible),
        include=None if include is None else hs.read(include),
        exclude=None if exclude is None else hs.read(exclude),
        context_mm=CONTEXT_MM if context_mm is None else context_mm,
    )
    with progress("refine") as show:
        result = run_to_end(steps, show)
    receipt = hs.write(result.labels, target)
    values = {
        "labels": str(target),
        "receipt": str(receipt),
        "structures": sorted(result.boxes),
        "seconds": round(result.seconds, 3),
    }
    emit(values, f"{receipt}; {format_seconds(result.seconds)}", as_json)
