"""Commands that make model files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import emit, spacing
from training.cli.options import JsonOption, WeightsDtype, app


@app.command(epilog="Example: hyperspace fit hippocampus.yaml --set training.steps=2000")
def fit(
    config: Annotated[Path, typer.Argument(help="Configuration of the run, a YAML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key: section.key=value. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder of the run. Default: runs/NAME."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue from the run's last checkpoint.")
    ] = False,
    init: Annotated[
        str | None,
        typer.Option(help="Bundled model or model file to take the initial weights from."),
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Number of devices, with one process each.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model; log, checkpoints, report and model file are written to its folder."""
    from training.config.fit import load_config

    overrides = list(set_ or [])
    if devices is not None:
        overrides.append(f"compute.devices={devices}")
    settings, base = load_config(config, overrides)
    from training.fit.trainer import fit as train

    folder = out or Path("runs") / settings.name
    trained = train(settings, base, folder, resume=resume, init=init)
    if trained is not None:  # only the first of several processes reports
        emit(trained, f"{trained['model']}  mean Dice {trained['mean_dice']:.4f}", as_json)


@app.command(epilog="Example: hyperspace export runs/hippocampus hippocampus.safetensors")
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or one of its checkpoints.")],
    target: Annotated[Path, typer.Argument(help="Model file to write (.safetensors).")],
    dtype: Annotated[
        WeightsDtype, typer.Option(help="Number format of the weights in the file.")
    ] = WeightsDtype.float32,
    tile_voxels: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Largest tile of the model in voxels, along each axis. Default: the training "
            "patch.",
        ),
    ] = None,
    tile_mm: Annotated[
        float | None, typer.Option(min=1, help="Largest tile in mm; both limits may be given.")
    ] = None,
    localization_extent_mm: Annotated[
        str | None,
        typer.Option(
            help="Localize the structures by a coarse pass first; usual size of the box around "
            "them in mm (z,y,x)."
        ),
    ] = None,
    localization_plausible_ml: Annotated[
        str | None,
        typer.Option(
            help="Smallest and largest plausible volume of the structures in ml, such as 600,2000. "
            "If the coarse pass finds another, the whole scan is segmented."
        ),
    ] = None,
    localization_from_top_mm: Annotated[
        float | None,
        typer.Option(
            min=1, help="Before that, look again in this height in mm below the top of the head."
        ),
    ] = None,
    search_extent_mm: Annotated[
        str | None, typer.Option(hidden=True, help="Former name of --localization-extent-mm.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the model file of a run's best checkpoint; the run may still be training."""
    from training.fit.export import export_checkpoint

    extent = localization_extent_mm or search_extent_mm
    written = export_checkpoint(
        run,
        target,
        dtype=dtype.value,
        tile_voxels=tile_voxels,
        tile_mm=tile_mm,
        localization_extent_mm=spacing(extent) if extent else None,
        plausible_ml=_two_volumes(localization_plausible_ml),
        from_top_mm=localization_from_top_mm,
    )
    emit({"model": str(written)}, str(written), as_json)


def _two_volumes(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            "two numbers are wanted, such as 600,2000", param_hint="--localization-plausible-ml"
        ) from error
    if not 0 < low <= high:
        raise typer.BadParameter(
            "the first must be positive and no larger than the second",
            param_hint="--localization-plausible-ml",
        )
    return low, high


@app.command(epilog="Example: hyperspace import-checkpoint checkpoint.pt model.safetensors")
def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="Checkpoint of HyperSpace (.pt).")],
    target: Annotated[Path, typer.Argument(help="Model file to write (.safetensors).")],
    as_json: JsonOption = False,
) -> None:
    """Convert a released HyperSpace checkpoint to a model file."""
    from napari_hyperspace.nets.import_checkpoint import import_checkpoint as convert

    written = convert(source, target)
    emit({"model": str(written)}, str(written), as_json)
