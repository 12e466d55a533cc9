"""The command line: ``python -m training``. Heavy modules load only in the command that needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_hyperspace.core.errors import HyperspaceError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Train, apply and evaluate segmentation models that adapt to the voxel spacing.",
)


@app.callback()
def _program() -> None:
    """Train, apply and evaluate segmentation models that adapt to the voxel spacing."""


@app.command(epilog="Example: python -m training fit hippocampus.yaml --set training.steps=2000")
def fit(
    config: Annotated[Path, typer.Argument(help="Configuration of the run, a YAML file.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key: key.subkey=value. May be repeated."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default: runs/NAME.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint.")
    ] = False,
    init: Annotated[Path | None, typer.Option(help="Model file to start the weights from.")] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Number of devices (processes).")
    ] = None,
) -> None:
    """Train a model; the run's folder gets log, checkpoints, report and model file."""
    from training.config import load_config

    overrides = list(set_ or [])
    if devices is not None:
        overrides.append(f"compute.devices={devices}")
    settings, base = load_config(config, overrides)
    from training.fit import fit as train

    print(train(settings, base, out or Path("runs") / settings.name, resume=resume, init=init))


def main() -> None:
    """Run the command line; errors meant for users become one message and exit code 1."""
    try:
        app()
    except HyperspaceError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(getattr(error, "exit_code", 1)) from None
