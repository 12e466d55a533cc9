"""The mutation driver: runs the cases of all targets in a watched child, and counts."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.child import Child
from tests.fuzz.targets import TARGETS, target_type

_SLICE_S = 2.0  # how long one target runs before another one does
_KEPT_PER_KIND = 3


@dataclass(frozen=True)
class Found:
    """A finding, with what repeats it.

    Parameters
    ----------
    target, seed, index
        The case.
    kind, detail, place
        What is wrong, and the line of the product.
    """

    target: str
    seed: int
    index: int
    kind: str
    detail: str
    place: str

    @property
    def command(self) -> str:
        """The command that runs this case alone."""
        case = shlex.quote(f"{self.target}:{self.seed}:{self.index}")
        return f"python -m tests.fuzz --case {case}"

    def __str__(self) -> str:
        place = f" in {self.place}" if self.place else ""
        return f"{self.target}: {self.kind}{place}: {self.detail}\n    {self.command}"


@dataclass
class Tally:
    """The counts of a target."""

    target: str
    cases: int = 0
    refused: int = 0
    accepted: int = 0
    findings: int = 0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    slowest_index: int = 0
    seconds: float = 0.0

    def add(self, index: int, answer: dict[str, Any]) -> None:
        """Count a case."""
        self.cases += 1
        self.refused += answer["outcome"] == "refused"
        self.accepted += answer["outcome"] == "accepted"
        self.findings += answer["outcome"] == "finding"
        self.cpu_s += answer["cpu_s"]
        if answer["cpu_s"] >= self.slowest_s:
            self.slowest_s, self.slowest_index = answer["cpu_s"], index


@dataclass
class Campaign:
    """Cases of several targets.

    Parameters
    ----------
    seed
        A case is a function of its target, this seed and its index.
    targets
        Names of the targets.
    keep
        Folder for the files of findings; `None`: they are not kept.
    report
        Called with each kind of finding when it occurs first.
    """

    seed: int
    targets: Sequence[str] = tuple(TARGETS)
    keep: Path | None = None
    report: Callable[[str], None] = print
    tallies: dict[str, Tally] = field(default_factory=dict)
    found: list[Found] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tallies = {name: Tally(name) for name in self.targets}

    def run_for(self, seconds: float) -> None:
        """Share a time among the targets."""
        until = time.monotonic() + seconds
        with Child() as child:
            while time.monotonic() < until:
                name = min(self.targets, key=lambda name: self.tallies[name].seconds / _share(name))
                tally = self.tallies[name]
                child.prepare(name)
                ready = time.monotonic()
                while time.monotonic() < min(ready + _SLICE_S, until):
                    self._case(child, tally)
                tally.seconds += time.monotonic() - ready

    def run_cases(self, name: str, indices: Sequence[int], child: Child) -> Tally:
        """Run given cases of a target."""
        tally = self.tallies[name]
        for index in indices:
            self._case(child, tally, index)
        return tally

    def _case(self, child: Child, tally: Tally, index: int | None = None) -> None:
        index = tally.cases if index is None else index
        answer = child.run(tally.target, self.seed, index)
        tally.add(index, answer)
        if answer["outcome"] != "finding":
            return
        parts = (answer[key] for key in ("kind", "detail", "place"))
        found = Found(tally.target, self.seed, index, *parts)
        same = [one for one in self.found if _alike(one, found)]
        self.found.append(found)
        if not same:
            self.report(str(found))
        if self.keep is not None and len(same) < _KEPT_PER_KIND:
            self.keep_files(child, f"{found.target}-{found.seed}-{found.index}")

    def keep_files(self, child: Child, name: str) -> None:
        """Copy the files of the last case of a child."""
        assert self.keep is not None
        shutil.rmtree(self.keep / name, ignore_errors=True)
        shutil.copytree(child.files, self.keep / name)

    def distinct(self) -> list[Found]:
        """Return one finding of each kind."""
        kept: list[Found] = []
        for found in self.found:
            if not any(_alike(one, found) for one in kept):
                kept.append(found)
        return kept

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "seed": self.seed,
            "targets": [asdict(tally) for tally in self.tallies.values()],
            "findings": [{**asdict(found), "command": found.command} for found in self.found],
        }

    def table(self) -> str:
        """Return the counts as a table in Markdown."""
        rows = [
            "| target | cases | refused | accepted | findings | slowest |",
            "|---|---:|---:|---:|---:|---|",
        ]
        total = Tally("all")
        for tally in self.tallies.values():
            rows.append(_row(tally, f"{tally.slowest_s:.2f} s (case {tally.slowest_index})"))
            for name in ("cases", "refused", "accepted", "findings"):
                setattr(total, name, getattr(total, name) + getattr(tally, name))
        slowest = max((tally.slowest_s for tally in self.tallies.values()), default=0.0)
        return "\n".join([*rows, _row(total, f"{slowest:.2f} s")])


def _share(target: str) -> float:
    return target_type(target).share


def _row(tally: Tally, slowest: str) -> str:
    counts = (tally.cases, tally.refused, tally.accepted, tally.findings)
    return f"| {tally.target} | {' | '.join(map(str, counts))} | {slowest} |"


def _alike(one: Found, other: Found) -> bool:
    """Whether two findings are probably the same defect."""
    if (one.target, one.kind, one.place) != (other.target, other.kind, other.place):
        return False
    return bool(one.place) or one.detail[:30] == other.detail[:30]
