"""The command that exports the network of one spacing for other programs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from training.cli.console import emit, progress, spacing, voxels
from training.cli.options import JsonOption, app


class ExportFormat(StrEnum):
    """Format of an exported network."""

    onnx = "onnx"
    torch_export = "torch-export"


@app.command(
    "export-network",
    epilog="Example: hyperspace export-network hippocampus --spacing 1,1,1.5 --out network.onnx",
)
def export_network(
    model: Annotated[str, typer.Argument(help="Name of an installed model, or a model file.")],
    working_spacing: Annotated[
        str,
        typer.Option("--spacing", help="Spacing of the network in mm: 2, or z,y,x such as 1,1,3."),
    ],
    out: Annotated[Path, typer.Option(help="File to write: .onnx, or .pt2 for torch-export.")],
    file_format: Annotated[
        ExportFormat | None, typer.Option("--format", help="Default: by the extension.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            help="Export only this size of the image in voxels, z,y,x. Default: any size, where "
            "the network allows it."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the network of one spacing as ONNX or for torch.export, and run it to check it.

    Input is a normalized image in canonical order, output the logits. A JSON file beside the
    network states spacing, axes, normalization, labels and possible shapes.
    """
    from napari_hyperspace.api.export_network import export_network_steps
    from napari_hyperspace.core.progress import run_to_end
    from napari_hyperspace.nets.model_file import load_model

    spacing_mm, edges = spacing(working_spacing), voxels(size) if size else None
    loaded = load_model(model)
    with progress("export-network") as show:
        done = run_to_end(
            export_network_steps(
                loaded,
                spacing_mm[-loaded.n_dim :],
                out,
                format=None if file_format is None else file_format.value,
                size=edges,
            ),
            show,
        )
    emit(done.to_dict(), str(done), as_json)


@app.command("label-names", epilog="Example: hyperspace label-names labels.nii.gz labels_dseg.tsv")
def label_names(
    labels: Annotated[Path, typer.Argument(help="Label map with names: a file of this program.")],
    out: Annotated[
        Path, typer.Argument(help="File to write: .tsv for BIDS, .txt or .label for ITK-SNAP.")
    ],
) -> None:
    """Write names and colors of a label map as a table that other programs read."""
    from napari_hyperspace import read, write_label_table

    emit(None, str(write_label_table(read(labels), out)), False)
