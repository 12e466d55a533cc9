"""What a label map holds: volume and mean intensity of each structure. No Qt, no napari."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import Cancelled
from napari_hyperspace.core.geometry import Shape

SIDES = ("left ", "right ")
_FEW = 4096  # values up to which a table of all of them is kept for every plane


@dataclass(frozen=True)
class Structure:
    """A structure of a label map, or the two sides of one.

    Parameters
    ----------
    values
        Its label values.
    name
        Of the label; "label 7" where it has none.
    voxels, volume_ml
        How large it is.
    mean
        Of the image within it; NaN where there is no image or no voxel.
    place
        Index of a voxel of it, in the middle of the plane that shows most of it; `None` where it
        has no voxel.
    """

    values: tuple[int, ...]
    name: str
    voxels: int
    volume_ml: float
    mean: float
    place: Shape | None


@dataclass(frozen=True)
class Origin:
    """Where a label map comes from, for the table that is exported; empty where not known."""

    image: str = ""
    model: str = ""
    spacing_mm: tuple[float, ...] = ()
    postprocessing: str = ""


def measure(
    labels: NDArray[Any],
    image: NDArray[Any] | None,
    voxel_ml: float,
    names: Mapping[int, str],
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Structure]:
    """Measure every structure that has a name or a voxel, in one pass over the planes.

    Parameters
    ----------
    labels
        (D, H, W), whole numbers; 0 is the background.
    image
        (D, H, W), on the same grid.
    voxel_ml
        Volume of a voxel.
    names
        Of label values.
    should_stop
        Asked between planes.

    Raises
    ------
    Cancelled
        When told to stop.
    """
    values, indices = _indexed(labels)
    counts = np.zeros((len(labels), len(values)), np.int64)
    sums = np.zeros(len(values))
    for z, plane in enumerate(labels):
        if should_stop():
            raise Cancelled
        index = indices(plane).ravel()
        counts[z] = np.bincount(index, minlength=len(values))
        if image is not None:
            weights = np.asarray(image[z], dtype=np.float64).ravel()
            sums += np.bincount(index, weights, minlength=len(values))
    column = {int(value): i for i, value in enumerate(values)}
    found = []
    for value in sorted({*names, *(v for v, i in column.items() if counts[:, i].any())} - {0}):
        i = column.get(value)
        voxels = int(counts[:, i].sum()) if i is not None else 0
        mean = float(sums[i]) / voxels if voxels and image is not None else math.nan
        place = _place(labels, value, int(counts[:, i].argmax())) if voxels else None
        name = names.get(value, f"label {value}")
        found.append(Structure((value,), name, voxels, voxels * voxel_ml, mean, place))
    return found


def sum_sides(structures: Sequence[Structure]) -> list[Structure]:
    """Add up the structures that differ in "left " or "right " before their names alone."""
    groups: dict[tuple[bool, str], list[Structure]] = defaultdict(list)
    for one in structures:
        name = _without_side(one.name)
        groups[name != one.name, name].append(one)
    summed = []
    for (_, name), members in groups.items():
        if len(members) < 2:
            summed += members
            continue
        voxels = sum(one.voxels for one in members)
        weighted = sum(one.mean * one.voxels for one in members if one.voxels)
        summed.append(
            replace(
                max(members, key=lambda one: one.voxels),
                values=tuple(value for one in members for value in one.values),
                name=name,
                voxels=voxels,
                volume_ml=sum(one.volume_ml for one in members),
                mean=weighted / voxels if voxels else math.nan,
            )
        )
    return summed


def has_sides(structures: Sequence[Structure]) -> bool:
    """Whether there is anything to add up."""
    return len(sum_sides(structures)) < len(structures)


def to_csv(structures: Sequence[Structure], origin: Origin) -> str:
    """Write structures as a table: one row each, comma-separated, with a line of column names."""
    z, y, x = origin.spacing_mm or ("",) * 3
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *("image", "model", "spacing_z_mm", "spacing_y_mm", "spacing_x_mm"),
            *("postprocessing", "labels", "structure", "voxels", "volume_ml", "mean_intensity"),
        ]
    )
    for one in structures:
        mean = "" if math.isnan(one.mean) else f"{one.mean:.6g}"
        labels = " ".join(str(value) for value in one.values)
        writer.writerow(
            [
                *(_as_text(origin.image), _as_text(origin.model), z, y, x),
                *(_as_text(origin.postprocessing), labels, _as_text(one.name)),
                *(one.voxels, f"{one.volume_ml:.6g}", mean),
            ]
        )
    return text.getvalue()


def _indexed(
    labels: NDArray[Any],
) -> tuple[NDArray[Any], Callable[[NDArray[Any]], NDArray[Any]]]:
    """Return the values that may occur, and what maps a plane to indices into them."""
    if labels.size and int(labels.min()) >= 0 and int(labels.max()) < _FEW:
        return np.arange(int(labels.max()) + 1), lambda plane: plane
    values = np.unique(labels)
    return values, lambda plane: np.searchsorted(values, plane)


def _place(labels: NDArray[Any], value: int, z: int) -> Shape:
    """Return the voxel of a structure that lies nearest to the middle of it in a plane."""
    inside = np.argwhere(labels[z] == value)
    nearest = np.square(inside - inside.mean(axis=0)).sum(axis=1).argmin()
    y, x = inside[nearest].tolist()
    return z, y, x


def _without_side(name: str) -> str:
    return next((name[len(side) :] for side in SIDES if name.startswith(side)), name)


def _as_text(text: str) -> str:
    """Keep spreadsheets from running a name as a formula: names come from anywhere."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
