"""Commands that apply a model to scans, or describe it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_hyperspace._resources import DEFAULT_MODEL
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.format import format_bytes, format_seconds, format_spacing
from training.cli.console import emit, progress, spacing, table, voxels
from training.cli.options import (
    AllowImplausibleOption,
    BestOption,
    DeviceOption,
    FillHolesOption,
    FillOption,
    GuidanceDigestOption,
    GuidanceOption,
    JsonOption,
    LargestComponentOption,
    ModelOption,
    OutsideOption,
    OutsideRule,
    ScanSpacingOption,
    SeriesOption,
    SmallestComponentOption,
    SpacingOption,
    SplitSidesOption,
    VolumeOption,
    app,
    read_guidance_option,
)


@app.command(epilog="Example: hyperspace predict scan.nii.gz labels.nii.gz --model hippocampus")
def predict(
    source: Annotated[
        Path, typer.Argument(help="Scan: a file, a DICOM folder, or a folder of scans.")
    ],
    target: Annotated[
        Path, typer.Argument(help="File for the labels, or a folder for several scans.")
    ],
    model: ModelOption = DEFAULT_MODEL,
    working_spacing: SpacingOption = None,
    budget_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Use the finest trained spacing within this time per scan."),
    ] = None,
    budget_gb: Annotated[
        float | None,
        typer.Option("--budget-gb", min=0, help="The same for memory, in GB."),
    ] = None,
    model_digest: Annotated[
        str | None,
        typer.Option(help="Digest of the model in the record of a result; another is refused."),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, fp32-channels-last, bf16-channels-last, fp16-channels-last, or auto: the "
            "fastest that keeps the labels."
        ),
    ] = "auto",
    localization_precision: Annotated[
        str | None, typer.Option(help="Precision of the coarse first pass. Default: the same.")
    ] = None,
    best: BestOption = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="With --best: also write NAME_uncertainty beside the labels: 0 where the networks "
            "are sure of them, up to 1.",
        ),
    ] = False,
    guidance: GuidanceOption = None,
    guidance_digest: GuidanceDigestOption = None,
    guidance_precision: Annotated[
        str | None, typer.Option(help="Precision of its coarse pass. Default: the same.")
    ] = None,
    guidance_localization_precision: Annotated[
        str | None,
        typer.Option(help="Precision of the coarse pass's own first pass. Default: the same."),
    ] = None,
    tile_shape: Annotated[
        str | None,
        typer.Option(help="Largest tile in voxels, z,y,x such as 64,64,48. Default: the model's."),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(
            help="Smallest fraction of a tile that it shares with the next one. Default: 0.25."
        ),
    ] = None,
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
    table_file: Annotated[
        Path | None,
        typer.Option(
            "--table", help="CSV file for spacing, time and volumes (ml), one row per scan."
        ),
    ] = None,
    quality: Annotated[
        bool,
        typer.Option(
            "--quality",
            help="Also assess each result: a second, coarser pass, and the figures that the "
            "model's card expects. Takes about half the time again.",
        ),
    ] = False,
    allow_implausible: AllowImplausibleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Segment scans; labels are on each scan's own grid. Continues after a scan that fails."""
    from napari_hyperspace import assess_steps, load_model
    from napari_hyperspace.api.predict import (
        Reading,
        ScanBudget,
        list_scans,
        predict_all,
        table_of,
    )
    from napari_hyperspace.core.volume import PostprocessingOptions
    from napari_hyperspace.inference.options import DEFAULT_OVERLAP, InferenceOptions

    wanted = spacing(working_spacing) if working_spacing else None
    budget = None
    if budget_seconds is not None or budget_gb is not None:
        if wanted is not None:
            raise typer.BadParameter("give either a spacing or a budget", param_hint="--spacing")
        budget = ScanBudget(budget_seconds, None if budget_gb is None else int(budget_gb * 1e9))
    if table_file is not None and table_file.suffix.lower() != ".csv":
        raise typer.BadParameter("its name must end in .csv", param_hint="--table")
    reading = Reading(volume, series, spacing(scan_spacing) if scan_spacing else None, fill)
    pairs = list_scans(source, target)
    options = InferenceOptions(
        device=device,
        outside=outside.value,
        tile_shape=voxels(tile_shape) if tile_shape else None,
        overlap=DEFAULT_OVERLAP if overlap is None else overlap,
        precision=precision,
        allow_implausible=allow_implausible,
        localization_precision=localization_precision,
        best=best,
        uncertainty=uncertainty,
    )
    loaded = load_model(model, digest=model_digest)
    guided_by = read_guidance_option(
        guidance, guidance_digest, guidance_precision, guidance_localization_precision
    )
    with progress("predict") as show:

        def shown(path: Path, fraction: float, message: str) -> None:
            done = [scan for scan, _ in pairs].index(path)
            show((done + fraction) / len(pairs), f"{path.name}: {message}")

        predictions = predict_all(
            pairs,
            loaded,
            spacing_mm=wanted,
            budget=budget,
            options=options,
            reading=reading,
            postprocessing=PostprocessingOptions(
                largest_component, smallest_component_mm3, fill_holes_mm3, split_sides
            ),
            guidance=guided_by,
            assess=assess_steps if quality else None,
            report=shown,
        )
    if table_file is not None:
        write_text(table_file, table_of(predictions))
    done = [p for p in predictions if not p.error]
    failed = [p for p in predictions if p.error]
    lines = [
        "; ".join([p.receipt, f"{p.seconds:.3g} s", *(one["step"] for one in p.postprocessing)])
        + (f"\n{p.quality}" if p.quality is not None else "")
        for p in done
    ]
    if as_json or lines:
        emit([p.to_dict() for p in predictions], "\n".join(lines), as_json)
    for prediction in failed:
        typer.echo(f"failed: {prediction.error}", err=True)
    if failed:
        if len(predictions) > 1:
            typer.echo(f"{len(failed)} of {len(predictions)} scans failed", err=True)
        raise typer.Exit(1)


@app.command(epilog="Example: hyperspace estimate scan.nii.gz --model hippocampus --spacing 2")
def estimate(
    source: Annotated[Path, typer.Argument(help="Scan: a file or a DICOM folder.")],
    model: ModelOption = DEFAULT_MODEL,
    working_spacing: SpacingOption = None,
    best: BestOption = False,
    guidance: GuidanceOption = None,
    outside: OutsideOption = OutsideRule.refuse,
    device: DeviceOption = None,
    volume: VolumeOption = None,
    series: SeriesOption = None,
    scan_spacing: ScanSpacingOption = None,
    fill: FillOption = None,
    quality: Annotated[
        bool, typer.Option("--quality", help="Also estimate the assessment of the result.")
    ] = False,
    allow_implausible: AllowImplausibleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Estimate time and memory of segmenting a scan, without segmenting it."""
    import napari_hyperspace as hs
    from napari_hyperspace.api.assessment.assess import estimate_assessment
    from napari_hyperspace.api.predict import Reading
    from napari_hyperspace.api.scan_files import read_guidance
    from napari_hyperspace.inference.options import InferenceOptions

    loaded = hs.load_model(model)
    reading = Reading(volume, series, spacing(scan_spacing) if scan_spacing else None, fill)
    guided_by = read_guidance_option(guidance)
    volumes, at = (
        reading.read(source, loaded),
        spacing(working_spacing) if working_spacing else None,
    )
    options = InferenceOptions(
        device=device, outside=outside.value, allow_implausible=allow_implausible, best=best
    )
    given = read_guidance(guided_by, source) if isinstance(guided_by, Path) else guided_by
    cost = hs.estimate(volumes, loaded, at, options, guidance=given)
    second = estimate_assessment(volumes, loaded, at, options, guidance=given) if quality else None
    values: dict[str, Any] = {
        "seconds": cost.seconds,
        "peak_bytes": cost.peak_bytes,
        "peak_host_bytes": cost.peak_host_bytes,
        "fits": cost.fits,
        "spacing_mm": list(cost.spacing_mm),
        "working_shape": list(cost.working_shape),
        "n_tiles": cost.n_tiles,
        **({"guidance_seconds": cost.guidance_seconds} if cost.guidance_seconds else {}),
        **({} if second is None else {"quality_seconds": second.seconds}),
    }
    rows = [
        ("time", format_seconds(cost.seconds)),
        ("memory of the device", format_bytes(cost.peak_bytes)),
        ("memory of the host", format_bytes(cost.peak_host_bytes)),
        ("fits", "yes" if cost.fits else "no"),
        ("working spacing", f"{format_spacing(cost.spacing_mm)} (z, y, x)"),
        ("working grid", " × ".join(str(n) for n in cost.working_shape) + " voxels"),
        ("tiles", cost.n_tiles),
    ]
    if cost.guidance_seconds:
        rows.insert(1, ("of it, the coarse pass", format_seconds(cost.guidance_seconds)))
    if second is not None:
        rows.append(("time of the assessment", format_seconds(second.seconds)))
    emit(values, table(rows), as_json)


@app.command(epilog="Example: hyperspace info hippocampus")
def info(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a model file.")],
    as_json: JsonOption = False,
) -> None:
    """Show the card of a model: its structures, trained range, training and accuracy."""
    from napari_hyperspace.nets.model_file import read_card
    from training.cli.card import describe

    header = read_card(model)
    emit(header.model_dump(mode="json"), describe(header), as_json)
