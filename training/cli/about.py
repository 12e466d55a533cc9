"""Commands about the program itself."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_hyperspace.support.log import log_file
from training.cli.console import emit
from training.cli.options import JsonOption, app


@app.command(epilog="Example: hyperspace diagnostics --json")
def diagnostics(
    where: Annotated[
        bool, typer.Option("--log-file", help="Print only the path of the log file.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a report of a defect needs: versions, machine, models, log. No names, no paths."""
    if where:
        emit({"log_file": str(log_file())}, str(log_file()), as_json)
        return
    from napari_hyperspace.support.diagnostics import collect_diagnostics, format_diagnostics

    found = collect_diagnostics()
    emit(found, format_diagnostics(found), as_json)
