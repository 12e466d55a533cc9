"""Images of OME-Zarr, in folders and zip files, as targets of the mutation driver."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutations
from tests.fuzz.case import Target
from tests.fuzz.readers import VOXELS, ReaderTarget

_METADATA = ("zarr.json", ".zattrs", ".zarray", ".zgroup")


def image_files(version: str, *, channels: bool = False, **array: Any) -> dict[str, bytes]:
    """Return the files of an image with two levels, in the folder ``a.zarr``."""
    import zarr

    voxels = np.stack([VOXELS, VOXELS + 1]) if channels else VOXELS
    first = ["c"] if channels else []
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}] if channels else []
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    datasets = []
    with tempfile.TemporaryDirectory() as folder:
        group = zarr.open_group(folder, mode="w", zarr_format=3 if version == "0.5" else 2)
        for name, step in (("0", 1), ("1", 2)):
            values = voxels[..., ::step, ::step]
            made = group.create_array(
                name, shape=values.shape, dtype=values.dtype, chunks=(2,) * values.ndim, **array
            )
            made[...] = values
            scale = [1.0] * len(first) + [3000.0, 900.0 * step, 700.0 * step]
            shift = [0.0] * len(first) + [10.0, 20.0, 30.0]
            transforms = [
                {"type": "scale", "scale": scale},
                {"type": "translation", "translation": shift},
            ]
            datasets.append({"path": name, "coordinateTransformations": transforms})
        image = {"name": "made up", "axes": axes, "datasets": datasets}
        label = {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]}
        if version == "0.5":
            group.attrs["ome"] = {"version": version, "multiscales": [image], "image-label": label}
        else:
            group.attrs.update({"multiscales": [{"version": version, **image}]})
        return {
            f"a.zarr/{path.relative_to(folder).as_posix()}": path.read_bytes()
            for path in sorted(Path(folder).rglob("*"))
            if path.is_file()
        }


def damaged_metadata(random: Random, data: bytes) -> bytes:
    """Change values of the JSON of a group or an array."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return mutations.mutate_bytes(random, data)
    return mutations.json_text(random, mutations.mutate_tree(random, tree))


class ZarrTarget(ReaderTarget):
    """Both formats of zarr, compressed and not, with channels, and a level by its folder."""

    name = "ome-zarr"
    share = 1.5
    memory_bytes = None  # zarr starts threads, whose stacks are mapped

    def prepare(self) -> None:
        """Also import the reader."""
        import zarr  # noqa: F401

        from napari_hyperspace.io.ome_zarr import decode  # noqa: F401

        super().prepare()

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        return [
            image_files("0.5"),
            image_files("0.5", channels=True, compressors=None),
            image_files("0.4"),
            image_files("0.5", shards=(4, 4, 6)),
        ]

    def options(self, number: int) -> dict[str, Any]:
        """Return the choice of a channel."""
        return {"volume": 1} if number % 4 == 1 else {}

    def entry(self, files: dict[str, bytes]) -> str:
        """Return the folder of the image."""
        return "a.zarr"

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage metadata or chunks, remove a file, or write one to another place."""
        for _ in mutations.changes(random):
            names = sorted(files)
            metadata = [name for name in names if name.endswith(_METADATA)]
            kind = random.random()
            if kind < 0.6 and metadata:
                name = random.choice(metadata)
                files[name] = damaged_metadata(random, files[name])
            elif kind < 0.85:
                name = random.choice(names)
                files[name] = mutations.mutate_bytes(random, files[name])
            elif kind < 0.95 and len(files) > 1:
                del files[random.choice(names)]
            else:
                files[random.choice(names)] = files[random.choice(names)]
        return False


class ZarrLevelTarget(ZarrTarget):
    """A level, by the folder of its array."""

    name = "ome-zarr-level"
    share = 0.5

    def entry(self, files: dict[str, bytes]) -> str:
        """Return the folder of the array."""
        return "a.zarr/1"


class ZarrZipTarget(ZarrTarget):
    """An image in a zip file."""

    name = "ome-zarr-zip"
    share = 0.5

    def make(self) -> list[dict[str, bytes]]:
        """Return the sound files."""
        return [{"a.zarr.zip": zipped(files)} for files in super().make()]

    def entry(self, files: dict[str, bytes]) -> str:
        """Return the zip file."""
        return "a.zarr.zip"

    def damage(self, random: Random, files: dict[str, bytes]) -> bool:
        """Damage the zip file, or what is inside."""
        data = files["a.zarr.zip"]
        if random.random() < 0.5:
            files["a.zarr.zip"] = mutations.mutate_bytes(random, data)
            return False
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inside = {f"a.zarr/{name}": archive.read(name) for name in archive.namelist()}
        super().damage(random, inside)
        files["a.zarr.zip"] = zipped(inside)
        return False


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip file with the content of the folder ``a.zarr``."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name.removeprefix("a.zarr/"), (2024, 1, 1, 0, 0, 0))
            archive.writestr(entry, content)
    return stream.getvalue()


TARGET_TYPES: tuple[type[Target], ...] = (ZarrTarget, ZarrLevelTarget, ZarrZipTarget)
