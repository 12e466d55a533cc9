"""Commands that list, add and remove models."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from napari_hyperspace.core.errors import HyperspaceError
from training.cli.console import Commands, emit, progress, table
from training.cli.options import JsonOption, app

models_app = typer.Typer(
    cls=Commands,
    help="List the installed models, add models and remove them.",
    no_args_is_help=True,
)
app.add_typer(models_app, name="models", epilog="Example: hyperspace models list")


@models_app.command("list", epilog="Example: hyperspace models list --json")
def list_models(as_json: JsonOption = False) -> None:
    """List the models that are found by name: bundled ones, own ones, and those of folders."""
    from napari_hyperspace.nets.locations import installed_models
    from napari_hyperspace.nets.model_file import read_card
    from napari_hyperspace.nets.summary import one_line

    rows, values = [], []
    for each in installed_models().values():
        try:
            line = one_line(read_card(each.path).card)
        except HyperspaceError as error:
            line = f"not readable: {error.problem}"
        rows.append((each.name, f"{each.origin:<7}  {line}"))
        values.append(
            {
                "name": each.name,
                "origin": each.origin,
                "path": str(each.path),
                "description": line,
            }
        )
    emit(values, table(rows), as_json)


@models_app.command(epilog="Example: hyperspace models add https://HOST/FILE --sha256 DIGEST")
def add(
    source: Annotated[
        str,
        typer.Argument(
            help="A model file, which is copied; a folder of model files, which are used where "
            "they are; or a web address."
        ),
    ],
    sha256: Annotated[
        str | None,
        typer.Option(help="Checksum of the file at a web address. Without it: https only."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the model. Default: as its file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a model, so that it is found by its name. A download that was interrupted continues."""
    from napari_hyperspace.core.progress import run_to_end
    from napari_hyperspace.nets.download import Source
    from napari_hyperspace.nets.library import add_folder, add_from_web_steps, add_model

    if "://" in source:
        with progress("models add") as show:
            added = [run_to_end(add_from_web_steps(Source(source, sha256), name), show)]
    elif os.path.isdir(source):
        added = add_folder(source)
    else:
        added = [add_model(source, name)]
    emit(
        [{"name": each.name, "path": str(each.path)} for each in added],
        "\n".join(f"{each.name}: {each.path}" for each in added),
        as_json,
    )


@models_app.command(epilog="Example: hyperspace models remove NAME")
def remove(
    name: Annotated[
        str, typer.Argument(help="Name of a model that was added, or a folder that was added.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Delete a model that was added; or no longer use a folder, which is not changed."""
    from napari_hyperspace.core.files import resolved
    from napari_hyperspace.nets.library import remove_folder, remove_model
    from napari_hyperspace.nets.locations import further_folders

    if resolved(name) in further_folders():
        remove_folder(name)
        emit({"removed": name}, f"no longer used: {name}", as_json)
        return
    removed = remove_model(name)
    emit({"removed": removed.name}, f"removed: {removed.name}", as_json)
