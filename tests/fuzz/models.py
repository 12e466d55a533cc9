"""Model files, checkpoints of trainings and pickled checkpoints as targets."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed.nn  # torch 2.8 makes a temporary folder when it is imported, and keeps it

from tests.fuzz import mutations
from tests.fuzz.case import Case, Refused, Target, Wrong

MODEL_KEY, DIGEST_KEY = "hyperspace", "hyperspace-digest"


def network_values() -> dict[str, Any]:
    """Return the configuration of a tiny network."""
    return {"out_channels": 3, "channels": 2, "strides": [[2, 2, 2]], "convs_per_level": 1}


def card_values() -> dict[str, Any]:
    """Return the card of a tiny model."""
    return {
        "name": "tiny",
        "labels": [{"value": 1, "name": "left part"}, {"value": 2, "name": "right part"}],
        "trained_range_mm": [[0.5, 5.0]] * 3,
        "tile_shape": [32, 32, 32],
        "dice": [{"spacing_mm": [1, 1, 1], "dice": {"left part": 0.5}, "mean": 0.5}],
        "training": {"seed": 1, "steps": 3, "seconds": 1.0},
    }


def tiny_model(factory: dict[str, Any] | None = None, **card: Any) -> Any:
    """Return a model whose weights are the same on every machine."""
    from pydantic import TypeAdapter

    from napari_hyperspace.nets.build import FactoryConfig, build_factory
    from napari_hyperspace.nets.card import ModelCard
    from napari_hyperspace.nets.model import Model
    from napari_hyperspace.nets.plain.config import UNetConfig

    factory = factory or {
        "kind": "hypernetwork",
        "rank": 2,
        "hidden": [3],
        "range_mm": [[0.5, 5.0]] * 3,
    }
    made = build_factory(
        UNetConfig.model_validate(network_values()),
        TypeAdapter(FactoryConfig).validate_python(factory),
    )
    random = np.random.default_rng(7)
    for tensor in made.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(random.normal(0, 0.1, tuple(tensor.shape))))
    return Model(made, ModelCard.model_validate({**card_values(), **card}))


def saved(write: Callable[[Path], object], name: str) -> bytes:
    """Return the bytes of a file that a function writes, the same every time."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder, name))
        data = Path(folder, name).read_bytes()
    return _ordered(data) if name.endswith(".safetensors") else data


def packed(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> bytes:
    """Return a safetensors file, the same every time."""
    from safetensors.torch import save

    return _ordered(save(tensors, metadata))


def _ordered(data: bytes) -> bytes:
    """Order the header of a safetensors file, whose metadata are in random order."""
    header, tensors = split(data)
    text = json.dumps(json.loads(header), sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + tensors


def split(data: bytes) -> tuple[bytes, bytes]:
    """Return the header of a safetensors file and its tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + length], data[8 + length :]


def damaged_safetensors(random: Random, data: bytes) -> bytes:
    """Damage a file: any bytes, its header as text, or the fields of its header."""
    header, tensors = split(data)
    kind = random.randrange(4)
    if kind == 0:
        return mutations.mutate_bytes(random, data)
    if kind == 1:
        return mutations.mutate_bytes(random, data, 8 + len(header))
    if kind == 2:
        header = mutations.mutate_bytes(random, header)
    else:
        header = mutations.json_text(random, mutations.mutate_tree(random, json.loads(header)))
    return struct.pack("<Q", len(header)) + header + tensors


def _tensors(random: Random, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors of which one is missing, doubled, of another shape or type, or not finite."""
    changed = dict(tensors)
    name = random.choice(sorted(changed))
    kind = random.randrange(6)
    if kind == 0:
        del changed[name]
    elif kind == 1:
        changed[mutations.word(random)[:200].encode(errors="replace").decode()] = torch.ones(3)
    elif kind == 2:
        changed[name] = changed[name].reshape(-1)[: random.randrange(5)].clone()
    elif kind == 3:
        changed[name] = changed[name].to(random.choice((torch.float16, torch.int8, torch.float64)))
    elif kind == 4:
        changed[name] = torch.full_like(changed[name], random.choice((float("nan"), 3e38, 0)))
    else:
        changed[name] = torch.zeros((0, *changed[name].shape))
    return changed


class ModelTarget(Target):
    """Model files damaged in any way: what opens has the weights and the card that were saved."""

    name = "model"

    def prepare(self) -> None:
        """Make models of three kinds, and one without checksum."""
        from safetensors.torch import load

        from napari_hyperspace.nets.model_file import save_model

        kinds = (None, {"kind": "constant"})
        self.samples = [
            saved(lambda path, kind=kind: save_model(tiny_model(kind), path), "a.safetensors")
            for kind in kinds
        ]
        half = saved(lambda path: save_model(tiny_model(), path, dtype="float16"), "a.safetensors")
        self.samples.append(half)
        header = json.loads(split(self.samples[0])[0])["__metadata__"]
        self.samples.append(packed(load(self.samples[0]), {MODEL_KEY: header[MODEL_KEY]}))
        self.n_sound = len(self.samples)

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return Case({"a.safetensors": self.samples[index]}, expected=index)

    def mutated(self, random: Random) -> Case:
        """Return a damaged file; the one without a checksum may change its meaning."""
        number = random.randrange(len(self.samples))
        data = damaged_safetensors(random, self.samples[number])
        expected = number if number < 3 else None
        return Case({"a.safetensors": data}, expected=expected)

    def run(self, folder: Path, case: Case) -> None:
        """Load the model; compare it with the one that was saved."""
        from safetensors.torch import load

        from napari_hyperspace import load_model
        from napari_hyperspace.nets.model_file import read_card

        path = folder / "a.safetensors"
        model = load_model(path)
        header = read_card(path)
        if case.expected is None:
            return
        sound = self.samples[int(str(case.expected))]
        wanted = json.loads(json.loads(split(sound)[0])["__metadata__"][MODEL_KEY])
        if header.model_dump(mode="json") != wanted:
            raise Wrong("another card or configuration, although the file has a checksum")
        for name, tensor in load(sound).items():
            if not torch.equal(model.factory.state_dict()[name], tensor.float()):
                raise Wrong(f"other weights ({name}), although the file has a checksum")


class HostileModelTarget(Target):
    """Model files made on purpose: any values, with a checksum that is right."""

    name = "hostile-model"

    def prepare(self) -> None:
        """Make a model, and rates, so that nothing is measured."""
        from safetensors.torch import load

        import napari_hyperspace as hs
        from napari_hyperspace.nets.model_file import save_model
        from tests.fuzz.readers import AFFINE, VOXELS

        data = saved(lambda path: save_model(tiny_model(), path), "a.safetensors")
        metadata = json.loads(split(data)[0])["__metadata__"]
        self.values: Any = json.loads(metadata[MODEL_KEY])
        self.tensors = load(data)
        self.scan = hs.Volume(VOXELS, hs.Grid(VOXELS.shape, AFFINE), "scan")
        prepare_rates()

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return self._case(Random(0), self.values, self.tensors)

    def mutated(self, random: Random) -> Case:
        """Return a model file of other values."""
        values, tensors = self.values, self.tensors
        if random.random() < 0.85:
            values = mutations.mutate_tree(random, values)
        else:
            tensors = _tensors(random, tensors)
        return self._case(random, values, tensors, damaged=True)

    def _case(self, random: Random, values: Any, tensors: Any, *, damaged: bool = False) -> Case:
        from napari_hyperspace.nets.digest import digest_of

        text = json.dumps(values)
        if damaged:
            text = mutations.json_text(random, values).decode("utf-8", errors="replace")
        metadata = {MODEL_KEY: text, DIGEST_KEY: digest_of(text, tensors)}
        spacing = random.choice(((1.0, 1.0, 1.0), (0.9, 3.0, 0.7)))
        return Case({"a.safetensors": packed(tensors, metadata)}, options={"spacing": spacing})

    def run(self, folder: Path, case: Case) -> None:
        """Load the model, estimate and segment."""
        import napari_hyperspace as hs

        model = hs.load_model(folder / "a.safetensors")
        options: Any = {"outside": "clamp", "device": "cpu"}
        cost = hs.estimate(self.scan, model, case.options["spacing"], **options)
        if not 0 <= cost.seconds < 1e9 or cost.peak_bytes < 0 or cost.peak_host_bytes < 0:
            raise Wrong(f"an estimate of {cost}")
        labels = hs.segment(self.scan, model, case.options["spacing"], precision="fp32", **options)
        if labels.grid != self.scan.grid or labels.array.shape != self.scan.array.shape:
            raise Wrong("labels on another grid")
        unknown = {*np.unique(labels.array).tolist()} - {0, *model.label_names}
        if unknown:
            raise Wrong(f"labels that the card does not have: {unknown}")


def prepare_rates() -> None:
    """Store rates of this machine, so that nothing is measured."""
    from napari_hyperspace.core import store
    from napari_hyperspace.cost.calibrate import _key
    from napari_hyperspace.cost.rates import encode
    from tests.rates import CALIBRATION

    store.keep("rates", _key(torch.device("cpu")), encode(CALIBRATION))


class CheckpointTarget(Target):
    """Checkpoints of trainings: what is read is what was written; any values may be exported."""

    name = "checkpoint"
    may_write: ClassVar[tuple[str, ...]] = ("out.safetensors",)
    _NAME = "run/checkpoints/best.safetensors"

    def prepare(self) -> None:
        """Make a checkpoint, and the same without checksum."""
        from safetensors.torch import load

        from training.config.fit import parse_config
        from training.fit import checkpoint, export  # noqa: F401

        model = tiny_model()
        config = parse_config(config_values()).model_dump(mode="json")
        tensors = {f"factory.{k}": v for k, v in model.factory.state_dict().items()}
        tensors |= {"optimizer.heads.0.exp_avg": torch.zeros(3)}
        score = {"spacing_mm": [1.0, 1.0, 1.0], "dice": {"left part": 0.5}, "cases": 2}
        progress = checkpoint.TrainingProgress(3, 0.5, 3, 0, 1.5, [0.1], [score])
        made = checkpoint.Checkpoint(
            progress, config, "fingerprint", model.card.model_dump(mode="json"), tensors
        )
        self.data = saved(lambda path: checkpoint.write_checkpoint([path], made), "a.safetensors")
        metadata = json.loads(split(self.data)[0])["__metadata__"]
        self.key = next(key for key in metadata if key.endswith("checkpoint"))
        self.checksum_key = next(key for key in metadata if key.endswith("checksum"))
        self.values: Any = json.loads(metadata[self.key])
        self.tensors = load(self.data)
        self.samples = [self.data, packed(self.tensors, {self.key: metadata[self.key]})]
        self.n_sound = len(self.samples)

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return Case({self._NAME: self.samples[index]}, expected=self.data)

    def mutated(self, random: Random) -> Case:
        """Return damaged bytes, or other values with a checksum that is right."""
        from training.fit.checkpoint import _checksum

        if random.random() < 0.4:
            data = damaged_safetensors(random, self.data)
            return Case({self._NAME: data}, expected=self.data)
        values, tensors = self.values, self.tensors
        if random.random() < 0.85:
            values = mutations.mutate_tree(random, values)
        else:
            tensors = _tensors(random, tensors)
        text = mutations.json_text(random, values).decode("utf-8", errors="replace")
        metadata = {self.key: text, self.checksum_key: _checksum(text, tensors)}
        return Case({self._NAME: packed(tensors, metadata)})

    def run(self, folder: Path, case: Case) -> None:
        """Read the checkpoint and export its model."""
        from napari_hyperspace import load_model
        from training.fit.checkpoint import read_checkpoint
        from training.fit.export import export_checkpoint

        path = folder / self._NAME
        read = read_checkpoint(path)
        if case.expected is not None:
            same = read.tensors.keys() == self.tensors.keys() and all(
                torch.equal(read.tensors[name], tensor) for name, tensor in self.tensors.items()
            )
            if not same or read.config != self.values["config"] or read.progress.step != 3:
                raise Wrong("other content, although the checkpoint has a checksum")
        export_checkpoint(path, folder / "out.safetensors")
        load_model(folder / "out.safetensors")


def config_values() -> dict[str, Any]:
    """Return the configuration of a tiny run."""
    return {
        "name": "tiny run",
        "seed": 3,
        "data": {"folder": "tiny", "validation_cases": 1},
        "spacing": {"range_mm": [[0.5, 5.0]] * 3},
        "network": network_values(),
        "factory": {"kind": "hypernetwork", "rank": 2, "hidden": [3]},
        "optimizer": {"learning_rate": 0.01, "warm_up_steps": 0},
        "training": {"steps": 1, "batch_size": 1, "patch_shape": [8, 8, 8]},
        "validation": {
            "every_steps": 1,
            "spacings_mm": [[2.0, 2.0, 2.0]],
            "report_spacings_mm": [[2.0, 2.0, 2.0]],
        },
        "compute": {"device": "cpu", "threads": 1, "workers": 0, "log_every_steps": 1},
    }


class _Call:
    """What a hostile pickle does when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def _pickled(value: Any, legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream, _use_new_zipfile_serialization=not legacy)
    if not legacy:
        return stream.getvalue()
    # A storage is named by its address: give it another name, the same every time.
    return re.sub(rb"X[\x09-\x20]\0\0\0[0-9]{9,20}", b"X\x01\0\0\x000", stream.getvalue())


class UnpickleTarget(Target):
    """The part of the isolated process that reads a pickle, in this child: it has no process."""

    name = "unpickle"
    limits_itself = True
    may_write: ClassVar[tuple[str, ...]] = ("state.safetensors",)

    def prepare(self) -> None:
        """Make checkpoints of both formats, and pickles that would run something."""
        import os

        import torch.serialization

        state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
        state["half"] = torch.ones(3, dtype=torch.float16)
        nested = {"model": state, "optimizer": {"state": {0: {"step": 1}}, "lr": [1e-3]}}
        one = {"a.weight": state["a.weight"]}  # several are stored in the order of their addresses
        self.samples = [_pickled(state), _pickled(nested), _pickled(one, legacy=True)]
        self.n_sound = len(self.samples)
        calls = (
            _Call(os.system, "touch executed"),
            _Call(eval, "open('executed', 'w')"),
            _Call(Path("executed").touch),
            _Call(bytearray, 1 << 40),
            _Call(torch.zeros, 1 << 30, 1 << 10),
        )
        self.hostile = [_pickled({"a": call}) for call in calls]
        self.hostile += [pickle.dumps({"a": call}) for call in calls]

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        return Case({"in.pt": self.samples[index]})

    def mutated(self, random: Random) -> Case:
        """Return damaged bytes, damaged members of the archive, or a hostile pickle."""
        kind = random.random()
        if kind < 0.15:
            data = random.choice(self.hostile)
            return Case({"in.pt": mutations.mutate_bytes(random, data) if kind < 0.05 else data})
        data = random.choice(self.samples)
        if kind < 0.5 or data[:2] != b"PK":
            return Case({"in.pt": mutations.mutate_bytes(random, data)})
        return Case({"in.pt": _archive(random, data)})

    def run(self, folder: Path, case: Case) -> None:
        """Read the tensors as the isolated process does, whose limits are not set here."""
        from napari_hyperspace.nets import unpickle

        limit, unpickle.limit_resources = unpickle.limit_resources, lambda n_bytes: None
        try:
            with warnings.catch_warnings():  # they go to the stderr of the process, which is read
                warnings.simplefilter("ignore")
                unpickle.main(str(folder / "in.pt"), str(folder / "state.safetensors"))
        except SystemExit as refusal:
            text = str(refusal.code)
            if not refusal.code or isinstance(refusal.code, int) or "\n" in text:
                raise Wrong(f"a refusal without a reason: {refusal.code!r}") from None
            raise Refused("the checkpoint cannot be read", found=text) from None
        finally:
            unpickle.limit_resources = limit
        if (folder / "executed").exists():
            raise Wrong("the pickle was executed")


def _archive(random: Random, data: bytes) -> bytes:
    """Damage the members of an archive, whose checksums are then right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        names = old.namelist()
        chosen = random.choice(names)
        for name in names:
            content = old.read(name)
            if name == chosen:
                content = mutations.mutate_bytes(random, content)
                if random.random() < 0.05:
                    continue
            new.writestr(zipfile.ZipInfo(name), content)
    return stream.getvalue()


class ImportTarget(UnpickleTarget):
    """`import-checkpoint` as users run it, with its isolated process: two seconds per case."""

    name = "import-checkpoint"
    share = 1.5
    memory_bytes = None
    may_write: ClassVar[tuple[str, ...]] = ("out.safetensors",)

    def prepare(self) -> None:
        """Make a checkpoint of the released architecture."""
        from tests.nets.test_import_checkpoint import make_state

        super().prepare()
        state = make_state(3, 1, 3, 2, 1, 1, (4,))
        self.samples = [_pickled({"model": state})]
        self.n_sound = len(self.samples)

    def run(self, folder: Path, case: Case) -> None:
        """Convert."""
        from napari_hyperspace import load_model
        from napari_hyperspace.nets.import_checkpoint import import_checkpoint

        try:
            import_checkpoint(folder / "in.pt", folder / "out.safetensors")
        finally:
            if (folder / "executed").exists():
                raise Wrong("the pickle was executed")
        load_model(folder / "out.safetensors")


TARGET_TYPES: tuple[type[Target], ...] = (
    *(ModelTarget, HostileModelTarget, CheckpointTarget, UnpickleTarget, ImportTarget),
)
