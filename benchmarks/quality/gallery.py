"""Good scans, and inputs that are wrong for a model."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import napari_hyperspace as hs
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from training.data.label_maps import STRUCTURES
from training.evaluation.quality.measure import synthetic_scans
from training.sampling.synthesize import open_label_maps

CONFIGS = Path("training/configs")
HELD_OUT_MAPS = ("brain_15", "brain_16")
SYNTHETIC_MM = ((2.0, 2.0, 2.0), (4.0, 4.0, 4.0), (5.0, 1.6, 1.6))
SYNTHETIC_SEED = 100  # not that of the calibration

Loader = Callable[[], Volume]


@dataclass(frozen=True)
class Entry:
    """One input of the gallery.

    Parameters
    ----------
    model
        The model that it is given to.
    kind
        What it is, in words; rows of the confusion table.
    source
        Where it comes from; all entries of a source are in the same half.
    good
        Whether the model is made for it.
    load
        Returns the scan.
    truth
        Returns true labels, if there are any.
    without
        Structures that the true labels do not contain although the scan shows them.
    """

    model: str
    kind: str
    source: str
    good: bool
    load: Loader
    truth: Loader | None = None
    without: tuple[str, ...] = ()

    @property
    def half(self) -> int:
        """0 or 1."""
        return zlib.crc32(self.source.encode()) % 2

    @property
    def key(self) -> str:
        """What identifies it."""
        return f"{self.model}: {self.kind}: {self.source}"


def data_root() -> Path:
    """Return the folder of the data."""
    return Path(os.environ["HYPERSPACE_DATA"])


def upside_down(scan: Volume) -> Volume:
    """Return a scan whose array is turned by 180 degrees about the axis from left to right."""
    axes = scan.grid.orientation.axes
    return scan.with_array(np.flip(scan.array, (axes[0], axes[1])), metadata={})


def lying(scan: Volume) -> Volume:
    """Return a scan whose file names its axes wrongly: what is up points to the front."""
    canonical = scan.canonical()
    affine = canonical.affine.copy()
    affine[:3, [0, 1]] = affine[:3, [1, 0]]
    return Volume(canonical.array, Grid(canonical.shape, affine), scan.name)


def scaled(scan: Volume, factor: float) -> Volume:
    """Return a scan whose file states another spacing."""
    affine = scan.affine.copy()
    affine[:3, :3] *= factor
    return Volume(scan.array, Grid(scan.shape, affine), scan.name)


def windowed(scan: Volume, low: float, high: float) -> Volume:
    """Return a CT as it is exported for looking at: a window of intensities as 0 to 255."""
    values = (scan.array.astype(np.float32) - low).clip(0, high - low) * (255 / (high - low))
    return scan.with_array(values, metadata={})


def inverted(scan: Volume) -> Volume:
    """Return a scan with bright and dark exchanged."""
    values = scan.array.astype(np.float32)
    return scan.with_array(values.max() - values, metadata={})


def artificial(kind: str, edge: int, spacing_mm: float) -> Volume:
    """Return a scan that shows no body: empty, constant, noise, or a phantom."""
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    z, y, x = (np.indices((edge,) * 3) - edge / 2) / edge
    around = np.sqrt(z**2 + y**2 + x**2)
    patterns: dict[str, Callable[[], NDArray[Any]]] = {
        "empty": lambda: np.zeros(around.shape),
        "constant": lambda: np.full(around.shape, 37.0),
        "noise": lambda: rng.normal(100, 20, around.shape),
        "phantom: ball": lambda: 100 * (around < 0.35) + rng.normal(0, 3, around.shape),
        "phantom: cylinder": lambda: (
            (100 + 30 * z) * (np.hypot(y, x) < 0.35) + rng.normal(0, 3, around.shape)
        ),
        "phantom: shells": lambda: (
            100 * (np.sin(30 * around) > 0) * (around < 0.4) + rng.normal(0, 5, around.shape)
        ),
        "phantom: grid": lambda: (
            100 * ((np.sin(40 * z) > 0) ^ (np.sin(40 * y) > 0)) * (around < 0.4)
            + rng.normal(0, 3, around.shape)
        ),
    }
    affine = np.eye(4)
    affine[:3, :3] *= spacing_mm
    values = patterns[kind]().astype(np.float32)
    return Volume(values, Grid((edge,) * 3, affine), kind)


ARTIFICIAL = (
    *("empty", "constant", "noise"),
    *("phantom: ball", "phantom: cylinder", "phantom: shells", "phantom: grid"),
)


def heads() -> dict[str, Loader]:
    """Return real whole heads by name."""
    root = data_root() / "brain-real"
    paths = [root / name / "image.nii.gz" for name in ("icbm152", "mne-sample")]
    paths += sorted(root.glob("ms/*/*.nii.gz"))
    found: dict[str, Loader] = {}
    for path in paths:
        name = path.parent.name
        if "ms" in path.parts:
            name = f"ms {name} {path.name.removesuffix('.nii.gz')}"
        found[name] = lambda path=path: hs.read(path)  # type: ignore[misc]
    return found


def brain_entries(synthetic: bool) -> Iterator[Entry]:
    """Return the gallery of the model `brain`, optionally with synthetic heads."""
    root, known = data_root(), heads()
    names = {value: name for value, (name, _) in STRUCTURES.items()}

    def labels(folder: str) -> Volume:
        found = hs.read(root / "brain-real" / folder / "labels.nii.gz")
        return found.with_array(found.array, metadata={"label_names": names})

    for name in held_out("hippocampus")[:3]:
        yield Entry("brain", "crop of a hippocampus", name, False, _hippocampus(name))
    yield Entry("brain", "label map", "mne-sample", False, lambda: labels("mne-sample"))
    for kind in ARTIFICIAL:
        yield Entry(
            *("brain", kind.partition(":")[0], kind, False),
            lambda kind=kind: artificial(kind, 64, 3.0),  # type: ignore[misc]
        )
    for name, window in (("ct-3mm", (-160, 240)), ("ct-tilted", (0, 80))):
        kind = "CT of a trunk" if name == "ct-3mm" else "CT of a head"
        path = root / "volumes" / f"{name}.nii.gz"
        yield Entry("brain", kind, name, False, lambda path=path: hs.read(path))  # type: ignore[misc]
        yield Entry(
            *("brain", f"{kind}, windowed", name, False),
            lambda path=path, window=window: windowed(hs.read(path), *window),  # type: ignore[misc]
        )
    some = [each for each in known if each.endswith("study2_T1W")][:2]
    some += [each for each in known if each in ("icbm152", "mne-sample")]
    for name in some:
        load, person = known[name], " ".join(name.split()[:2])
        for kind, change in (
            ("head upside down", upside_down),
            ("head with wrong axes", lying),
            ("head, spacing × 2", lambda scan: scaled(scan, 2)),
            ("head, spacing ÷ 2", lambda scan: scaled(scan, 0.5)),
            ("head, spacing × 10", lambda scan: scaled(scan, 10)),
        ):
            yield Entry(
                *("brain", kind, person, False),
                lambda load=load, change=change: change(load()),  # type: ignore[misc]
            )
    for name, load in known.items():
        person = " ".join(name.split()[:2])
        if name in ("icbm152", "mne-sample"):
            missing = ("white matter", "ventral diencephalon") if name == "icbm152" else ()
            yield Entry(
                *("brain", "real head", person, True, load),
                truth=lambda name=name: labels(name),  # type: ignore[misc]
                without=missing,
            )
        else:
            yield Entry("brain", f"real head, {name.split()[-1]}", person, True, load)
    if synthetic:
        maps = open_label_maps(CONFIGS / "brain.yaml")
        for scan in synthetic_scans(
            maps, names, HELD_OUT_MAPS, SYNTHETIC_MM, ("t1", "t2", "pd", "flair"), SYNTHETIC_SEED
        ):
            yield Entry(
                *("brain", "synthetic head", scan.case, True),
                *(lambda scan=scan: scan.image[0], lambda scan=scan: scan.truth),
            )


def hippocampus_entries() -> Iterator[Entry]:
    """Return the gallery of the model `hippocampus`."""
    names, known = held_out("hippocampus"), heads()
    for name in names:
        yield Entry(
            *("hippocampus", "hippocampus", name, True, _hippocampus(name)),
            truth=lambda name=name: _hippocampus_labels(name),  # type: ignore[misc]
        )
    for name in names[:6]:
        load = _hippocampus(name)
        for kind, change in (
            ("hippocampus upside down", upside_down),
            ("hippocampus, wrong axes", lying),
            ("hippocampus, inverted", inverted),
            ("hippocampus, spacing × 2", lambda scan: scaled(scan, 2)),
            ("hippocampus, spacing ÷ 2", lambda scan: scaled(scan, 0.5)),
            ("hippocampus, spacing × 10", lambda scan: scaled(scan, 10)),
        ):
            yield Entry(
                *("hippocampus", kind, name, False),
                lambda load=load, change=change: change(load()),  # type: ignore[misc]
            )
    for name in ("icbm152", "mne-sample"):
        yield Entry("hippocampus", "whole head", name, False, known[name])
        for number, at in enumerate(((0.3, 0.3, 0.5), (0.7, 0.75, 0.5), (0.4, 0.7, 0.35))):
            yield Entry(
                *("hippocampus", "crop of another place", f"{name} {number}", False),
                lambda name=name, at=at: _crop(known[name](), at),  # type: ignore[misc]
            )
    trunk = data_root() / "volumes" / "ct-3mm.nii.gz"
    yield Entry("hippocampus", "CT of a trunk", "ct-3mm", False, lambda: hs.read(trunk))
    yield Entry(
        *("hippocampus", "crop of a CT, windowed", "ct-3mm", False),
        lambda: _crop(windowed(hs.read(trunk), -160, 240), (0.5, 0.5, 0.5)),
    )
    yield Entry("hippocampus", "label map", names[0], False, lambda: _hippocampus_labels(names[0]))
    for kind in ARTIFICIAL:
        yield Entry(
            *("hippocampus", kind.partition(":")[0], kind, False),
            lambda kind=kind: artificial(kind, 40, 1.0),  # type: ignore[misc]
        )


def held_out(model: str) -> list[str]:
    """Return the validation cases of a bundled model."""
    text = (CONFIGS / "splits" / f"{model}.json").read_text(encoding="utf-8")
    names: list[str] = json.loads(text)["validation"]
    return names


def _hippocampus(name: str) -> Loader:
    return lambda: hs.read(data_root() / "hippocampus" / "imagesTr" / f"{name}.nii.gz")


def _hippocampus_labels(name: str) -> Volume:
    labels = hs.read(data_root() / "hippocampus" / "labelsTr" / f"{name}.nii.gz")
    named = {1: "anterior", 2: "posterior"}
    return labels.with_array(labels.array.astype(np.uint8), metadata={"label_names": named})


def _crop(scan: Volume, at: tuple[float, float, float]) -> Volume:
    """Return a block of 36 × 50 × 36 mm (z, y, x) at a relative place of a scan."""
    canonical = scan.canonical()
    start, shape = [], []
    for place, size, edge, step in zip(
        at, canonical.shape, (36, 50, 36), canonical.spacing_mm, strict=True
    ):
        kept = min(size, max(4, round(edge / step)))
        start.append(min(size - kept, max(0, round(place * size - kept / 2))))
        shape.append(kept)
    block = tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))
    return Volume(canonical.array[block], canonical.grid.crop(start, shape), scan.name)
