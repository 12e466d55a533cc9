"""Segment organs of a CT from a few strokes, and save a picture to look at.

    python -m benchmarks.interaction.ct --model refine --out docs/results/refine/ct.png

The scan is `volumes/ct-3mm.nii.gz` of the real scans. There is no truth for it. The strokes were
painted by hand, in voxels of the scan in canonical order (z, y, x).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from scipy import ndimage

import napari_hyperspace as hs
from benchmarks.interaction.cases import data_folder
from benchmarks.interaction.robot import BRUSH_MM, Mask
from napari_hyperspace.core.files import replacing

matplotlib.use("Agg")
from matplotlib import pyplot as plt

WINDOW = (-150.0, 250.0)
"""Values that are shown, and that the model sees: air and bone would hide soft tissue."""

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Organ:
    """An organ and the strokes for it; each is a polyline in one slice.

    Parameters
    ----------
    name
        Its name.
    include, exclude
        Strokes inside and outside.
    center
        Voxel whose three slices are shown.
    """

    name: str
    include: Sequence[Sequence[Point]]
    exclude: Sequence[Sequence[Point]]
    center: tuple[int, int, int]


ORGANS = (
    Organ("left kidney, 1 stroke", [[(12, 60, 83), (12, 66, 83)]], [], (20, 62, 88)),
    Organ(
        "left kidney, 3 strokes",
        [
            [(12, 60, 83), (12, 66, 83)],
            [(20, 58, 92), (20, 64, 91), (20, 69, 88)],
            [(28, 66, 90), (28, 66, 94)],
        ],
        [],
        (20, 62, 88),
    ),
    Organ(
        "left kidney, 3 + 2 strokes",
        [
            [(12, 60, 83), (12, 66, 83)],
            [(20, 58, 92), (20, 64, 91), (20, 69, 88)],
            [(28, 66, 90), (28, 66, 94)],
        ],
        [[(16, 62, 98), (16, 68, 98)], [(20, 58, 78), (20, 64, 77)]],
        (20, 62, 88),
    ),
    Organ("bladder, 1 stroke", [[(94, 45, 62), (94, 51, 62)]], [], (92, 50, 62)),
    Organ(
        "liver, 3 strokes",
        [
            [(8, 35, 45), (8, 41, 45)],
            [(4, 55, 30), (4, 55, 36)],
            [(14, 40, 30), (14, 46, 30)],
        ],
        [],
        (8, 45, 40),
    ),
)


def painted(strokes: Sequence[Sequence[Point]], scan: hs.Volume) -> Mask:
    """Return the voxels of strokes of the brush."""
    mask = np.zeros(scan.shape, bool)
    for stroke in strokes:
        line = np.ones(scan.shape, bool)
        for start, end in pairwise(stroke):
            for t in np.linspace(0, 1, 50):
                at = np.round((1 - t) * np.array(start) + t * np.array(end)).astype(int)
                line[tuple(at)] = False
        near = ndimage.distance_transform_edt(line, sampling=scan.spacing_mm) <= BRUSH_MM / 2
        z = int(stroke[0][0])
        mask[z] |= near[z]
    return mask


def main() -> None:
    """Segment each organ and save the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interaction.ct")
    parser.add_argument("--model", default="refine", help="name or file of the model")
    parser.add_argument("--out", type=Path, default=Path("docs/results/refine/ct.png"))
    parser.add_argument("--threads", type=int, help="threads of torch; default: its own")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    model = hs.load_model(given.model)
    scan = hs.read(data_folder() / "volumes" / "ct-3mm.nii.gz").canonical()
    image = scan.with_array(np.clip(scan.array, *WINDOW).astype(np.float32))
    nothing = scan.with_array(np.zeros(scan.shape, np.uint8))
    figure, axes = plt.subplots(len(ORGANS), 3, figsize=(10, 3.2 * len(ORGANS)))
    for organ, row in zip(ORGANS, axes, strict=True):
        inside, outside = (painted(each, scan) for each in (organ.include, organ.exclude))
        include, exclude = (scan.with_array(each.astype(np.uint8)) for each in (inside, outside))
        found = hs.refine(image, nothing, model, include=include, exclude=exclude).array > 0
        ml = found.sum() * scan.grid.voxel_volume_ml
        print(f"{organ.name}: {ml:.0f} ml", flush=True)
        for axis, place in enumerate(row):
            _show(place, image.array, (found, inside, outside), axis, organ.center[axis])
        row[0].set_title(f"{organ.name}: {ml:.0f} ml", loc="left", fontsize=10)
    figure.tight_layout()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(given.out) as temporary:
        figure.savefig(temporary, dpi=80, format="png")


def _show(place: Any, image: Any, masks: Sequence[Mask], axis: int, at: int) -> None:
    """Show a slice with the outline of what was found, and with all strokes, projected onto it."""
    found, inside, outside = masks
    place.imshow(np.take(image, at, axis), cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
    if np.take(found, at, axis).any():
        place.contour(np.take(found, at, axis), [0.5], colors="orange", linewidths=1)
    for strokes, color in ((inside, "lime"), (outside, "red")):
        if strokes.any():
            place.contour(strokes.any(axis=axis), [0.5], colors=color, linewidths=0.7)
    place.set_axis_off()


if __name__ == "__main__":
    main()
