"""Commands that check data sets, and measure models on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import emit, progress, spacing, spacings
from training.cli.options import (
    DeviceOption,
    JsonOption,
    OutsideOption,
    OutsideRule,
    PartOption,
    SplitOption,
    app,
    part_of_split,
)


@app.command(epilog="Example: hyperspace check DATASET --json")
def check(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Folder of a data set, configuration of a run, or YAML file with a section data."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """List all problems of a data set. Fails if one of them is an error."""
    from training.data.check import check as look_through
    from training.data.check import describe

    with progress("check") as show:
        report = look_through(dataset, show=show)
    emit(report.to_dict(), describe(report), as_json)
    if report.count("error"):
        raise typer.Exit(1)


@app.command(
    epilog="Example: hyperspace evaluate hippocampus DATASET --spacings '1 2 1,1,3' --json"
)
def evaluate(
    models: Annotated[
        list[str], typer.Argument(help="Bundled models or model files; LABEL=FILE names one.")
    ],
    dataset: Annotated[
        Path, typer.Argument(help="A data set's folder, or a configuration that names one.")
    ],
    at: Annotated[
        str | None,
        typer.Option(
            "--spacings",
            help="Spacings in mm, separated by spaces or semicolons: '1 2 1,1,3'. "
            "Default, if no other spacings are given: '1 2 3'.",
        ),
    ] = None,
    monte_carlo: Annotated[
        int | None, typer.Option(min=1, help="Number of spacings to sample from each interval.")
    ] = None,
    interval: Annotated[
        list[str] | None,
        typer.Option(help="In mm: 0.5:3.5, or one per axis: 1:5,0.2:1.5,0.2:1.5. May be repeated."),
    ] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(help="from:to:steps, such as 0.5:5:10 or 1,1,1:1,1,6:6. May be repeated."),
    ] = None,
    native: Annotated[
        bool, typer.Option("--native", help="Also measure at each scan's own spacing.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the sampled spacings.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            file_okay=False,
            help="Folder for rows, summary and figures; measurements that it already has are kept.",
        ),
    ] = None,
    rows: Annotated[
        str,
        typer.Option(help="File of rows in that folder: .csv, or .parquet (needs pyarrow)."),
    ] = "rows.csv",
    picture: Annotated[str, typer.Option(help="Case to draw. Default: the first.")] = "",
    max_res: Annotated[
        bool,
        typer.Option("--max-res", help="Add each model clamped to its trained range (MaxRes)."),
    ] = False,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Store Dice against spacing in the model files.")
    ] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Tolerance of surface Dice in mm. Default: 1, or the scan's largest spacing if "
            "larger.",
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Precision that networks run in; auto is fastest, but not bit-reproducible."
        ),
    ] = "fp32",
    form: Annotated[
        str | None, typer.Option(hidden=True, help="Former name of --precision.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Number of processes; times are only comparable with one.")
    ] = 1,
    split: SplitOption = None,
    part: PartOption = "validation",
    outside: OutsideOption = OutsideRule.refuse,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure Dice, surfaces, volumes, time and memory of models at given spacings."""
    from training.data import dataset_at
    from training.evaluation.command import Output, run
    from training.evaluation.measure import Settings
    from training.evaluation.methods import name_methods
    from training.evaluation.plan import make_groups

    fixed = None if at is None else spacings(at)
    groups = make_groups(fixed, monte_carlo, interval or [], segment or [], native, seed)
    data = dataset_at(dataset)
    with progress("evaluate") as show:
        result, text = run(
            name_methods(models, outside.value, max_res),
            data,
            part_of_split(data, dataset, split, part),
            groups,
            Settings(device, form or precision, tolerance),
            Output(out, rows, picture, write_card),
            processes=processes,
            show=show,
        )
    emit(result, text, as_json)


@app.command(
    epilog="Example: hyperspace evaluate-real brain SCANS.yaml --peer MeshNet=meshnet.py --out real"
)
def evaluate_real(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a model file.")],
    scans: Annotated[Path, typer.Argument(help="List of the scans, a YAML file.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder for numbers and page.")],
    peer: Annotated[
        str | None,
        typer.Option(
            help="NAME=SCRIPT: a program to compare with, run as `python SCRIPT IMAGE LABELS`. Its "
            "labels of T1-weighted scans are also what other scans of the visit are compared with."
        ),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Markdown page. Default: in the folder.")
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Store the means in the model file.")
    ] = False,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a model on real scans: accuracy against labels, agreement with another program."""
    from napari_hyperspace import load_model
    from napari_hyperspace.inference.options import InferenceOptions
    from training.evaluation.real.config import load_real_scans
    from training.evaluation.real.measure import measure_real
    from training.evaluation.real.page import summary
    from training.evaluation.real.peer import Peer
    from training.evaluation.real.record import to_dict, write_real_scores

    listed = load_real_scans(scans)
    beside = None if peer is None else Peer.parse(peer, out / "peer")
    options = InferenceOptions(device=device, precision="fp32", outside="clamp")
    with progress("evaluate-real") as show:
        scores = measure_real(
            load_model(model), listed, beside, options, kept=out / "rows", show=show
        )
    files = write_real_scores(scores, out, page, model if write_card else None)
    emit(to_dict(scores), "\n\n".join([*summary(scores), *map(str, files)]), as_json)


@app.command(epilog="Example: hyperspace evaluate-quality model.safetensors DATASET --write-card")
def evaluate_quality(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a model file.")],
    dataset: Annotated[
        Path,
        typer.Argument(help="A data set's folder, or a configuration that names one."),
    ],
    at: Annotated[
        str,
        typer.Option(
            "--spacings", help="Working spacings, or spacings of scans made from label maps, in mm."
        ),
    ] = "1 2 3,1,1",
    contrasts: Annotated[
        str, typer.Option(help="Contrasts of scans made from label maps, separated by spaces.")
    ] = "t1 t2 pd flair",
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the numbers and a table.")
    ] = None,
    write_card: Annotated[
        bool, typer.Option("--write-card", help="Store the figures in the model file.")
    ] = False,
    split: SplitOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random parameters.")] = 0,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure what a card says about good results: plausible figures, and how to estimate Dice.

    Ranges are those of the training cases. How the agreement of two passes is related to Dice is
    measured on the validation cases, also with noise, blur and inverted intensities.
    """
    from napari_hyperspace import load_model
    from training.data import dataset_at
    from training.data.label_maps import LabelMaps
    from training.evaluation.quality.command import QualityRun, write_quality
    from training.evaluation.quality.command import evaluate_quality as measure
    from training.sampling.synthesize import open_label_maps

    data = dataset_at(dataset)
    parts = {part: part_of_split(data, dataset, split, part) for part in ("training", "validation")}
    wanted = QualityRun(
        parts["training"], parts["validation"], spacings(at), contrasts.split(), seed, device
    )
    loaded = load_model(model)
    with progress("evaluate-quality") as show:
        source = open_label_maps(dataset) if isinstance(data, LabelMaps) else data
        scores = measure(loaded, source, wanted, show=show)
    files = write_quality(scores, out, model if write_card else None)
    emit(scores.to_dict(), "\n".join([scores.to_markdown(), *map(str, files)]), as_json)


@app.command(epilog="Example: hyperspace compare comparison.yaml --only AS --only HS")
def compare(
    config: Annotated[
        Path, typer.Argument(help="Configuration of a run with a section comparison, a YAML file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder of the runs. Default: runs/NAME."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Markdown page of the report. Default: the configuration's.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Train only this method. May be repeated.")
    ] = None,
    no_train: Annotated[
        bool, typer.Option("--no-train", help="Train nothing; report on the finished runs.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Number of processes; times are only comparable with one.")
    ] = 1,
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train and evaluate several methods in the same way, and report how they differ.

    Finished runs are kept and unfinished ones are resumed; measurements are not repeated.
    """
    from training.comparison.study import Study

    study = Study(config, out, report)
    if not no_train:
        study.train(only or [])
    with progress("compare") as show:
        summary = study.report(device=device, processes=processes, show=show)
    emit(summary, str(study.page), as_json)


@app.command(epilog="Example: hyperspace cka hippocampus DATASET --against other.safetensors")
def cka(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a model file.")],
    dataset: Annotated[
        Path, typer.Argument(help="Data set: its folder, or a YAML file with a section data.")
    ],
    against: Annotated[
        str | None, typer.Option(help="A second model to compare with, such as another seed.")
    ] = None,
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for the figure and the numbers.")
    ] = Path("cka"),
    start: Annotated[str, typer.Option(help="First spacing in mm.")] = "0.94",
    stop: Annotated[str, typer.Option(help="Last spacing in mm.")] = "2",
    steps: Annotated[int, typer.Option(help="Number of spacings between the two.")] = 10,
    reference: Annotated[
        str | None,
        typer.Option(help="Spacing to compare the others with. Default: 1 mm, or the first."),
    ] = None,
    box: Annotated[float, typer.Option(help="Edge of the box to compare, in mm.")] = 32.0,
    margin: Annotated[
        float, typer.Option(help="Margin around the box that the network sees, in mm.")
    ] = 16.0,
    batch: Annotated[int, typer.Option(help="Largest number of cases in memory.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the order of the cases.")] = 0,
    split: SplitOption = None,
    part: PartOption = "validation",
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare layers by CKA within networks, between spacings, and between two models."""
    from napari_hyperspace import load_model
    from training.cka.report import run_cka
    from training.cka.result import CKASettings
    from training.data import dataset_at

    settings = CKASettings(
        spacing(start),
        spacing(stop),
        steps,
        spacing(reference) if reference else None,
        box_mm=box,
        margin_mm=margin,
        batch=batch,
        seed=seed,
    )
    data = dataset_at(dataset)
    names = part_of_split(data, dataset, split, part)
    models = [load_model(name) for name in (model, against) if name is not None]
    with progress("cka") as show:
        files = run_cka(models, data, names, out, settings, device=device, report=show)
    emit({"files": [str(file) for file in files]}, "\n".join(map(str, files)), as_json)
