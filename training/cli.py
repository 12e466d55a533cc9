"""The command line: ``python -m training``. Each command loads the heavy modules it needs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_hyperspace.core.errors import HyperspaceError
from training.console import Commands, emit, progress, spacing, spacings, table

if TYPE_CHECKING:
    from training.data.base import DataSet

_ABOUT = "Train, apply and evaluate segmentation models that adapt to the voxel spacing."

app = typer.Typer(
    cls=Commands,
    help=_ABOUT,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class OutsideRule(StrEnum):
    """What to do with a spacing outside of the trained range."""

    refuse = "refuse"
    clamp = "clamp"
    extrapolate = "extrapolate"


class Precision(StrEnum):
    """Number format of a model file's weights."""

    float32 = "float32"
    float16 = "float16"


ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Name of a bundled model, or a model file.")
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
        help="For a spacing outside of the trained range: refuse it, clamp it to the nearest "
        "trained one, or extrapolate."
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps. Default: the best.")
]
VolumeOption = Annotated[
    int | None, typer.Option(help="Which volume of a file with more than three axes.")
]
SeriesOption = Annotated[
    str | None, typer.Option(help="UID of the DICOM series, where a folder holds several.")
]
ScanSpacingOption = Annotated[
    str | None,
    typer.Option(
        help="Voxel spacing of the scan in mm, in its file's own axis order, where the file's is "
        "missing or wrong."
    ),
]
FillOption = Annotated[
    float | None, typer.Option(help="Value for voxels that are NaN or infinite.")
]
SplitOption = Annotated[
    Path | None,
    typer.Option(help="Split file (JSON). Default: the configuration's, else all labelled cases."),
]
PartOption = Annotated[str, typer.Option(help="Which part of the split.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.callback()
def _program() -> None:
    pass


@app.command(epilog="Example: python -m training fit hippocampus.yaml --set training.steps=2000")
def fit(
    config: Annotated[Path, typer.Argument(help="Configuration of the run, a YAML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key: section.key=value. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run. Default: runs/NAME.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")
    ] = False,
    init: Annotated[
        str | None, typer.Option(help="Bundled model or model file to start the weights from.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Number of devices, a process each.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a model. Its folder gets log, checkpoints, report and the model file."""
    from training.config import load_config

    overrides = list(set_ or [])
    if devices is not None:
        overrides.append(f"compute.devices={devices}")
    settings, base = load_config(config, overrides)
    from training.fit import fit as train

    folder = out or Path("runs") / settings.name
    trained = train(settings, base, folder, resume=resume, init=init)
    if trained is not None:  # of several processes, the first one answers
        emit(trained, f"{trained['model']}  mean Dice {trained['mean_dice']:.4f}", as_json)


@app.command(
    epilog="Example: python -m training predict scan.nii.gz labels.nii.gz --model hippocampus"
)
def predict(
    source: Annotated[
        Path, typer.Argument(help="Scan: a file, a DICOM folder, or a folder of scans.")
    ],
    target: Annotated[
        Path, typer.Argument(help="File for the labels; a folder for several scans.")
    ],
    model: ModelOption = "hippocampus",
    working_spacing: SpacingOption = None,
    outside: OutsideOption = OutsideRule.refuse,
    device: DeviceOption = None,
    volume: VolumeOption = None,
    series: SeriesOption = None,
    scan_spacing: ScanSpacingOption = None,
    fill: FillOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment scans; the labels lie on each scan's own grid. Goes on after a bad scan."""
    from napari_hyperspace import load_model
    from training.predict import Reading, list_scans, predict_all

    wanted = spacing(working_spacing) if working_spacing else None
    reading = Reading(volume, series, spacing(scan_spacing) if scan_spacing else None, fill)
    pairs = list_scans(source, target)
    loaded = load_model(model)
    with progress("predict") as show:

        def shown(path: Path, fraction: float, message: str) -> None:
            done = [scan for scan, _ in pairs].index(path)
            show((done + fraction) / len(pairs), f"{path.name}: {message}")

        predictions = predict_all(
            pairs,
            loaded,
            spacing_mm=wanted,
            outside=outside.value,
            device=device,
            reading=reading,
            show=shown,
        )
    done = [p for p in predictions if not p.error]
    failed = [p for p in predictions if p.error]
    lines = [f"{p.receipt}; {p.seconds:.3g} s" for p in done]
    if as_json or lines:
        emit([p.to_dict() for p in predictions], "\n".join(lines), as_json)
    for prediction in failed:
        typer.echo(f"failed: {prediction.error}", err=True)
    if failed:
        if len(predictions) > 1:
            typer.echo(f"{len(failed)} of {len(predictions)} scans failed", err=True)
        raise typer.Exit(1)


@app.command(
    epilog="Example: python -m training estimate scan.nii.gz --model hippocampus --spacing 2"
)
def estimate(
    source: Annotated[Path, typer.Argument(help="Scan: a file or a DICOM folder.")],
    model: ModelOption = "hippocampus",
    working_spacing: SpacingOption = None,
    outside: OutsideOption = OutsideRule.refuse,
    device: DeviceOption = None,
    volume: VolumeOption = None,
    series: SeriesOption = None,
    scan_spacing: ScanSpacingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict time and memory of segmenting a scan, without doing it."""
    import napari_hyperspace as hs

    scan = hs.read(
        source,
        volume=volume,
        series=series,
        spacing_mm=spacing(scan_spacing) if scan_spacing else None,
    )
    cost = hs.estimate(
        scan,
        hs.load_model(model),
        spacing(working_spacing) if working_spacing else None,
        device=device,
        outside=outside.value,
    )
    values: dict[str, Any] = {
        "seconds": cost.seconds,
        "peak_bytes": cost.peak_bytes,
        "peak_host_bytes": cost.peak_host_bytes,
        "fits": cost.fits,
        "spacing_mm": list(cost.spacing_mm),
        "working_shape": list(cost.working_shape),
        "n_tiles": cost.n_tiles,
    }
    rows = [
        ("time", f"{cost.seconds:.3g} s"),
        ("memory where it computes", f"{cost.peak_bytes / 1e6:.0f} MB"),
        ("memory of the host", f"{cost.peak_host_bytes / 1e6:.0f} MB"),
        ("fits", "yes" if cost.fits else "no"),
        ("working spacing", " × ".join(f"{s:g}" for s in cost.spacing_mm) + " mm (z, y, x)"),
        ("working grid", " × ".join(str(n) for n in cost.working_shape) + " voxels"),
        ("tiles", cost.n_tiles),
    ]
    emit(values, table(rows), as_json)


@app.command(epilog="Example: python -m training info hippocampus")
def info(
    model: Annotated[str, typer.Argument(help="Name of a bundled model, or a model file.")],
    as_json: JsonOption = False,
) -> None:
    """Show the card of a model: what it segments, where it may be used, what it reaches."""
    from napari_hyperspace.nets.model_file import read_card
    from training.card import describe

    header = read_card(model)
    emit(header.model_dump(mode="json"), describe(header), as_json)


@app.command(epilog="Example: python -m training check DATASET --json")
def check(
    dataset: Annotated[
        Path,
        typer.Argument(
            help="Folder of a data set, configuration of a run, or YAML file with a section data."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """List all that is wrong with a data set, in one go. Fails if there is an error."""
    from training.check import check as look_through
    from training.check import describe

    with progress("check") as show:
        report = look_through(dataset, show=show)
    emit(report.to_dict(), describe(report), as_json)
    if report.count("error"):
        raise typer.Exit(1)


@app.command(
    epilog="Example: python -m training evaluate hippocampus DATASET --spacings '1 2 1,1,3' --json"
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
            help="Spacings in mm, blanks or semicolons between them: '1 2 1,1,3'. "
            "Default, where nothing else is asked for: '1 2 3'.",
        ),
    ] = None,
    monte_carlo: Annotated[
        int | None, typer.Option(min=1, help="Draw so many spacings from each interval.")
    ] = None,
    interval: Annotated[
        list[str] | None,
        typer.Option(help="In mm: 0.5:3.5, or one an axis: 1:5,0.2:1.5,0.2:1.5. May be repeated."),
    ] = None,
    segment: Annotated[
        list[str] | None,
        typer.Option(help="from:to:steps, such as 0.5:5:10 or 1,1,1:1,1,6:6. May be repeated."),
    ] = None,
    native: Annotated[bool, typer.Option("--native", help="At each scan's own spacing.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the drawn spacings.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for rows, summary and figures; goes on with what is there already."
        ),
    ] = None,
    rows: Annotated[
        str, typer.Option(help="File of rows in that folder: .csv, or .parquet (needs pyarrow).")
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
            min=0, help="Of surface Dice, in mm. Default: 1, or the scan's largest step if larger."
        ),
    ] = None,
    form: Annotated[
        str, typer.Option(help="How networks run; auto is fastest, but not the same every time.")
    ] = "fp32",
    processes: Annotated[
        int, typer.Option(min=1, help="How many to measure with; times are true with one.")
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

    fixed = None if at is None else spacings(at.replace(";", " "))
    groups = make_groups(fixed, monte_carlo, interval or [], segment or [], native, seed)
    data = dataset_at(dataset)
    with progress("evaluate") as show:
        result, text = run(
            name_methods(models, outside.value, max_res),
            data,
            _names(data, dataset, split, part),
            groups,
            Settings(device, form, tolerance),
            Output(out, rows, picture, write_card),
            processes=processes,
            show=show,
        )
    emit(result, text, as_json)


@app.command(
    epilog="Example: python -m training cka hippocampus DATASET --against other.safetensors"
)
def cka(
    model: Annotated[str, typer.Argument(help="Name of a bundled model, or a model file.")],
    dataset: Annotated[
        Path, typer.Argument(help="Data set: its folder, or a YAML file with a section data.")
    ],
    against: Annotated[
        str | None, typer.Option(help="A second model to compare with, such as another seed.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the figure and the numbers.")] = Path("cka"),
    start: Annotated[str, typer.Option(help="First spacing in mm.")] = "0.94",
    stop: Annotated[str, typer.Option(help="Last spacing in mm.")] = "2",
    steps: Annotated[int, typer.Option(help="Number of spacings between the two.")] = 10,
    reference: Annotated[
        str | None,
        typer.Option(help="Spacing to compare the others with. Default: 1 mm, or the first."),
    ] = None,
    box: Annotated[float, typer.Option(help="Edge of the box to compare, in mm.")] = 32.0,
    margin: Annotated[float, typer.Option(help="What the network sees beyond, in mm.")] = 16.0,
    batch: Annotated[int, typer.Option(help="Most cases to hold at once.")] = 16,
    seed: Annotated[int, typer.Option(help="Seed of the order of the cases.")] = 0,
    split: SplitOption = None,
    part: PartOption = "validation",
    device: DeviceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare layers by CKA: within networks, between spacings, and between two models."""
    from napari_hyperspace import load_model
    from training.cka_report import run_cka
    from training.cka_result import CKASettings
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
    names = _names(data, dataset, split, part)
    models = [load_model(name) for name in (model, against) if name is not None]
    with progress("cka") as show:
        files = run_cka(models, data, names, out, settings, device=device, show=show)
    emit({"files": [str(file) for file in files]}, "\n".join(map(str, files)), as_json)


@app.command(epilog="Example: python -m training export runs/hippocampus hippocampus.safetensors")
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or one of its checkpoints.")],
    target: Annotated[Path, typer.Argument(help="Model file to write (.safetensors).")],
    dtype: Annotated[
        Precision, typer.Option(help="Number format of the weights in the file.")
    ] = Precision.float32,
    as_json: JsonOption = False,
) -> None:
    """Write the model file of a run's best checkpoint, also of one that still goes on."""
    from training.export import export_checkpoint

    written = export_checkpoint(run, target, dtype=dtype.value)
    emit({"model": str(written)}, str(written), as_json)


@app.command(epilog="Example: python -m training import-checkpoint checkpoint.pt model.safetensors")
def import_checkpoint(
    source: Annotated[Path, typer.Argument(help="Checkpoint of HyperSpace (.pt).")],
    target: Annotated[Path, typer.Argument(help="Model file to write (.safetensors).")],
    as_json: JsonOption = False,
) -> None:
    """Turn a released HyperSpace checkpoint into a model file."""
    from napari_hyperspace.nets.import_checkpoint import import_checkpoint as convert

    written = convert(source, target)
    emit({"model": str(written)}, str(written), as_json)


def _names(data: DataSet, source: Path, split: Path | None, part: str) -> list[str]:
    """Return the cases of a part of a split: the one given, else the configuration's, else all."""
    from training.data.splits import read_split
    from training.paths import resolve_path

    if split is None and data.section.split is not None:
        split = resolve_path(data.section.split, source.absolute().parent, field="data.split")
    if split is None:
        return [case.name for case in data.cases()]
    if part not in ("training", "validation"):
        raise HyperspaceError(
            "a split has no such part",
            field="--part",
            found=part,
            expected="training, validation",
        )
    return list(getattr(read_split(split), part))


def main() -> None:
    """Run the command line."""
    app(prog_name="python -m training")
