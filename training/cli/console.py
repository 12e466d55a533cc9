"""What the commands share: options' parsing, progress on stderr, errors as one message."""

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
from napari_hyperspace.core.progress import ReportProgress

_TRAINING_PACKAGES = ("lightning_fabric", "matplotlib", "monai", "tensorboard")


class Commands(typer.core.TyperGroup):
    """Commands whose errors meant for users become one message and an exit code other than 0."""

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


def spacing(text: str) -> tuple[float, float, float]:
    """Read a spacing: one number for all axes, or three with commas (z,y,x), in mm."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(0 < number < float("inf") for number in numbers):
        raise typer.BadParameter(f"{text!r} is not a spacing in mm such as 2 or 1,1,3")
    z, y, x = numbers * (3 // len(numbers))
    return z, y, x


def spacings(text: str) -> list[tuple[float, float, float]]:
    """Read several spacings with blanks between them."""
    return [spacing(part) for part in text.split()]


@contextmanager
def progress(title: str) -> Iterator[ReportProgress]:
    """Show a bar on stderr while the work goes on; nothing where that is no terminal."""
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
    """Print a result on stdout: as JSON for programs, or as text for people."""
    sys.stdout.write((json.dumps(data, indent=1) if as_json else text) + "\n")


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Lay out names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
