"""Export a network in a process of its own, so that a window stays responsive meanwhile.

torch's exporters are Python code that runs for seconds and shares one lock with the main thread.

The process reads its request, one line of JSON, and writes lines of JSON: its progress, then what
was exported or the error. When its input ends it stops and removes its temporary files, so that it
does not outlive the program that started it.
"""

from __future__ import annotations

import _thread
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, TypedDict, cast

from napari_hyperspace.core.errors import Cancelled, ErrorParts, HyperspaceError, ShouldStop
from napari_hyperspace.core.files import remove_stale, resolved
from napari_hyperspace.core.progress import Progress, ReportProgress, run_to_end

if TYPE_CHECKING:
    from napari_hyperspace.api.export_network import ExportedNetwork

__all__ = ["export_in_process_steps"]

# As in `nets.import_checkpoint`: neither the working folder nor the environment decides what is
# imported. The folders of this process are passed on, the one of this package first.
_START = (
    "import sys; sys.path[:] = sys.argv[1:]; "
    "from napari_hyperspace.api import export_process; export_process.main()"
)
_POLL_S = 0.1
_GRACE_S = 3.0  # for removing temporary files, before the process is killed


class _Request(TypedDict):
    model: str
    spacing_mm: list[float]
    path: str


class _Answer(TypedDict, total=False):
    fraction: float
    message: str
    exported: dict[str, object]
    problem: str
    parts: dict[str, str | None]


def export_in_process_steps(
    name_or_path: str,
    spacing_mm: Sequence[float],
    path: str | Path,
    *,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, ExportedNetwork]:
    """Export the network of one spacing step by step, in a process of its own.

    Parameters
    ----------
    name_or_path
        The model, as in `napari_hyperspace.load_model`.
    spacing_mm, path
        As in `export_network_steps`.
    should_stop
        Called ten times per second; the process is stopped within a few seconds.

    Yields
    ------
    Progress
        Before each step.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        As `export_network_steps`, or if the process cannot be started or ends early.
    """
    from napari_hyperspace.api.export_network import ExportedNetwork

    target = resolved(path)
    stop = should_stop or (lambda: False)
    request: _Request = {
        "model": name_or_path,
        "spacing_mm": [float(step) for step in spacing_mm],
        "path": str(target),
    }
    yield Progress(0.0, "starting the export")
    with tempfile.TemporaryFile() as errors, _started(errors, target) as child:
        for answer in _answers(child, request, stop):
            if "exported" in answer:
                return ExportedNetwork.from_dict(answer["exported"])
            if "problem" in answer:
                raise HyperspaceError(answer["problem"], **cast(ErrorParts, answer["parts"]))
            yield Progress(answer["fraction"], answer["message"])
        raise HyperspaceError(
            "the process that exports the network ended early",
            where=target,
            found=_last_line(errors) or f"exit status {child.wait()}",
            fix="Close other programs if the memory is full, and try again",
        )


@contextmanager
def _started(errors: IO[bytes], target: Path) -> Iterator[subprocess.Popen[str]]:
    """Start the process; at the end ask it to stop, and kill it if it does not."""
    here = Path.cwd()
    found = [each for each in sys.path if os.path.isabs(each) and Path(each).resolve() != here]
    folders = [str(Path(__file__).parents[2]), *found]
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-X", "utf8", "-c", _START, *folders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows: no console
        )
    except OSError as error:
        raise HyperspaceError(
            "the process that exports the network cannot be started",
            found=error.strerror or str(error),
        ) from error
    assert child.stdin is not None and child.stdout is not None
    try:
        yield child
    finally:
        with suppress(OSError):  # it has ended before it read its input
            child.stdin.close()
        try:
            child.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            for file in (target, target.with_name(f"{target.name}.json")):
                remove_stale(file)


def _answers(
    child: subprocess.Popen[str], request: _Request, stop: ShouldStop
) -> Iterator[_Answer]:
    """Send the request and yield the answers, until the process closes its output."""
    assert child.stdin is not None and child.stdout is not None
    output, lines = child.stdout, queue.SimpleQueue[str | None]()

    def read() -> None:  # reading cannot be interrupted
        with output:
            for line in output:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True, name="hyperspace export").start()
    with suppress(OSError):  # it has ended: so do its answers
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
    while True:
        if stop():
            raise Cancelled
        try:
            line = lines.get(timeout=_POLL_S)
        except queue.Empty:
            continue
        if line is None:
            return
        answer: _Answer = json.loads(line)
        yield answer


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


def main() -> NoReturn:
    """Export the network that is asked for on the standard input."""
    # What libraries print on the standard output is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the parent may ignore it
    request: _Request = json.loads(sys.stdin.readline())
    threading.Thread(target=_interrupt_at_end_of_input, daemon=True).start()

    def answer(**content: object) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    with suppress(KeyboardInterrupt, BrokenPipeError):
        try:
            exported = _export(request, lambda done, text: answer(fraction=done, message=text))
        except HyperspaceError as error:
            answer(problem=error.problem, parts=_parts(error))
        except Exception as error:
            traceback.print_exc()
            parts = _parts(HyperspaceError("", where=request["path"], found=repr(error)))
            answer(problem="the network cannot be exported", parts=parts)
        else:
            answer(exported=exported.to_dict())
    os._exit(0)  # all files are closed; Python would take a second to unload torch


def _export(request: _Request, report: ReportProgress) -> ExportedNetwork:
    from napari_hyperspace.api.export_network import export_network_steps
    from napari_hyperspace.nets.model_file import load_model

    model = load_model(request["model"])
    steps = export_network_steps(model, request["spacing_mm"], request["path"])
    return run_to_end(steps, report)


def _parts(error: HyperspaceError) -> dict[str, str | None]:
    """Return the parts of an error as text, as they are shown."""
    parts = {name: getattr(error, name) for name in ErrorParts.__annotations__}
    return {name: None if part is None else str(part) for name, part in parts.items()}


def _interrupt_at_end_of_input() -> None:
    # Not through `sys.stdin`: Python could not close it at its end while this thread reads.
    while os.read(0, 1024):
        pass
    _thread.interrupt_main()
