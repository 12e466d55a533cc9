"""What the harness of kills starts, and what must hold after a kill."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import shutil
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz.kill_processes import Call, run


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
