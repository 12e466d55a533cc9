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
import csv
import gzip
import hashlib
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import zlib
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

import yaml

CACHE_VARIABLE = "HYPERSPACE_CACHE"
_LONGEST_S = 600.0
_SIGNALS = {"KILL": getattr(signal, "SIGKILL", signal.SIGTERM)}
if os.name == "posix":  # elsewhere, it cannot be handled
    _SIGNALS["TERM"] = signal.SIGTERM
_CHILD_MODULE = "tests.fuzz.kill_child"
_TEMPORARY = ".hyperspace-"

Call = tuple[object, ...]


@dataclass(frozen=True)
class Reference:
    """What an uninterrupted command left, and how long it took."""

    state: dict[str, str]
    events: int
    seconds: float


class Target(ABC):
    """A command that is killed."""

    name: str

    @abstractmethod
    def prepare(self, folder: Path) -> None:
        """Write what there is before the command."""

    @abstractmethod
    def call(self, folder: Path) -> Call:
        """Return the command, or the one that continues what is in the folder."""

    @abstractmethod
    def state(self, folder: Path) -> dict[str, str]:
        """Return what must be equal in the end, by name."""

    def check_killed(self, folder: Path, reference: Reference) -> list[str]:
        """Return what is wrong after a kill."""
        return []


def digest(path: Path) -> str:
    """Return a digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Overwrite(Target):
    """A file is replaced by another one."""

    action = "write_volume"

    def __init__(self, name: str, file: str) -> None:
        self.name, self.file = name, file

    def prepare(self, folder: Path) -> None:
        """Write the former file."""
        former = folder.parent / f"former-{self.file}"
        if not former.exists():
            run(folder, (self.action, str(former), 1))
        shutil.copyfile(former, folder / self.file)

    def call(self, folder: Path) -> Call:
        """Write the new file."""
        return (self.action, str(folder / self.file), 2)

    def state(self, folder: Path) -> dict[str, str]:
        """Return the digest of the file."""
        return {self.file: digest(folder / self.file)}

    def check_killed(self, folder: Path, reference: Reference) -> list[str]:
        """The file is the former one or the new one."""
        known = (digest(folder.parent / f"former-{self.file}"), reference.state[self.file])
        return [] if digest(folder / self.file) in known else [f"{self.file} is not whole"]


class ModelFile(Overwrite):
    """A model file is replaced by another one."""

    action = "write_model"


class InPlace(Overwrite):
    """A file is replaced by a writer that is not atomic: what the harness must find."""

    action = "write_in_place"


class Cache(Target):
    """Measurements are added to those of another process."""

    name = "cache"

    def prepare(self, folder: Path) -> None:
        """Store some measurements."""
        run(folder, ("write_measurements", str(folder), 0))

    def call(self, folder: Path) -> Call:
        """Store more of them."""
        return ("write_measurements", str(folder), 1000)

    def state(self, folder: Path) -> dict[str, str]:
        """Return what is stored."""
        values = json.loads((folder / "measured-trace.json").read_text("utf-8"))
        return {key: json.dumps(value) for key, value in values.items()}

    def check_killed(self, folder: Path, reference: Reference) -> list[str]:
        """Nothing of the former measurements is lost, and no value is wrong."""
        found = self.state(folder)
        wrong = [key for key, value in found.items() if reference.state[key] != value]
        lost = [key for key in reference.state if len(key) <= len("key 99") and key not in found]
        return [f"wrong: {wrong}"] * bool(wrong) + [f"lost: {lost}"] * bool(lost)


class Fit(Target):
    """A training; what continues it is ``--resume``."""

    def __init__(self, name: str, workers: int) -> None:
        self.name, self.workers = name, workers

    def prepare(self, folder: Path) -> None:
        """Write the data set and the configuration."""
        write_data(folder)
        values = run_values()
        values["compute"]["workers"] = self.workers
        (folder / "run.yaml").write_text(yaml.safe_dump(values))

    def call(self, folder: Path) -> Call:
        """Train, or continue."""
        command = ("hyperspace", "fit", "run.yaml", "--out", "run")
        resumable = (folder / "run/checkpoints/last.safetensors").exists()
        return (*command, "--resume") if resumable else command

    def state(self, folder: Path) -> dict[str, str]:
        """Return weights, checkpoints and log, without times."""
        return run_state(folder / "run")

    def check_killed(self, folder: Path, reference: Reference) -> list[str]:
        """Checkpoints and the model file are whole."""
        return damaged(folder / "run")


class Compare(Target):
    """A comparison of two methods; the same command continues it."""

    name = "compare"

    def prepare(self, folder: Path) -> None:
        """Write the data set and the configuration."""
        write_data(folder)
        parts = {"training": ["tiny_002", "tiny_003"], "validation": ["tiny_000", "tiny_001"]}
        (folder / "split.json").write_text(json.dumps(parts))
        section: dict[str, Any] = {
            "methods": {"HS": {}, "AS": {"set": {"factory": {"kind": "constant"}}}},
            "tables": {
                "main": {
                    "title": "All",
                    "seeds": [0],
                    "methods": ["HS", "AS"],
                    "pairs": [["HS", "AS"]],
                }
            },
            "draws": 2,
            "segments": [[[2, 2, 2], [3, 3, 3]]],
        }
        values = run_values()
        values["data"]["split"] = "split.json"
        values["training"]["steps"] = 2
        text = yaml.safe_dump({**values, "comparison": section}, sort_keys=False)
        (folder / "compare.yaml").write_text(text)

    def call(self, folder: Path) -> Call:
        """Compare."""
        return ("hyperspace", "compare", "compare.yaml", "--out", "runs", "--device", "cpu")

    def state(self, folder: Path) -> dict[str, str]:
        """Return the rows of the measurements without times, and the weights."""
        state = {}
        for run_folder in sorted((folder / "runs").glob("*-0")):
            for name, value in run_state(run_folder).items():
                state[f"{run_folder.name}/{name}"] = value
            with open(run_folder / "evaluation/rows.csv", newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    kept = {k: v for k, v in row.items() if "second" not in k and "peak" not in k}
                    state[f"{run_folder.name} {sorted(kept.items())}"] = ""
        state["report"] = str((folder / "runs/report.md").exists())
        return state

    def check_killed(self, folder: Path, reference: Reference) -> list[str]:
        """Checkpoints and model files are whole."""
        return [found for each in (folder / "runs").glob("*-0") for found in damaged(each)]


class Predict(Target):
    """Labels of a folder of scans; the same command repeats it."""

    name = "predict"

    def prepare(self, folder: Path) -> None:
        """Write a model and scans."""
        shared = folder.parent / "predict-input"
        if not shared.exists():
            shared.mkdir()
            run(folder, ("write_model", str(shared / "model.safetensors"), 1))
            write_data(shared)
        shutil.copyfile(shared / "model.safetensors", folder / "model.safetensors")
        shutil.copytree(shared / "tiny/imagesTr", folder / "scans")

    def call(self, folder: Path) -> Call:
        """Segment all scans."""
        options = ("--model", "model.safetensors", "--spacing", "2", "--device", "cpu")
        return ("hyperspace", "predict", "scans", "labels", *options)

    def state(self, folder: Path) -> dict[str, str]:
        """Return the digests of voxels and affine; the files also contain when they were made."""
        import nibabel
        import numpy as np

        state = {}
        for path in sorted((folder / "labels").glob("[!.]*")):
            try:
                image = nibabel.load(path)
                data = np.asanyarray(image.dataobj).tobytes() + image.affine.tobytes()
                gzip.decompress(path.read_bytes())  # with its checksum
                state[path.name] = hashlib.sha256(data).hexdigest()
            except (OSError, EOFError, ValueError, zlib.error) as error:
                state[path.name] = f"{type(error).__name__}: {error}"
        return state

    def check_killed(self, folder: Path, reference: Reference) -> list[str]:
        """Each label map is whole."""
        found = self.state(folder)
        return [f"{name} is not whole" for name in found if found[name] != reference.state[name]]


class Table(Predict):
    """Labels of a folder with a damaged scan, and the table of results and failures."""

    name = "predict-table"

    def prepare(self, folder: Path) -> None:
        """Write a model, scans, a damaged scan and the table of a former command."""
        super().prepare(folder)
        scan = folder / "scans/tiny_000.nii.gz"
        scan.write_bytes(scan.read_bytes()[:200])
        (folder / "table.csv").write_text("former")

    def call(self, folder: Path) -> Call:
        """Segment all scans and write the table."""
        return ("hyperspace_with_failure", *super().call(folder)[1:], "--table", "table.csv")

    def state(self, folder: Path) -> dict[str, str]:
        """Return the label maps and the rows without times."""
        return {**super().state(folder), **self.rows(folder)}

    @staticmethod
    def rows(folder: Path) -> dict[str, str]:
        """Return the rows without times."""
        with open(folder / "table.csv", newline="", encoding="utf-8") as file:
            rows = [{**row, "seconds": ""} for row in csv.DictReader(file)]
        return {f"row {number}": str(row) for number, row in enumerate(rows)}

    def check_killed(self, folder: Path, reference: Reference) -> list[str]:
        """The table is the former or the new one, and each label map is whole."""
        found = []
        if (folder / "table.csv").read_text("utf-8") != "former":
            rows = {k: v for k, v in reference.state.items() if k.startswith("row ")}
            found += [] if self.rows(folder) == rows else ["the table is not whole"]
        labels = Predict.state(self, folder)
        return found + [f"{n} is not whole" for n in labels if labels[n] != reference.state[n]]


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Overwrite("nifti", "labels.nii"),
        Overwrite("nifti-gz", "labels.nii.gz"),
        Overwrite("nrrd", "labels.nrrd"),
        Overwrite("metaimage", "labels.mha"),
        ModelFile("model", "model.safetensors"),
        Cache(),
        Predict(),
        Table(),
        Fit("fit", workers=0),
        Fit("fit-workers", workers=2),
        Compare(),
    )
}


FAULTY = InPlace("in-place", "plain.bin")


def write_data(folder: Path) -> None:
    """Write a data set of four small scans."""
    from tests.training.conftest import write_dataset

    write_dataset(folder / "tiny", 4)


def run_values() -> dict[str, Any]:
    """Return the configuration of a run of less than a second."""
    from tests.fuzz.models import config_values

    values = config_values()
    values["data"]["validation_cases"] = 2
    values["training"]["steps"] = 6
    values["validation"]["every_steps"] = 2
    values["optimizer"]["ema_decay"] = 0.9
    return values


def run_state(folder: Path) -> dict[str, str]:
    """Return the state of a run without times: tensors, progress and log."""
    from safetensors import safe_open

    state = {}
    names = ("model", "checkpoints/last", "checkpoints/best")
    for path in (folder / f"{name}.safetensors" for name in names):
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                array = file.get_tensor(name)
                found = hashlib.sha256(array.tobytes()).hexdigest()
                state[f"{path.name} {name}"] = f"{array.shape} {found}"
            text = (file.metadata() or {}).get("hyperspace-checkpoint")
        if text is not None:
            progress = json.loads(text)["progress"]
            state[f"{path.name} progress"] = str({**progress, "seconds": 0})
    for line in (folder / "log.jsonl").read_text("utf-8").splitlines():
        entry = json.loads(line)
        state[f"log {entry['event']} {entry['step']}"] = str({**entry, "seconds": 0})
    return state


def damaged(folder: Path) -> list[str]:
    """Return which model files and checkpoints of a run are not whole."""
    from safetensors import SafetensorError, safe_open

    found = []
    for path in folder.rglob("[!.]*.safetensors"):
        try:
            with safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118
                    file.get_tensor(name)
        except SafetensorError as error:
            found.append(f"{path.name}: {error}")
    return found


def start(folder: Path, call: Call, event: int | None, number: int) -> tuple[Any, Connection]:
    """Start a child, and return it with the connection to it once it begins."""
    method = "forkserver" if os.name == "posix" else "spawn"
    context = multiprocessing.get_context(method)
    context.set_forkserver_preload([_CHILD_MODULE])
    from tests.fuzz import kill_start

    here, there = context.Pipe(duplex=False)
    arguments = (there, str(folder), call, event, number)
    process = context.Process(target=kill_start.main, args=arguments)
    process.start()
    there.close()
    try:
        here.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the child did not start: {folder}.log") from None
    return process, here


def finish(process: Any, connection: Connection) -> tuple[int | None, tuple[int, float] | None]:
    """Wait for a child; return its exit status (`None`: it does not end) and what it sent."""
    try:
        sent = connection.recv() if connection.poll(_LONGEST_S) else None
    except (EOFError, OSError):
        sent = None
    process.join(_LONGEST_S if sent is None else 60)
    status = process.exitcode
    if status is None:
        process.kill()
        process.join()
    connection.close()
    return status, sent


def run(folder: Path, call: Call) -> tuple[int, float]:
    """Run a command to its end; return the number of its file operations and the seconds."""
    status, sent = finish(*start(folder, call, None, 0))
    if status != 0 or sent is None:
        log = Path(f"{folder}.log").read_text("utf-8", "replace")[-600:]
        raise RuntimeError(f"{' '.join(map(str, call))} ended with {status}: {log}")
    return sent


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
