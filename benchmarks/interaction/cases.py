"""The cases: real hippocampi, synthetic heads of maps that were kept back, and real heads.

None of the images is part of any training of the class-conditional model, and of the label maps
only those of the split's validation are used. It was trained with all structures but the
hippocampus.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

import napari_hyperspace as hs
from benchmarks.interaction.loop import Case
from benchmarks.interaction.methods import box_around
from benchmarks.interaction.robot import Mask
from napari_hyperspace.core.errors import HyperspaceError
from training.config.synthesis import SynthesisSection
from training.data.label_maps import STRUCTURES, LabelMaps
from training.sampling.pairs import make_pair, sample_whole_head
from training.synthesis.labeled_head import LabeledHead
from training.synthesis.render import covering_labels

HELD_OUT = ("hippocampus",)
"""Structures that the model was trained without."""
LOOP_STRUCTURES = ("hippocampus", "amygdala", "thalamus", "putamen", "brain stem")
"""Structures that the simulated user corrects in heads."""
SYNTHETIC_MAPS = ("brain_15", "brain_16")
CONTRASTS = ("t1", "t2")
BRAIN_MM = 2.0
"""Finest working spacing of the result of `brain` that is corrected."""
CRANIAL = {name: value for value, (name, _) in STRUCTURES.items()}
"""Values of the structures in the model `brain`, and in the labels of the heads here."""
_REAL_WITHOUT = {"icbm152": ("white matter", "ventral diencephalon"), "mne-sample": ()}
REAL_HEADS = tuple(_REAL_WITHOUT)


def data_folder() -> Path:
    """Return the folder of real scans.

    Raises
    ------
    HyperspaceError
        If ``HYPERSPACE_DATA`` is not set.
    """
    folder = os.environ.get("HYPERSPACE_DATA")
    if not folder:
        raise HyperspaceError(
            "the benchmark needs real scans",
            field="HYPERSPACE_DATA",
            fix="Set this environment variable to the folder of the data sets",
        )
    return Path(folder)


@dataclass(frozen=True, eq=False)
class Labeled:
    """A scan with the truth.

    Parameters
    ----------
    name, group
        Name of the scan, and kind of scan.
    scan, labels
        On one grid, in canonical order.
    names
        Label value of each structure.
    """

    name: str
    group: str
    scan: hs.Volume
    labels: NDArray[np.uint8]
    names: dict[str, int]


def hippocampi(count: int, seed: int = 0, skip: int = 0) -> Iterator[Labeled]:
    """Yield real MR crops in a random order, after leaving out some."""
    folder = data_folder() / "hippocampus"
    files = sorted((folder / "imagesTr").glob("*.nii.gz"))
    order = np.random.default_rng(seed).permutation(len(files))[skip : skip + count]
    for index in order:
        path = files[index]
        scan, labels = hs.read(path), hs.read(folder / "labelsTr" / path.name)
        truth = (labels.canonical().array > 0).astype(np.uint8)
        name = path.name.removesuffix(".nii.gz")
        yield Labeled(name, "hippocampus MR", scan.canonical(), truth, {"hippocampus": 1})


def synthetic_heads(
    maps: Sequence[str] = SYNTHETIC_MAPS, contrasts: Sequence[str] = CONTRASTS, seed: int = 0
) -> Iterator[Labeled]:
    """Yield whole heads at 1 mm, made from label maps that were kept back."""
    data = LabelMaps(data_folder() / "brain-labels")
    for name in maps:
        (head,) = data.sources([name], data.section.normalization.build())
        for number, contrast in enumerate(contrasts):
            yield _synthetic(head, contrast, (*name.encode(), number), seed)


def _synthetic(head: LabeledHead, contrast: str, numbers: Sequence[int], seed: int) -> Labeled:
    parameters = sample_whole_head(
        head, SynthesisSection(), (1.0, 1.0, 1.0), numbers, seed=seed, contrast=contrast
    )
    name = f"{head.name} {contrast}"
    pair = make_pair(head, parameters, name)
    truth = covering_labels(head.head, parameters, head.targets).numpy().clip(min=0)
    return Labeled(name, "synthetic heads", pair.image, truth.astype(np.uint8), CRANIAL)


def real_heads(names: Sequence[str] = REAL_HEADS) -> Iterator[Labeled]:
    """Yield real heads with the labels of `brain`."""
    for name in names:
        folder = data_folder() / "brain-real" / name
        scan = hs.read(folder / "image.nii.gz").canonical()
        labels = hs.read(folder / "labels.nii.gz").canonical().array.astype(np.uint8)
        known = {key: value for key, value in CRANIAL.items() if key not in _REAL_WITHOUT[name]}
        yield Labeled(name, name, scan, labels, known)


def loop_cases(
    source: Labeled, structures: Sequence[str] = LOOP_STRUCTURES, brain: hs.Model | None = None
) -> Iterator[Case]:
    """Yield the structures of a scan, one side of each; with a model, its result is the start.

    Parameters
    ----------
    source
        The scan.
    structures
        Names of the structures to use.
    brain
        A model with these structures. Its result is divided into sides as the truth is.
    """
    start = None
    if brain is not None:
        spacing = np.maximum(BRAIN_MM, source.scan.spacing_mm).tolist()
        start = hs.segment(source.scan, brain, spacing).array
    for name in structures:
        if name not in source.names:
            continue
        value = source.names[name]
        truth, other = one_side(source.labels == value, source.scan.spacing_mm)
        if not truth.any():
            continue
        found = None if start is None else nearer(start == CRANIAL[name], truth, other)
        yield Case(source.name, source.group, name, name in HELD_OUT, source.scan, truth, found)


def one_side(structure: Mask, spacing_mm: Sequence[float]) -> tuple[Mask, Mask]:
    """Return a structure's largest connected part, and all others: the other side of the body.

    Parts smaller than a tenth of the largest belong to the side that is nearer.
    """
    parts, count = ndimage.label(structure, np.ones((3, 3, 3)))
    if count < 2:
        return structure, np.zeros_like(structure)
    sizes = np.bincount(parts.ravel())[1:]
    largest: Mask = parts == 1 + np.argmax(sizes)
    others: Mask = np.isin(parts, 1 + np.flatnonzero(sizes >= sizes.max() / 10)) & ~largest
    small = structure & ~largest & ~others
    mine = nearer(small, largest, others)
    return largest | mine, others | (small & ~mine)


def nearer(mask: Mask, target: Mask, other: Mask) -> Mask:
    """Return the voxels of a mask that are nearer to a target than to another one."""
    if not mask.any() or not other.any():
        return mask
    box = box_around(mask | target | other, (1, 1, 1), 0)
    inside = mask[box]
    mine, its = (ndimage.distance_transform_edt(~each[box])[inside] for each in (target, other))
    kept = mask.copy()
    kept[mask] = mine <= its
    return kept
