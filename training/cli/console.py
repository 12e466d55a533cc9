"""Helpers of all commands: parsing of spacings, progress on stderr, errors as one message."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.format import parse_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress

_TRAINING_PACKAGES = (
    "filelock", "lightning_fabric", "matplotlib", "monai", "pandas", "tensorboard",
)  # fmt: skip


class Commands(typer.core.TyperGroup):
    """Commands that turn errors meant for users into one message and a nonzero exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with warnings.catch_warnings():
            plain = warnings.showwarning

            def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
                if issubclass(category, HyperspaceWarning):
                    typer.echo(f"warning: {message}", err=True)
                else:
                    plain(message, category, *place, **more)

            warnings.showwarning = show
            try:
                return super().invoke(ctx)
            except HyperspaceError as error:
                typer.echo(f"error: {error}", err=True)
                raise typer.Exit(getattr(error, "exit_code", 1)) from error
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] not in _TRAINING_PACKAGES:
                    raise
                typer.echo(
                    f"error: training needs {error.name}, which is not installed. "
                    'Run: pip install "napari-hyperspace[train]"',
                    err=True,
                )
                raise typer.Exit(1) from error


def spacing(text: str) -> Triple:
    """Read the spacing of an option; see `parse_spacing`.

    Raises
    ------
    typer.BadParameter
        If it is not a spacing.
    """
    try:
        return parse_spacing(text)
    except HyperspaceError as error:
        raise typer.BadParameter(str(error)) from None


def spacings(text: str) -> list[Triple]:
    """Read several spacings, separated by spaces or semicolons."""
    return [spacing(part) for part in text.replace(";", " ").split()]


@contextmanager
def progress(title: str) -> Iterator[ReportProgress]:
    """Show a progress bar on stderr during the work, if that is a terminal."""
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("[bold]{task.fields[title]}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %  {task.description}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("", total=1.0, title=title)

    def show(fraction: float, message: str) -> None:
        bar.update(task, completed=fraction, description=message)

    with bar:
        yield show


def emit(data: Any, text: str, as_json: bool) -> None:
    """Print a result on stdout, as JSON or as text."""
    sys.stdout.write((json.dumps(data, indent=1) if as_json else text) + "\n")


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Lay out names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
