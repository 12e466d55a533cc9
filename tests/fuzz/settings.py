"""Configurations, overrides, and the JSON and CSV files that the program reads back."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
import yaml

from napari_hyperspace.core.errors import HyperspaceError
from tests.fuzz import mutations
from tests.fuzz.case import Case, Target, Wrong
from tests.fuzz.models import config_values, prepare_rates, tiny_model
from tests.fuzz.readers import AFFINE, VOXELS

_YAML_TEXTS = (
    *("a: [", "a: b: c", "\t- x", "a: &x [*x]", "&a {x: *a}", "!!python/object:os.system x"),
    *("!!python/name:os.system", "<<: 1", "a: !!float x", "? [1, 2]\n: 3", "--- 1\n--- 2"),
    *("a: &x [1]\nb: [*x, *x, *x]", "- - - -", "a: 1\na: 2", "0x10: 1", "1e999: nan", "~: ~"),
    *("a: 2024-13-45", "a: !!binary '%%'", "a: !!set {b}", "a: !!timestamp x", "- 1:99:99"),
    "%YAML 9",
)


def _bomb() -> str:
    """Return YAML whose aliases expand to more values than there is memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join(lines)


def comparison_values() -> dict[str, Any]:
    """Return the configuration of a tiny comparison."""
    values = config_values()
    values["data"]["split"] = "split.json"
    values["comparison"] = {
        "report": "report.md",
        "methods": {
            "HS": {"about": "One for all."},
            "AS": {"set": {"factory": {"kind": "constant"}}},
            "HS MaxRes": {"run": "HS", "outside": "clamp"},
        },
        "tables": {
            "methods": {
                "title": "A",
                "seeds": [0],
                "methods": ["HS", "AS"],
                "pairs": [["HS", "AS"]],
            }
        },
        "draws": 2,
        "intervals": ["0.8:5"],
        "segments": [[[1, 1, 1], [3, 1, 1]]],
    }
    return values


class ConfigTarget(Target):
    """Configurations of all kinds, read as `fit`, `compare`, `synthesize` and `check` do."""

    name = "configuration"
    share = 2.0

    def prepare(self) -> None:
        """Read the configurations that are included."""
        import training.config.fit
        from training.comparison import config  # noqa: F401
        from training.sampling import synthesize  # noqa: F401

        folder = Path(training.config.fit.__file__).parents[1] / "configs"
        self.samples: list[Any] = [
            config_values(),
            comparison_values(),
            {"data": {"kind": "pairs", "folder": ".", "names": {1: "a"}, "labels": {1: "2-5"}}},
            {"data": {"kind": "label-maps", "folder": "."}, "synthesis": {"gamma": 0.1}},
        ]
        self.n_made = len(self.samples)
        texts = [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.yaml"))]
        self.samples += [yaml.safe_load(text) for text in texts]
        self.n_sound = self.n_made

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return Case({"run.yaml": _yaml(self.samples[index])}, options={"kind": index})

    def mutated(self, random: Random) -> Case:
        """Return a configuration with other values, or damaged text."""
        number = random.randrange(len(self.samples))
        kind = random.random()
        if kind < 0.08:
            text = random.choice((*_YAML_TEXTS, _bomb(), "[" * 5000, "x: " * 3000))
            data = mutations.encoded(text)
            if random.random() < 0.5:
                data = _yaml(self.samples[number]) + b"\n" + data
        elif kind < 0.25:
            data = mutations.mutate_bytes(random, _yaml(self.samples[number]))
        elif kind < 0.4:
            data = mutations.mutate_lines(random, _yaml(self.samples[number]), b":")
        else:
            data = _yaml(mutations.mutate_tree(random, _plain(self.samples[number])))
        return Case({"run.yaml": data}, options={"kind": min(number, self.n_made)})

    def run(self, folder: Path, case: Case) -> None:
        """Read the configuration, and make its factory on the meta device."""
        from napari_hyperspace.nets.build import build_factory
        from training.comparison.config import load_comparison
        from training.config.data import load_data_section
        from training.config.fit import load_config
        from training.sampling.synthesize import open_label_maps

        path = folder / "run.yaml"
        if case.options["kind"] == 2:
            load_data_section(path)
        elif case.options["kind"] == 3:
            open_label_maps(path)
        elif case.options["kind"] == 1:
            comparison = load_comparison(path)
            for method, seed in comparison.runs():
                comparison.config(method, seed)
            comparison.section.groups()
        else:
            config, _ = load_config(path)
            json.dumps(config.model_dump(mode="json"), allow_nan=False)
            with torch.device("meta"):
                build_factory(config.network, config.factory)


def _yaml(values: Any) -> bytes:
    try:
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    except RecursionError:
        text = json.dumps(values)  # which is YAML, too
    return mutations.encoded(text)


def _plain(values: Any) -> Any:
    """Return YAML's values as JSON's: keys become text."""
    return json.loads(json.dumps(values))


class OverrideTarget(Target):
    """Options `--set key=value` of `fit`."""

    name = "override"

    def prepare(self) -> None:
        """Import the configuration."""
        from training.config.errors import _keys
        from training.config.fit import FitConfig

        self.keys = sorted(dict(_keys(FitConfig)))
        self.data = _yaml(config_values())

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return Case({"run.yaml": self.data}, options={"set": ["training.steps=2"]})

    def mutated(self, random: Random) -> Case:
        """Return overrides of random keys by random values."""
        overrides = []
        for _ in mutations.changes(random):
            key = random.choice(self.keys)
            if random.random() < 0.15:
                key = mutations.mutate_bytes(random, key.encode()).decode(errors="replace")
            if random.random() < 0.1:
                key += random.choice((".x", ".", "..", ".0", ".kind", "." * 900, ".a" * 900))
            value = random.choice((*_YAML_TEXTS, "[1, 2]", "{a: 1}", "[[1, 2], [1, 2], [1, 2]]"))
            if random.random() < 0.7:
                value = mutations.word(random)
            text = f"{key}={value}" if random.random() < 0.95 else key
            overrides.append(text.replace("\ud800", "?"))
        return Case({"run.yaml": self.data}, options={"set": overrides})

    def run(self, folder: Path, case: Case) -> None:
        """Read the configuration with the overrides."""
        from training.config.fit import load_config

        config, _ = load_config(folder / "run.yaml", case.options["set"])
        json.dumps(config.model_dump(mode="json"), allow_nan=False)


_MACHINE = "this machine"  # stands for the key of the machine


class RatesTarget(Target):
    """The cache of measured rates: invalid ones are discarded, valid ones give finite times."""

    name = "rates"
    may_write: ClassVar[tuple[str, ...]] = ("measured-*.json", ".lock")

    def prepare(self) -> None:
        """Make the rates of this machine."""
        import napari_hyperspace as hs
        from napari_hyperspace.cost.calibrate import _key
        from napari_hyperspace.cost.rates import encode
        from tests.rates import CALIBRATION

        prepare_rates()
        # A case is the same on every machine and with any number of threads; see `run`.
        self.machine = json.dumps(_key(torch.device("cpu"))).encode()
        self.values = json.loads(json.dumps({_MACHINE: encode(CALIBRATION)}))
        self.model = tiny_model()
        self.scan = hs.Volume(VOXELS, hs.Grid(VOXELS.shape, AFFINE), "scan")

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return Case({"measured-rates.json": mutations.encoded(json.dumps(self.values))})

    def mutated(self, random: Random) -> Case:
        """Return other rates."""
        values = self.values
        if random.random() < 0.8:
            values = {_MACHINE: mutations.mutate_tree(random, values[_MACHINE])}
        return Case({"measured-rates.json": mutations.json_text(random, values)})

    def changed(self, case: Case) -> set[str]:
        """Return the cache."""
        return set(case.files)

    def run(self, folder: Path, case: Case) -> None:
        """Estimate with the rates, if they are accepted."""
        import os

        import napari_hyperspace as hs
        from napari_hyperspace.core.store import _MEMORY, CACHE_VARIABLE
        from napari_hyperspace.cost.calibrate import _decoded, _key, _repeated, is_calibrated

        path = folder / "measured-rates.json"
        path.write_bytes(path.read_bytes().replace(json.dumps(_MACHINE).encode(), self.machine))
        former = os.environ[CACHE_VARIABLE]
        os.environ[CACHE_VARIABLE] = str(folder)
        _decoded.clear()
        _repeated.add(_key(torch.device("cpu")))  # nothing is measured here
        _MEMORY.clear()  # of this process: the folder was used by the case before
        try:
            if not is_calibrated(torch.device("cpu")):
                raise HyperspaceError("the rates are not valid")
            cost = hs.estimate(self.scan, self.model, (1, 1, 1), device="cpu")
            if not (math.isfinite(cost.seconds) and cost.seconds > 0):
                raise Wrong(f"an estimate of {cost.seconds} s")
        finally:
            os.environ[CACHE_VARIABLE] = former
            _decoded.clear()
            _MEMORY.clear()


def dataset_files() -> dict[str, bytes]:
    """Return a data set of four cases in the layout of the Decathlon."""
    import nibabel as nib

    random = np.random.default_rng(3)
    files = {}
    listed = []
    for index in range(4):
        image = random.normal(100, 20, (12, 11, 10)).astype(np.float32)
        labels = np.zeros(image.shape, np.uint8)
        labels[3:6, 3:8, 3:7], labels[6:9, 3:8, 3:7] = 1, 2
        for folder, array in (("imagesTr", image), ("labelsTr", labels)):
            made = nib.Nifti1Image(array, np.diag([1.0, 1.5, 1.25, 1]))
            files[f"tiny/{folder}/case_{index}.nii"] = made.to_bytes()
        listed.append(
            {"image": f"./imagesTr/case_{index}.nii", "label": f"./labelsTr/case_{index}.nii"}
        )
    description = {
        "name": "Tiny",
        "licence": "CC0",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "front", "2": "back"},
        "numTraining": 4,
        "training": listed,
    }
    return {"tiny/dataset.json": mutations.encoded(json.dumps(description)), **files}


class TableTarget(Target):
    """Descriptions of data sets, tables of cases, splits, rows, parameters of pairs, logs."""

    name = "table"
    share = 2.0
    may_write: ClassVar[tuple[str, ...]] = ("evaluation/*", "run/*")

    def prepare(self) -> None:
        """Make one file of each kind."""
        from tests.fuzz.evaluations import evaluation_files, pair_files

        self.dataset = dataset_files()
        nnunet = {
            "channel_names": {"0": "T1"},
            "labels": {"background": 0, "front": 1, "back": 2},
            "numTraining": 4,
            "file_ending": ".nii",
            "name": "Tiny",
        }
        images = [name for name in self.dataset if "images" in name]
        renamed = {
            name.replace(".nii", "_0000.nii") if name in images else name: content
            for name, content in self.dataset.items()
        }
        cases = "name,image_t1,label,subject\na,imagesTr/case_0.nii,labelsTr/case_0.nii,s\n"
        cases += '"b, c",imagesTr/case_1.nii,labelsTr/case_1.nii,\n'
        data = {"data": {"kind": "pairs", "folder": "tiny", "names": {1: "x", 2: "y"}}}
        split = json.dumps({"training": ["case_0"], "validation": ["case_1"]})
        log = '{"event": "training", "step": 1, "seconds": 0.5, "loss": 1.0}\n'
        log += '{"event": "validation", "step": 1, "seconds": 0.5, "dice": 0.5, "spacings": []}\n'
        self.samples: list[tuple[str, str, dict[str, bytes]]] = [
            ("dataset", "tiny/dataset.json", dict(self.dataset)),
            ("dataset", "tiny/dataset.json", {**renamed, "tiny/dataset.json": _json(nnunet)}),
            (
                "pairs",
                "tiny/cases.csv",
                {**self.dataset, "tiny/cases.csv": cases.encode(), "data.yaml": _yaml(data)},
            ),
            ("split", "split.json", {"split.json": split.encode()}),
            ("log", "run/log.jsonl", {"run/log.jsonl": log.encode()}),
        ]
        self.samples += [("rows", name, evaluation_files()) for name in evaluation_files()]
        self.samples += [("pair", "pair.json", pair_files())]
        self.n_sound = len(self.samples)

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        kind, _, files = self.samples[index]
        return Case(dict(files), options={"kind": kind})

    def mutated(self, random: Random) -> Case:
        """Return a file of other values, or damaged as text."""
        kind, name, files = random.choice(self.samples)
        data = files[name]
        if name.endswith(".json") and random.random() < 0.7:
            data = mutations.json_text(random, mutations.mutate_tree(random, json.loads(data)))
        elif random.random() < 0.5:
            data = mutations.mutate_bytes(random, data)
        elif name.endswith(".csv"):
            data = _cells(random, data)
        else:
            data = mutations.mutate_lines(random, data, b":")
        return Case({**files, name: data}, options={"kind": kind})

    def changed(self, case: Case) -> set[str]:
        """Return the files that an evaluation or a resumed run writes again."""
        return {name for name in case.files if name.startswith(("evaluation/", "run/"))}

    def run(self, folder: Path, case: Case) -> None:
        """Read the file as the program does."""
        from tests.fuzz.evaluations import open_evaluation, read_pair
        from training.data import dataset_at
        from training.data.check import check, describe
        from training.data.splits import read_split
        from training.fit.run_folder import RunFolder

        kind = case.options["kind"]
        if kind in ("dataset", "pairs"):
            source = folder / ("tiny" if kind == "dataset" else "data.yaml")
            report = check(source)
            describe(report)
            json.dumps(report.to_dict())
            if report.count("error"):
                raise HyperspaceError("the data set has errors")
            data = dataset_at(source)
            _ = data.channel_names, data.label_names
            if not data.cases():
                raise Wrong("no case and no error")
        elif kind == "split":
            read_split(folder / "split.json")
        elif kind == "log":
            run = RunFolder(folder / "run")
            run.entries()
            run.rewind(1)
        elif kind == "pair":
            read_pair(folder / "pair.json")
        else:
            open_evaluation(folder / "evaluation")


def _json(values: Any) -> bytes:
    return mutations.encoded(json.dumps(values))


def _cells(random: Random, data: bytes) -> bytes:
    """Replace, remove or add cells of a table."""
    rows = [line.split(b",") for line in data.split(b"\n")]
    for _ in mutations.changes(random):
        row = random.choice(rows)
        at = random.randrange(len(row)) if row else 0
        kind = random.randrange(4)
        if kind == 0 and row:
            del row[at]
        elif kind == 1 or not row:
            row.insert(at, mutations.encoded(mutations.word(random)))
        else:
            row[at] = mutations.encoded(mutations.word(random))
    return b"\n".join(b",".join(row) for row in rows)


TARGET_TYPES: tuple[type[Target], ...] = (ConfigTarget, OverrideTarget, RatesTarget, TableTarget)
