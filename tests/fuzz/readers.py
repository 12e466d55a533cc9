"""Readers of scans as targets of the mutation driver."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.case import Case, Target, Wrong

SHAPE = (3, 4, 5)
VOXELS = np.arange(60, dtype=np.int16).reshape(SHAPE)
AFFINE = np.array([[-0.7, 0, 0, 1], [0, 0.9, 0.1, -2], [0, -0.2, 3, 3], [0, 0, 0, 1.0]])
_WRITTEN = "written"
_CANARY = 0x5A  # the bytes of a file outside of the folder that no header may name


def check_volume(volume: Any) -> None:
    """Raise `Wrong` if a volume contradicts itself."""
    array, grid = volume.array, volume.grid
    if array.ndim != 3 or array.shape != grid.shape:
        raise Wrong(f"array {array.shape}, grid {grid.shape}")
    if not np.isfinite(grid.affine).all() or not abs(np.linalg.det(grid.affine[:3, :3])) > 0:
        raise Wrong(f"affine {grid.affine.tolist()}")
    if not all(np.isfinite(step) and step > 0 for step in grid.spacing_mm):
        raise Wrong(f"spacing {grid.spacing_mm}")
    if array.dtype.kind not in "iufb" or not array.dtype.isnative:
        raise Wrong(f"type {array.dtype!r}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Wrong("voxels that are not finite")
    if array.size >= 8 and {*array.tobytes()} == {_CANARY}:
        raise Wrong("voxels of a file outside of the folder")


class ReaderTarget(Target):
    """A format: damaged files are refused, or read to a volume that does not contradict itself."""

    may_write: ClassVar[tuple[str, ...]] = (f"{_WRITTEN}.*",)
    suffix: ClassVar[str]

    def __init__(self) -> None:
        self.samples: list[dict[str, bytes]] = []
        self.arrays: list[Any] = []

    def prepare(self) -> None:
        """Make the sound files."""
        from napari_hyperspace.io import metaimage, nifti, nrrd, read  # noqa: F401

        self.samples = self.make()
        self.n_sound = len(self.samples)

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files: the content of each by its name; the first is the header."""
        raise NotImplementedError

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage files in place; return whether an accepted file must have the same voxels."""
        raise NotImplementedError

    def options(self, number: int) -> dict[str, Any]:
        """Return what a sound file needs to be read."""
        return {}

    def sound(self, index: int) -> Case:
        """Return an undamaged case."""
        files = self.samples[index]
        return Case(dict(files), self.entry(files), self.options(index))

    def entry(self, files: dict[str, bytes]) -> str:
        """Return what is read."""
        return next(iter(files))

    def mutated(self, random: Random) -> Case:
        """Return a damaged case, now and then read with options."""
        number = random.randrange(len(self.samples))
        files = dict(self.samples[number])
        same = self.damage(random, files)
        options = self.options(number)
        for name, value in (
            ("volume", random.choice((0, 1, -1, 10**30))),
            ("spacing_mm", random.choice(((1, 1, 1), (0.5, 2.0, 3.0), (1e-9, 1, 1e9), (1, 0, 1)))),
            ("fill", random.choice((0.0, 1e300, float("nan")))),
        ):
            if random.random() < 0.1:
                options[name] = value
        options["write"] = random.choice((*[""] * 8, ".nii", ".nii.gz", ".nrrd", ".mha"))
        expected = self.samples[number] if same and not options.keys() & {"spacing_mm"} else None
        return Case(files, self.entry(files), options, expected)

    def run(self, folder: Path, case: Case) -> None:
        """Read, and now and then write what was read."""
        from napari_hyperspace.io import read, write

        (folder.parent / "canary.raw").write_bytes(bytes([_CANARY]) * 4096)
        options = {**case.options}
        suffix = options.pop("write", "")
        volume = read(folder / case.entry, **options)
        check_volume(volume)
        if isinstance(case.expected, dict):
            self.compare(volume, case.expected, options, folder)
        if suffix:
            write(volume, folder / f"{_WRITTEN}{suffix}")

    def compare(
        self, volume: Any, sound: dict[str, bytes], options: dict[str, Any], folder: Path
    ) -> None:
        """Raise `Wrong` if the voxels or the affine are not those of the sound file."""
        from napari_hyperspace.io import read

        with tempfile.TemporaryDirectory(dir=folder.parent) as other:
            write_files(Path(other), sound)
            wanted = read(Path(other, self.entry(sound)), **options)
        if not np.array_equal(volume.array, wanted.array):
            raise Wrong("other voxels, although the checksum of the stream is right")
        if not np.array_equal(volume.affine, wanted.affine):
            raise Wrong("another affine, although the checksum of the stream is right")


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files to a folder, with the folders that they are in."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def described(suffix: str) -> bytes:
    """Return a file of labels with their description: names, colors, and how they were made."""
    import napari_hyperspace as hs
    from napari_hyperspace.core.volume import PostprocessingOptions, Record
    from napari_hyperspace.io import write

    record = Record(
        model="tiny",
        model_digest="0123abcd",
        spacing_mm=(1.0, 2.0, 3.0),
        precision="fp32",
        device="cpu",
        tile_shape=(8, 8, 8),
        overlap=0.25,
        postprocessing=(PostprocessingOptions(True, 0.0, 5.0),),
    )
    metadata: Any = {
        "is_labels": True,
        "label_names": {1: "left part", 2: "right part"},
        "label_colors": {1: "#ff0000"},
        "record": record,
    }
    volume = hs.Volume((VOXELS % 3).astype(np.uint8), hs.Grid(SHAPE, AFFINE), "labels", metadata)
    with tempfile.TemporaryDirectory() as folder:
        return write(volume, Path(folder, f"labels{suffix}")).path.read_bytes()


def damaged_json(random: Random, data: bytes) -> bytes:
    """Replace values of the JSON object within other bytes by ones of the same total length."""
    start = data.find(b'{"format"')
    end = data.rfind(b"}", start, 8192) + 1
    if start < 0 or end <= start:
        return data
    text = mutations.json_text(random, mutations.mutate_tree(random, json.loads(data[start:end])))
    text = text[: end - start].ljust(end - start, b"\0")
    return data[:start] + text + data[end:]
