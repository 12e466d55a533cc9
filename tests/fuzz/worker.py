"""The child of the mutation driver: runs one case after the other, and reports on each.

Started by `tests.fuzz.child`. A request is a line of JSON on stdin, an answer a line of JSON on
what was stdout; whatever the product or its libraries print goes to a file and is a finding.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import re
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from tests.fuzz.case import Case, Target, Wrong, digest
from tests.fuzz.limits import LONGEST_MESSAGE
from tests.fuzz.readers import write_files
from tests.fuzz.targets import target_type

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_PRIVATE = "Private"  # part of the name of every patient in the sound files
_SHOWN = 400
# Python does not show what libraries deprecate; the warnings of each version are in the test suite.
_UNSHOWN = (HyperspaceWarning, DeprecationWarning, PendingDeprecationWarning)


class Finding(Exception):
    """What is wrong about a case: its kind, where in the product, and details."""

    def __init__(self, kind: str, detail: str, place: str = "") -> None:
        super().__init__(kind)
        self.kind, self.detail, self.place = kind, detail[:_SHOWN], place


class Worker:
    """Runs cases in a folder of its own.

    Parameters
    ----------
    scratch
        The folder: ``case/files`` for the files, ``tmp`` for temporary ones, ``printed``.
    protocol
        Where answers go.
    """

    def __init__(self, scratch: Path, protocol: TextIO) -> None:
        self.scratch = scratch
        self.protocol = protocol
        self.folder = scratch / "case" / "files"
        self.temporary = scratch / "tmp"
        self.temporary.mkdir()
        self.targets: dict[str, Target] = {}
        self.printed = 0
        self.kept: set[Path] = set()

    def target(self, name: str) -> Target:
        """Return a target, prepared."""
        if name not in self.targets:
            target = target_type(name)()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                target.prepare()
            self.targets[name] = target
        return self.targets[name]

    def answer(self, name: str, seed: int, index: int) -> dict[str, Any]:
        """Run a case and describe what happened."""
        target = self.target(name)
        case = target.case(seed, index)
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        self.folder.mkdir(parents=True)
        write_files(self.folder, case.files)
        (self.folder.parent / "options.txt").write_text(f"{case.entry}\n{case.options!r}\n"[:9999])
        self.printed = (self.scratch / "printed").stat().st_size
        self.kept = {*self.temporary.iterdir()}
        os.chdir(self.folder)
        print(json.dumps({"started": True}), file=self.protocol, flush=True)
        started = _cpu_s()
        answer: dict[str, Any] = {}
        try:
            with _limited(target.memory_bytes), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                answer["outcome"] = _outcome(target, self.folder, case, index)
            self._look_around(target, case, caught)
        except Finding as finding:
            answer["outcome"] = "finding"
            answer |= {"kind": finding.kind, "detail": finding.detail, "place": finding.place}
        answer["cpu_s"] = _cpu_s() - started
        return answer

    def _look_around(
        self, target: Target, case: Case, caught: list[warnings.WarningMessage]
    ) -> None:
        """Raise a finding for files left behind or changed, prints, and warnings of libraries."""
        foreign = [each for each in caught if not issubclass(each.category, _UNSHOWN)]
        if foreign:
            first = foreign[0]
            raise Finding("warning", f"{first.category.__name__}: {first.message}", _short(first))
        for each in caught:
            if issubclass(each.category, HyperspaceWarning):
                _check_message(str(each.message))
        printed = (self.scratch / "printed").read_bytes()[self.printed :]
        if printed.strip():
            raise Finding("printed", printed.decode(errors="replace").strip())
        there = {
            path.relative_to(self.folder).as_posix(): path
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        for name in there.keys() - case.files.keys():
            if Path(name).name.startswith(".hyperspace-"):
                raise Finding("left behind", f"temporary: {name}")
            if not any(fnmatch.fnmatch(name, pattern) for pattern in target.may_write):
                raise Finding("left behind", name)
        for name, content in case.files.items():
            if name not in target.changed(case) and (
                name not in there or there[name].read_bytes() != content
            ):
                raise Finding("input changed", name)
        left = sorted({*self.temporary.iterdir()} - self.kept)
        if left:
            for path in left:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            raise Finding("left behind", f"temporary: {', '.join(path.name for path in left)}")


def _outcome(target: Target, folder: Path, case: Case, index: int) -> str:
    """Give a case to the product; raise a finding for anything but acceptance or a refusal."""
    refusal = ""
    try:
        target.run(folder, case)
    except HyperspaceError as error:
        _check_refusal(error, allocates=target.limits_itself)
        refusal = str(error)
    except Wrong as error:
        raise Finding("wrong", str(error)) from None
    except (KeyboardInterrupt, Finding):
        raise
    except BaseException as error:  # whatever it is, the product did not declare it
        kind = "memory" if isinstance(error, MemoryError) else "undeclared"
        raise Finding(kind, f"{type(error).__name__}: {error}", _frame(error)) from None
    if index < target.n_sound and bool(refusal) != target.sound_is_refused:
        raise Finding("sound file", f"refused: {refusal}" if refusal else "accepted")
    return "refused" if refusal else "accepted"


def _check_refusal(error: HyperspaceError, *, allocates: bool) -> None:
    """Raise a finding for a refusal that says too little or too much, or came too late."""
    cause: BaseException | None = error
    while cause is not None and not allocates:
        if isinstance(cause, MemoryError):
            raise Finding("memory", f"an allocation failed: {error}", _frame(error))
        cause = cause.__cause__ or cause.__context__
    _check_message(str(error), _frame(error))


def _check_message(text: str, place: str = "") -> None:
    if not text.strip():
        raise Finding("message", "it is empty", place)
    if len(text) > LONGEST_MESSAGE:
        raise Finding("message", f"{len(text)} characters: {text}", place)
    if _CONTROL.search(text):
        raise Finding("message", f"control characters: {text!r}", place)
    if _PRIVATE in text:
        raise Finding("message", f"the name of the patient: {text}", place)
    if "Traceback" in text:
        raise Finding("message", f"a traceback: {text}", place)


def _frame(error: BaseException) -> str:
    """Return the innermost line of the product in the traceback of an error."""
    own = ""
    for frame in traceback.extract_tb(error.__traceback__):
        parts = Path(frame.filename).parts
        if {"napari_hyperspace", "training"} & {*parts} and "tests" not in parts:
            own = f"{'/'.join(parts[-3:])}:{frame.lineno}"
    return own


def _short(warning: warnings.WarningMessage) -> str:
    return f"{'/'.join(Path(warning.filename).parts[-3:])}:{warning.lineno}"


def _cpu_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


@contextlib.contextmanager
def _limited(n_bytes: int | None) -> Iterator[None]:
    """Limit how much more memory this process may map, where the system can."""
    try:
        import resource
    except ImportError:  # Windows: the parent watches the memory
        yield
        return
    if n_bytes is None or sys.platform != "linux":  # others do not limit the address space
        yield
        return
    import psutil

    former, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + n_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (former, hard))


def main(scratch: str, protocol: TextIO) -> None:
    """Answer requests until stdin ends."""
    worker = Worker(Path(scratch), protocol)
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        if "prepare" in request:
            worker.target(request["prepare"])
            answer = {"prepared": True}
        elif "describe" in request:
            target = worker.target(request["describe"])
            answer = {"digest": digest(target.case(request["seed"], request["index"]))}
        else:
            answer = worker.answer(request["target"], request["seed"], request["index"])
        print(json.dumps(answer), file=protocol, flush=True)


def _redirected(scratch: str) -> TextIO:
    """Let everything that is printed go to a file; return what was stdout."""
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    printed = os.open(Path(scratch, "printed"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(printed)
    return protocol


def start(scratch: str) -> None:
    """Redirect the output, and run."""
    main(scratch, _redirected(scratch))
