"""Helpers of all commands: spacings, progress on stderr, results, errors as one message."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.format import parse_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.support.log import log_error, log_event, log_warning

_TRAINING_PACKAGES = (
    "lightning_fabric", "matplotlib", "monai", "pandas", "tensorboard",
)  # fmt: skip


class _Terminated(KeyboardInterrupt):
    """A signal asked the program to stop.

    Parameters
    ----------
    number
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let SIGTERM, and SIGBREAK on Windows, stop the work in the same way as Ctrl-C.

    Signals are handled in the main thread only; in other threads nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != own:  # a forked worker, which is stopped without a message
            os._exit(128 + number)
        raise _Terminated(number)

    caught = [signal.SIGTERM]
    if sys.platform == "win32":
        caught.append(signal.SIGBREAK)
    previous = [signal.signal(number, stop) for number in caught]
    try:
        yield
    finally:
        for number, handler in zip(caught, previous, strict=True):
            signal.signal(number, handler)


class Commands(typer.core.TyperGroup):
    """Commands that turn errors meant for users into one message and a nonzero exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse empty arguments: as a path they would mean the working folder."""
        before = ""
        for argument in args:
            if not argument or re.fullmatch(r"--[\w-]+=", argument):
                name = argument.rstrip("=") or before
                raise typer.BadParameter(
                    "it is empty", param_hint=repr(name) if name.startswith("-") else "an argument"
                )
            before = argument
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command, and log its warnings and its error."""

        def command() -> str:
            words = [] if ctx.parent is None else [ctx.info_name]  # a group of commands
            return " ".join([*words, ctx.invoked_subcommand or "command"])

        with warnings.catch_warnings():
            plain = warnings.showwarning

            def show(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
                if issubclass(category, HyperspaceWarning):
                    log_warning(message, command())
                    typer.echo(f"warning: {message}", err=True)
                else:
                    plain(message, category, *place, **more)

            warnings.showwarning = show
            try:
                with _signals_interrupt():
                    result = super().invoke(ctx)
                if ctx.parent is None:
                    log_event(f"{command()}: finished")
                return result
            except KeyboardInterrupt as error:
                number = error.number if isinstance(error, _Terminated) else signal.SIGINT
                typer.echo(f"stopped by {signal.Signals(number).name}", err=True)
                raise typer.Exit(128 + number) from error
            except HyperspaceError as error:
                log_error(error, command())
                typer.echo(f"error: {error}", err=True)
                raise typer.Exit(getattr(error, "exit_code", 1)) from error
            except MemoryError as error:
                detail = f": {error}" if str(error) else ""
                typer.echo(f"error: there is not enough memory{detail}", err=True)
                raise typer.Exit(1) from error
            except ModuleNotFoundError as error:
                if (error.name or "").partition(".")[0] not in _TRAINING_PACKAGES:
                    log_error(error, command())
                    raise
                typer.echo(
                    f"error: training needs {error.name}, which is not installed. "
                    'Run: pip install "napari-hyperspace[train]"',
                    err=True,
                )
                raise typer.Exit(1) from error
            except Exception as error:
                # Typer ends commands by exceptions with an exit code. The rest are defects.
                if not hasattr(error, "exit_code") and not isinstance(error, BrokenPipeError):
                    log_error(error, command())
                raise


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


def voxels(text: str) -> tuple[int, ...]:
    """Read numbers of voxels, one per axis, separated by commas.

    Raises
    ------
    typer.BadParameter
        If they are not positive whole numbers.
    """
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"not numbers of voxels: {text!r}; expected some such as 64,64,48")
    return tuple(int(part) for part in parts)


def spacings(text: str) -> list[Triple]:
    """Read several spacings, separated by spaces or semicolons."""
    return [spacing(part) for part in text.replace(";", " ").split()]


@contextmanager
def progress(title: str) -> Iterator[ReportProgress]:
    """Show a progress bar on stderr during the work, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:  # rich 14.0 would print an empty line at the end
        yield lambda fraction, message: None
        return
    bar = Progress(
        TextColumn("[bold]{task.fields[title]}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %  {task.description}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    task = bar.add_task("", total=1.0, title=title)

    def show(fraction: float, message: str) -> None:
        bar.update(task, completed=fraction, description=message)

    with bar:
        yield show


def emit(data: Any, text: str, as_json: bool) -> None:
    """Print a result on stdout, as JSON or as text.

    Raises
    ------
    HyperspaceError
        If it cannot be printed, because stdout is closed or the disk is full.
    BrokenPipeError
        If the program that reads stdout has ended.
    """
    result = (json.dumps(data, indent=1) if as_json else text) + "\n"
    if sys.stdout is None:
        raise HyperspaceError("the result cannot be printed: stdout is closed")
    try:
        sys.stdout.write(result)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HyperspaceError(f"the result cannot be printed: {error.strerror}") from error


def run_program(program: Callable[[], object]) -> NoReturn:
    """Run a program that raises `SystemExit`, and end with its exit status.

    Characters that stdout or stderr cannot encode are printed as escapes. If stdout cannot be
    written, the program ends with exit status 1 and without a traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        program()
        status: str | int | None = 0
    except SystemExit as end:
        status = end.code
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF) or error.filename is not None:
            raise
        typer.echo(f"error: the output cannot be written: {error.strerror}", err=True)
        status = 1
    sys.exit(status if _flushed() else status or 1)


def _flushed() -> bool:
    """Write what is buffered for stdout; if that is impossible, discard it."""
    if sys.stdout is None:
        return True
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try again at its end, and print a traceback.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        return False
    return True


def table(rows: Sequence[tuple[str, object]]) -> str:
    """Lay out names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
