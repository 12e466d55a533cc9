"""The command that adapts a model to a corrected scan."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_hyperspace.core.errors import HyperspaceError
from training.cli.console import emit, progress, spacing
from training.cli.options import (
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


class WeightsPart(StrEnum):
    """What is fine-tuned."""

    common = "common"
    all = "all"


@app.command(
    epilog="Example: hyperspace adapt hippocampus scan.nii.gz corrected.nii.gz own.safetensors "
    "--spacing 2"
)
def adapt(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a model file.")],
    source: Annotated[Path, typer.Argument(help="Scan: a file or a DICOM folder.")],
    corrected: Annotated[Path, typer.Argument(help="Corrected labels of the scan, on any grid.")],
    out: Annotated[Path, typer.Argument(help="Model file to write: .safetensors.")],
    working_spacing: SpacingOption = None,
    known: Annotated[
        Path | None,
        typer.Option(
            help="Mask on the grid of the labels: only voxels that are not 0 are corrected."
        ),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            help="Corrected slices of the labels, as array axis:indices such as 2:10,14. Repeat it "
            "for further axes. Default: all of them."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Largest number of steps.")] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            help="Time after which no further step starts; 0: no limit, for the same result again."
        ),
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Largest step of a weight.")] = None,
    weights: Annotated[
        WeightsPart,
        typer.Option(
            help="What changes: the part that all spacings share, or all weights, for large "
            "changes of contrast."
        ),
    ] = WeightsPart.common,
    seed: Annotated[int, typer.Option(help="Of patches and changes of intensity.")] = 0,
    name: Annotated[
        str | None, typer.Option(help='Name in the card. Default: the model\'s, and "adapted".')
    ] = None,
    outside: OutsideOption = OutsideRule.refuse,
    device: DeviceOption = None,
    volume: VolumeOption = None,
    series: SeriesOption = None,
    scan_spacing: ScanSpacingOption = None,
    fill: FillOption = None,
    as_json: JsonOption = False,
) -> None:
    """Adapt a model to scans like this one: a few seconds of training on corrected labels."""
    import napari_hyperspace as hs
    from napari_hyperspace.api.corrections.adapt import LEARNING_RATE, SECONDS, STEPS, adapt_steps
    from napari_hyperspace.core.files import resolved
    from napari_hyperspace.core.progress import run_to_end
    from napari_hyperspace.nets.locations import find_model
    from napari_hyperspace.nets.model_file import check_model_target

    check_model_target(out)
    if resolved(out) == resolved(find_model(model)):
        raise HyperspaceError(
            "the target is the model that is adapted", where=out, fix="Choose another name"
        )
    chosen = _slices(slices or [])
    loaded = hs.load_model(model)
    scan = hs.read(
        source,
        volume=volume,
        series=series,
        spacing_mm=spacing(scan_spacing) if scan_spacing else None,
        fill=fill,
    )
    run = adapt_steps(
        loaded,
        scan,
        hs.read(corrected),
        spacing(working_spacing) if working_spacing else None,
        known=None if known is None else hs.read(known),
        slices=chosen or None,
        steps=STEPS if steps is None else steps,
        seconds=SECONDS if seconds is None else seconds or None,
        learning_rate=LEARNING_RATE if learning_rate is None else learning_rate,
        weights=weights.value,
        seed=seed,
        name=name,
        device=device,
        outside=outside.value,
    )
    with progress("adapt") as show:
        result = run_to_end(run, show)
    hs.save_model(result.model, out)
    names = loaded.label_names
    values = {
        "model": str(out),
        "name": result.model.name,
        "spacing_mm": result.spacing_mm,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "voxels": {names.get(value, "background"): n for value, n in result.voxels.items()},
        "dice_before": {names[value]: round(d, 4) for value, d in result.dice_before.items()},
        "dice_after": {names[value]: round(d, 4) for value, d in result.dice_after.items()},
    }
    text = (
        f"{out}: Dice of the corrected voxels {result.mean_dice_before:.3f} → "
        f"{result.mean_dice_after:.3f}, {result.steps} steps, {result.seconds:.1f} s"
    )
    emit(values, text, as_json)


def _slices(texts: list[str]) -> dict[int, list[int]]:
    """Parse ``axis:index,index``."""
    chosen: dict[int, list[int]] = {}
    for text in texts:
        axis, _, indices = text.partition(":")
        try:
            chosen.setdefault(int(axis), []).extend(int(each) for each in indices.split(","))
        except ValueError:
            raise HyperspaceError(
                "slices must be an array axis and indices",
                field="--slices",
                found=text,
                expected="such as 2:10,14",
            ) from None
    return chosen
