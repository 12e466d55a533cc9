"""Commands that make synthetic images, and evaluate models on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_hyperspace.core.errors import HyperspaceError
from training.cli.console import emit, progress, spacings
from training.cli.options import (
    DeviceOption,
    JsonOption,
    PartOption,
    SplitOption,
    app,
    part_of_split,
)

_LABELS = "Folder of label maps, or a configuration with `data: {kind: label-maps, …}`."


@app.command(epilog="Example: hyperspace synthesize LABELS pairs -n 10 --preview")
def synthesize(
    labels: Annotated[Path, typer.Argument(help=_LABELS)],
    out: Annotated[Path, typer.Argument(file_okay=False, help="Folder for the pairs.")],
    number: Annotated[int, typer.Option("-n", min=1, help="Number of pairs.")] = 10,
    at: Annotated[
        str | None,
        typer.Option(
            "--spacing",
            help="Spacings in mm, used in turn: '1 2 1,1,5'. Default: random, as in training.",
        ),
    ] = None,
    contrast: Annotated[
        str | None, typer.Option(help="free, t1, t2, pd or flair. Default: random, as in training.")
    ] = None,
    size: Annotated[
        float | None, typer.Option(min=1, help="Edge of the image in mm. Default: the whole head.")
    ] = None,
    again: Annotated[
        list[Path] | None,
        typer.Option(help="Parameters (JSON) of a pair to make again. May be repeated."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Also write a contact sheet (PNG) of all pairs.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random parameters.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Make images from label maps, each with its labels and its random parameters."""
    from training.sampling.synthesize import PairRequest, make_pairs, open_label_maps

    maps = open_label_maps(labels)
    wanted = PairRequest(number, spacings(at) if at else None, contrast, size, seed)
    with progress("synthesize") as show:
        files = make_pairs(maps, out, wanted, again=again or [], preview=preview, show=show)
    emit({"files": [str(file) for file in files]}, "\n".join(map(str, files)), as_json)


@app.command("judge", hidden=True)  # former name
@app.command(
    epilog="Example: hyperspace evaluate-synthetic brain CONFIG --out runs/brain/synthetic"
)
def evaluate_synthetic(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a model file.")],
    labels: Annotated[Path, typer.Argument(help=_LABELS)],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for the report.")],
    at: Annotated[
        str, typer.Option("--spacings", help="Spacings in mm, separated by spaces.")
    ] = "1 2 3 5 5,1,1 1,5,1 1,1,5 6.5,0.7,0.7 0.7,6.5,0.7 0.7,0.7,6.5",
    contrasts: Annotated[
        str, typer.Option(help="Contrasts of the scans, separated by spaces.")
    ] = "t1 t2 pd flair free",
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random parameters.")] = 0,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Store Dice against spacing in the model file.")
    ] = False,
    split: SplitOption = None,
    part: PartOption = "validation",
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure Dice of a model on synthetic scans of whole heads, by structure and contrast."""
    from training.evaluation.synthetic import evaluate_synthetic as measure
    from training.evaluation.synthetic import write_synthetic_scores
    from training.sampling.synthesize import open_label_maps

    maps = open_label_maps(labels)
    names = part_of_split(maps.data, labels, split, part)
    kinds = contrasts.split()
    if not kinds:
        raise HyperspaceError("no contrast is named", field="--contrasts")
    with progress("evaluate-synthetic") as show:
        scores = measure(
            model, maps, names, spacings(at), kinds, seed=seed, device=device, show=show
        )
    files = write_synthetic_scores(scores, out, model if write_card else None)
    emit(scores.to_dict(), scores.to_markdown() + "\n".join(map(str, files)), as_json)
