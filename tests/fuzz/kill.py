"""Kill the program while it writes, and check what is left.

    python -m tests.fuzz.kill --seconds 600
    python -m tests.fuzz.kill --targets fit predict --cases 20
    python -m tests.fuzz.kill --case fit:12345:7

A case starts a command in a child process and kills it by SIGKILL or SIGTERM: before a random file
operation in its folder, or after a random part of the time that an uninterrupted command takes. It
does so once or twice, and then runs the command to its end. Files that were written whole must be
the former or the new ones, byte for byte, at any moment; in the end everything must be as after an
uninterrupted command, without temporary files. A case depends on its target, the seed and its
number; a moment in time also depends on the machine, but the properties hold at any moment.

The exit status is 1 if there is a finding.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.kill_processes import finish, run, start
from tests.fuzz.kill_targets import TARGETS, Reference, Target

CACHE_VARIABLE = "HYPERSPACE_CACHE"
_SIGNALS = {"KILL": getattr(signal, "SIGKILL", signal.SIGTERM)}
if os.name == "posix":  # elsewhere, it cannot be handled
    _SIGNALS["TERM"] = signal.SIGTERM
_TEMPORARY = ".hyperspace-"


@dataclass
class Campaign:
    """Kills, and what was found.

    Parameters
    ----------
    seed
        Seed of all cases.
    root
        Folder for the cases.
    """

    seed: int
    root: Path
    references: dict[str, Reference] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: dict[str, list[str]] = field(default_factory=dict)

    def reference(self, target: Target) -> Reference:
        """Run a command without a kill, once."""
        if target.name not in self.references:
            folder = self.root / f"{target.name}-reference"
            folder.mkdir()
            target.prepare(folder)
            events, seconds = run(folder, target.call(folder))
            self.references[target.name] = Reference(target.state(folder), events, seconds)
            shutil.rmtree(folder)
        return self.references[target.name]

    def case(self, name: str, index: int) -> list[str]:
        """Run a case; return what is wrong."""
        target, reference = TARGETS[name], self.reference(TARGETS[name])
        random = Random(f"{name}:{self.seed}:{index}")
        folder = self.root / f"{name}-{index}"
        folder.mkdir()
        target.prepare(folder)
        found: list[str] = []
        for _ in range(random.choice((1, 1, 2))):
            if not self._kill(target, reference, folder, random, found):
                break
        try:
            run(folder, target.call(folder))
            state = target.state(folder)
            differing = sorted(
                key
                for key in state.keys() | reference.state.keys()
                if state.get(key) != reference.state.get(key)
            )
            if differing:
                found.append(f"differs from an uninterrupted run: {', '.join(differing[:5])}")
        except (RuntimeError, OSError, ValueError) as error:
            found.append(f"the command does not complete: {error}")
        left = [str(p.relative_to(folder)) for p in folder.rglob(f"*{_TEMPORARY}*")]
        if left:
            found.append(f"temporary files are left: {', '.join(left)}")
        if found:
            self.findings[f"{name}:{self.seed}:{index}"] = found
        else:
            shutil.rmtree(folder)
            Path(f"{folder}.log").unlink(missing_ok=True)
        return found

    def _kill(
        self, target: Target, reference: Reference, folder: Path, random: Random, found: list[str]
    ) -> bool:
        """Kill a command once; return whether it died before its end."""
        signal_name = random.choice(sorted(_SIGNALS))
        number = _SIGNALS[signal_name]
        event = random.randint(1, max(reference.events, 1)) if random.random() < 0.5 else None
        fraction = random.random()
        process, connection = start(folder, target.call(folder), event, number)
        if event is None:
            time.sleep(fraction * reference.seconds)
            if process.is_alive():
                os.kill(process.pid, number)
        status, sent = finish(process, connection)
        killed = sent is None
        self.kills[target.name] += killed
        outcome = f"{signal_name}, {'killed' if killed else 'finished before'}"
        self.outcomes[target.name, outcome] += 1
        if status is None:
            found.append(f"the command does not end after SIG{signal_name}")
        elif status not in (0, -number, 128 + number):
            log = Path(f"{folder}.log").read_text("utf-8", "replace")[-600:]
            found.append(f"exit status {status} after SIG{signal_name}: {log}")
        try:
            found += target.check_killed(folder, reference)
        except (OSError, ValueError) as error:
            found.append(f"after SIG{signal_name}: {type(error).__name__}: {error}")
        return killed

    def table(self) -> str:
        """Return the table of targets, kills, outcomes and findings."""
        lines = ["| target | kills | by SIGKILL | by SIGTERM | ended before | findings |"]
        lines.append("|---|---|---|---|---|---|")
        for name in dict.fromkeys(name for name, _ in self.outcomes):
            counts = [
                *(self.outcomes[name, f"{each}, killed"] for each in ("KILL", "TERM")),
                sum(n for (t, o), n in self.outcomes.items() if t == name and "before" in o),
                sum(case.startswith(f"{name}:") for case in self.findings),
            ]
            lines.append(f"| {name} | {self.kills[name]} | {' | '.join(map(str, counts))} |")
        return "\n".join(lines)

    def report(self) -> str:
        """Return the table, and each finding with the command that repeats it."""
        parts = [self.table()]
        for case, found in self.findings.items():
            parts.append(f"\n{case}: " + "\n  ".join(found))
            parts.append(f"  python -m tests.fuzz.kill --case {case}")
        return "\n".join(parts)


def search(seconds: float, seed: int, names: list[str], root: Path, cases: int | None) -> Campaign:
    """Kill the commands of some targets in turn, for a time or a number of cases each."""
    campaign, begin, index = Campaign(seed, root), time.monotonic(), 0
    while index < cases if cases is not None else time.monotonic() - begin < seconds:
        for name in names:
            for found in campaign.case(name, index):
                print(f"kill: {name}:{seed}:{index}: {found}", file=sys.stderr, flush=True)
        index += 1
    return campaign


def main() -> int:
    """Search as the options say; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.kill",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=600, help="time for all cases")
    parser.add_argument("--seed", type=int, help="seed of the cases; random if not given")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--cases", type=int, help="so many cases of each target, at any time")
    parser.add_argument("--case", help="run one case again: TARGET:SEED:INDEX")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        root = Path(folder).resolve()
        os.environ[CACHE_VARIABLE] = str(root / "cache")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        if options.case:
            name, seed, index = options.case.split(":")
            campaign = Campaign(int(seed), root)
            campaign.case(name, int(index))
        else:
            print(f"kill: seed {seed}", file=sys.stderr, flush=True)
            campaign = search(options.seconds, seed, options.targets, root, options.cases)
        print(campaign.report())
    return int(bool(campaign.findings))


if __name__ == "__main__":
    sys.exit(main())
