"""Small files with a known defect each, and what the program must say about them."""

from __future__ import annotations

import gzip
import json
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.case import Refused
from tests.fuzz.dicom import RLE, dicom_file
from tests.fuzz.nifti import nifti_file
from tests.fuzz.readers import VOXELS, write_files
from tests.fuzz.text_formats import DATA, META, NRRD

Action = Literal["read", "segment", "model", "checkpoint", "unpickle", "config", "rates"]
_MANY = 200_000


@dataclass(frozen=True)
class Defect:
    """A file, what is done with it, and the refusal.

    Parameters
    ----------
    name
        What is wrong.
    action
        What is done: see `run`.
    files
        Makes the files; the first is the one that is given to the program.
    words
        Regular expression that the refusal must match.
    """

    name: str
    action: Action
    files: Callable[[], dict[str, bytes]]
    words: str


def _one(name: str, make: Callable[[], bytes]) -> Callable[[], dict[str, bytes]]:
    return lambda: {name: make()}


def _nrrd(header: Callable[[bytes], bytes], data: bytes = DATA) -> Callable[[], dict[str, bytes]]:
    return _one("scan.nrrd", lambda: header(NRRD) + b"\n" + data)


def _meta(header: Callable[[bytes], bytes], data: bytes = DATA) -> Callable[[], dict[str, bytes]]:
    return _one("scan.mha", lambda: header(META) + data)


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(header: bytes) -> bytes:
        assert old in header
        return header.replace(old, new)

    return change


def _spacing(step: float) -> Callable[[], dict[str, bytes]]:
    return _meta(_replaced(b"Spacing = 0.7", b"Spacing = %g" % step))


def _flipped(data: bytes, place: int, bit: int = 6) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def _sform_bit() -> bytes:
    return _flipped(nifti_file(VOXELS), 283)


def _packed_claim() -> bytes:
    """Return a .nii.gz of a few bytes whose header states 6 GB."""
    content = bytearray(nifti_file(VOXELS))
    content[40:56] = struct.pack("<8h", 3, 2000, 2000, 800, 1, 1, 1, 1)
    return gzip.compress(bytes(content), mtime=0)


def _cut(data: bytes, length: int) -> bytes:
    return data[:length]


def _model() -> bytes:
    from napari_hyperspace.nets.model_file import save_model
    from tests.fuzz.models import saved, tiny_model

    return saved(lambda path: save_model(tiny_model(), path), "a.safetensors")


def _flipped_model() -> bytes:
    return _flipped(_model(), -9)


def _model_of(change: Callable[[str], str]) -> Callable[[], dict[str, bytes]]:
    """Return a model file of other metadata, without checksum."""

    def make() -> dict[str, bytes]:
        from safetensors.torch import load

        from tests.fuzz.models import MODEL_KEY, packed, split

        data = _model()
        text = json.loads(split(data)[0])["__metadata__"][MODEL_KEY]
        return {"a.safetensors": packed(load(data), {MODEL_KEY: change(text)})}

    return make


def _checkpoint() -> dict[str, bytes]:
    from tests.fuzz.models import CheckpointTarget

    target = CheckpointTarget()
    target.prepare()
    return {"best.safetensors": _flipped(target.data, len(target.data) - 3)}


def _hostile_pickle() -> bytes:
    from tests.fuzz.models import _Call, _pickled

    return _pickled({"a": _Call(os.system, "touch executed")})


def _config(**changes: Any) -> Callable[[], dict[str, bytes]]:
    def make() -> dict[str, bytes]:
        from tests.fuzz.models import config_values
        from tests.fuzz.settings import _yaml

        values = config_values()
        for key, value in changes.items():
            section, _, name = key.partition("__")
            values[section][name] = value
        return {"run.yaml": _yaml(values)}

    return make


def _yaml_text(text: str) -> Callable[[], dict[str, bytes]]:
    return lambda: {"run.yaml": mutations.encoded(text)}


def _rates(change: Callable[[dict[str, Any]], Any]) -> Callable[[], dict[str, bytes]]:
    """Return the rates of a machine, changed."""

    def make() -> dict[str, bytes]:
        from napari_hyperspace.cost.rates import encode
        from tests.rates import CALIBRATION

        value = json.loads(json.dumps(encode(CALIBRATION)))
        change(value)
        return {"measured-rates.json": mutations.encoded(json.dumps(value))}

    return make


def _zero_rate(value: dict[str, Any]) -> None:
    for rates in value["precisions"].values():
        rates["convolutions"][0][2] = 0.0


def _wrong_type(value: dict[str, Any]) -> None:
    value["host"]["copy"] = "fast"


def _nan_rate(value: dict[str, Any]) -> None:
    value["host"]["winner"] = float("nan")


DEFECTS = (
    Defect("one bit of srow_x[0]", "segment", _one("scan.nii", _sform_bit), "implausible"),
    Defect("a spacing of 1e20 mm", "segment", _spacing(1e20), "implausible"),
    Defect("a spacing of 1e10 mm", "segment", _spacing(1e10), "implausible"),
    Defect("a spacing of 2.3e-10 mm", "segment", _spacing(2.3e-10), "implausible"),
    Defect(
        "2147483647 axes",
        "read",
        _nrrd(_replaced(b"dimension: 3", b"dimension: 2147483647")),
        "number of axes",
    ),
    Defect(
        "200000 axes in NRRD",
        "read",
        _nrrd(lambda header: header.replace(b"dimension: 3", b"dimension: %d" % _MANY)),
        "number of axes",
    ),
    Defect(
        "100000 directions",
        "read",
        _nrrd(_replaced(b"(0.7,0,0)", b"(1,0,0) " * 100_000)),
        "axis layout",
    ),
    Defect(
        "200 kB of brackets",
        "read",
        _nrrd(_replaced(b"(0.7,0,0) (0,0.9,0.1) (0,-0.2,3)", b"(" * _MANY)),
        "bracket is not closed",
    ),
    Defect(
        "200000 axes in MetaImage",
        "read",
        _meta(_replaced(b"NDims = 3", b"NDims = %d" % _MANY)),
        "number of axes",
    ),
    Defect("a header without an end", "read", _nrrd(lambda h: h + b"#" * 2_000_000, b""), "no end"),
    Defect("6 GB in a few bytes", "read", _one("scan.nii.gz", _packed_claim), "than the file"),
    Defect("an unknown byte order", "read", _nrrd(_replaced(b"little", b"bmg")), "byte order"),
    Defect("a flag Tque", "read", _meta(_replaced(b"MSB = False", b"MSB = Tque")), "true or false"),
    Defect("a misspelled origin", "read", _nrrd(_replaced(b"origin", b"orgin")), "misspelled"),
    Defect(
        "misspelled directions",
        "read",
        _meta(_replaced(b"TransformMatrix", b"TransfromMatrix")),
        "misspelled",
    ),
    Defect(
        "directions that are no rotation",
        "read",
        _meta(_replaced(b"1 0 0 0 0.6", b"2 0 0 0 0.6")),
        "not a rotation",
    ),
    Defect(
        "an origin of 3e38 mm",
        "read",
        _meta(_replaced(b"Offset = 1", b"Offset = 3e38")),
        "position of the first voxel",
    ),
    Defect(
        "a null character in the name of a data file",
        "read",
        _meta(_replaced(b"LOCAL", b"a\0b.raw")),
        "outside its folder",
    ),
    Defect(
        "a name of more than 255 bytes",
        "read",
        _meta(_replaced(b"LOCAL", b"x" * 300)),
        "not valid or not accessible|cannot be read",
    ),
    Defect(
        "a data file outside of the folder",
        "read",
        _meta(_replaced(b"LOCAL", b"../canary.raw")),
        "outside its folder",
    ),
    Defect(
        "an infinite slope",
        "read",
        _one("scan.nii", lambda: nifti_file(VOXELS, scl_slope=np.inf)),
        "not finite.*Set scl_slope to 1",
    ),
    Defect(
        "a truncated gzip stream",
        "read",
        _one("scan.nii.gz", lambda: _cut(gzip.compress(nifti_file(VOXELS), mtime=0), 200)),
        "end before their checksum",
    ),
    Defect(
        "one bit of a gzip stream",
        "read",
        _one("scan.nii.gz", lambda: _flipped(gzip.compress(nifti_file(VOXELS), mtime=0), -7)),
        "damaged",
    ),
    Defect(
        "DICOM cut within its header",
        "read",
        _one("scan.dcm", lambda: _cut(dicom_file(), 300)),
        "damaged or not DICOM: .{5}",
    ),
    Defect(
        "DICOM with fewer pixels than it states",
        "read",
        _one("scan.dcm", lambda: dicom_file(PixelData=bytes(10))),
        "states 24 bytes of pixels, the file has 10",
    ),
    Defect(
        "compressed DICOM pixels that GDCM cannot decode",
        "read",
        _one("scan.dcm", lambda: dicom_file(syntax=RLE)),
        r"cannot be decoded \(found [^\n]+\)",
    ),
    Defect("one bit of a model", "model", _one("a.safetensors", _flipped_model), "checksum"),
    Defect(
        "a number of 5000 digits in a model",
        "model",
        _model_of(lambda text: text.replace('"seed":1', f'"seed":{"1" * 5000}')),
        "unreadable metadata|not valid JSON|digits",
    ),
    Defect(
        "deep nesting in a model",
        "model",
        _model_of(lambda text: text.replace('"seed":1', f'"seed":{"[" * 5000}{"]" * 5000}')),
        "unreadable metadata|nested|recursion",
    ),
    Defect("one bit of a checkpoint", "checkpoint", _checkpoint, "damaged"),
    Defect(
        "a pickle that calls a function",
        "unpickle",
        _one("in.pt", _hostile_pickle),
        r"it contains (posix|nt)\.system, which is not a tensor$",
    ),
    Defect("a duplicate key", "config", _yaml_text("name: a\nname: b\n"), "given twice"),
    Defect("a number of 5000 digits", "config", _yaml_text(f"seed: {'9' * 5000}"), "plain YAML"),
    Defect("deep nesting", "config", _yaml_text("[" * 20_000), "nested too deeply"),
    Defect("a million threads", "config", _config(compute__threads=10**6), "less than or equal"),
    Defect("a batch of 1e9", "config", _config(training__batch_size=10**9), "less than or equal"),
    Defect(
        "a range of 1e-9 mm",
        "config",
        _config(spacing__range_mm=[[1e-9, 1e-9]] * 3),
        "greater than or equal",
    ),
    Defect("a rate of zero", "rates", _rates(_zero_rate), "rates"),
    Defect("a rate that is text", "rates", _rates(_wrong_type), "rates"),
    Defect("a rate that is NaN", "rates", _rates(_nan_rate), "rates"),
)


def run(defect: Defect, folder: Path) -> None:
    """Give the files of a defect to the program.

    Raises
    ------
    HyperspaceError
        The refusal.
    """
    files = defect.files()
    write_files(folder, files)
    path = folder / next(iter(files))
    _ACTIONS[defect.action](path)


def _read(path: Path) -> None:
    from napari_hyperspace.io import read

    read(path)


def _segment(path: Path) -> None:
    """Estimate, which must refuse, and segment."""
    import napari_hyperspace as hs
    from tests.fuzz.models import prepare_rates, tiny_model

    prepare_rates()
    model, volume = tiny_model(), hs.read(path)
    for work in (hs.estimate, hs.segment):
        try:
            work(volume, model, None, device="cpu", outside="extrapolate")
        except hs.HyperspaceError as error:
            refusal = error
        else:
            raise AssertionError("accepted")
    raise refusal


def _load_model(path: Path) -> None:
    from napari_hyperspace import load_model

    load_model(path)


def _read_checkpoint(path: Path) -> None:
    from training.fit.checkpoint import read_checkpoint

    read_checkpoint(path)


def _unpickle(path: Path) -> None:
    """Read a pickle as the isolated process does, without its limits."""
    from napari_hyperspace.nets import unpickle

    limit, unpickle.limit_resources = unpickle.limit_resources, lambda n_bytes: None
    try:
        unpickle.main(str(path), str(path.with_name("state.safetensors")))
    except SystemExit as refusal:
        raise Refused(str(refusal.code)) from None
    finally:
        unpickle.limit_resources = limit


def _load_config(path: Path) -> None:
    from training.config.fit import load_config

    load_config(path)


def _decode_rates(path: Path) -> None:
    from napari_hyperspace.cost.rates import decode

    if decode(json.loads(path.read_text())) is None:
        raise Refused("the rates are not valid")


_ACTIONS: dict[str, Callable[[Path], None]] = {
    "read": _read,
    "segment": _segment,
    "model": _load_model,
    "checkpoint": _read_checkpoint,
    "unpickle": _unpickle,
    "config": _load_config,
    "rates": _decode_rates,
}
