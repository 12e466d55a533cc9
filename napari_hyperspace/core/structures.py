"""Structures of a label map: volume and mean intensity of each, and which are left and right."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import Cancelled, ShouldStop
from napari_hyperspace.core.geometry import Shape
from napari_hyperspace.core.volume import Laterality, Side

__all__ = [
    "BRAIN_NAME",
    "LABEL_COLORS",
    "SIDE_VALUES",
    "Origin",
    "Structure",
    "brain_volume_ml",
    "colors_for",
    "has_sides",
    "laterality_in_name",
    "laterality_of",
    "measure",
    "sum_sides",
    "to_csv",
    "value_on_side",
    "with_brain",
]

# The list of Okabe and Ito (2008), continued: each color is the one farthest from those before it
# for normal vision, deuteranopia and protanopia alike (CIELAB; simulated as by Machado, 2009).
LABEL_COLORS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#6611ff",
    "#aaffaa", "#5577ff", "#77ffff", "#bb1133", "#77bb66", "#99ddbb", "#ccee77", "#884477",
)  # fmt: skip
"""Colors for labels without a color; the color-blind can tell them apart."""

SIDE_VALUES: Mapping[Side, int] = {"left": 1000, "right": 2000}
"""What is added to the value of a label of both sides for its left and right part."""

BRAIN_NAME = "brain without fluid"
"""What `brain_volume_ml` is called in tables."""

_BRAIN = (("cortex", "grey matter", "gray matter"), ("white matter",))  # one word of each
_NO_BRAIN = ("ventricle", "csf", "cerebrospinal", "fluid", "skull", "scalp", "air", "other")
_COMPARED = ("compared_with", "compared_volume_ml", "volume_difference_ml", "dice")
_NO_SIDE = Laterality(None, "")
_SIDE_IN_NAME = re.compile(r"(left|right)\b", re.IGNORECASE)
_FEW = 4096  # below this largest value, every plane is counted by the values themselves


def colors_for(values: Iterable[int], known: Mapping[int, str]) -> dict[int, str]:
    """Return a color for each label value: the known one, or else one of `LABEL_COLORS`."""
    return {
        value: known.get(value, LABEL_COLORS[place % len(LABEL_COLORS)])
        for place, value in enumerate(sorted(values))
    }


@dataclass(frozen=True)
class Structure:
    """A structure of a label map, or both sides of one.

    Parameters
    ----------
    values
        Its label values.
    name
        Name of the label; "label 7" if it has none.
    voxels, volume_ml
        Number of voxels, and their volume.
    mean
        Mean intensity of the image inside it; NaN without an image or without voxels.
    place
        Index of one of its voxels, near the center of the plane with most of them; `None` without
        voxels.
    laterality
        Which side of the body it lies on.
    """

    values: tuple[int, ...]
    name: str
    voxels: int
    volume_ml: float
    mean: float
    place: Shape | None
    laterality: Laterality = _NO_SIDE


@dataclass(frozen=True)
class Origin:
    """Where a label map comes from, for the exported table; empty where not known."""

    image: str = ""
    model: str = ""
    spacing_mm: tuple[float, ...] = ()
    postprocessing: str = ""


def measure(
    labels: NDArray[Any],
    image: NDArray[Any] | None,
    voxel_ml: float,
    names: Mapping[int, str],
    should_stop: ShouldStop = lambda: False,
    *,
    sides: Mapping[int, Laterality] | None = None,
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
        Names of label values.
    should_stop
        Called between planes.
    sides
        Sides of label values, as a model's card states them; see `laterality_of`.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
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
        laterality = laterality_of(value, names, sides or {})
        volume_ml = voxels * voxel_ml
        found.append(Structure((value,), name, voxels, volume_ml, mean, place, laterality))
    return found


def laterality_of(
    value: int, names: Mapping[int, str], sides: Mapping[int, Laterality]
) -> Laterality:
    """Return the side of a label: the stated one, else the one in its name.

    Parameters
    ----------
    value
        Label value.
    names
        Names of label values.
    sides
        Sides of label values, as a model's card states them.
    """
    stated = sides.get(value)
    return laterality_in_name(names.get(value, "")) if stated is None else stated


def laterality_in_name(name: str) -> Laterality:
    """Return the side that an English name begins with.

    Only for labels whose side nothing states: label maps of other programs, and model cards from
    before cards had sides. "left cortex" and "right cortex" are counterparts; other spellings, such
    as "Left-Cortex", give a side but no counterpart.
    """
    match = _SIDE_IN_NAME.match(name)
    if match is None:
        return Laterality(None, name)
    side: Side = "left" if match[1].lower() == "left" else "right"
    return Laterality(side, name.removeprefix(f"{side} "))


def value_on_side(value: int, side: Side) -> int:
    """Return the value of the left or right part of a label of both sides: 1017 or 2017 of 17."""
    return value + SIDE_VALUES[side]


def sum_sides(structures: Sequence[Structure]) -> list[Structure]:
    """Add up the left and right counterparts among structures."""
    pairs: dict[str, list[Structure]] = defaultdict(list)
    for one in structures:
        if one.laterality.side is not None:
            pairs[one.laterality.structure].append(one)
    summed = []
    for one in structures:
        members = pairs[one.laterality.structure] if one.laterality.side else [one]
        if len({member.laterality.side for member in members}) < 2:
            summed.append(one)
        elif one is members[0]:
            summed.append(_sum(members))
    return summed


def _sum(members: Sequence[Structure]) -> Structure:
    voxels = sum(one.voxels for one in members)
    weighted = sum(one.mean * one.voxels for one in members if one.voxels)
    name = members[0].laterality.structure
    return replace(
        max(members, key=lambda one: one.voxels),
        values=tuple(value for one in members for value in one.values),
        name=name,
        voxels=voxels,
        volume_ml=sum(one.volume_ml for one in members),
        mean=weighted / voxels if voxels else math.nan,
        laterality=Laterality(None, name),
    )


def brain_volume_ml(volumes: Iterable[tuple[str, float]]) -> float | None:
    """Return the volume of the brain without its fluid; `None` if the structures are no brain.

    Parameters
    ----------
    volumes
        Name and volume in ml of each structure. Those of a brain contain cortex and white matter.
    """
    known = list(volumes)
    members = _brain_members([name for name, _ in known])
    return sum(known[i][1] for i in members) if members else None


def with_brain(structures: Sequence[Structure]) -> list[Structure]:
    """Return structures, and after those of a brain the brain without its fluid."""
    members = _brain_members([one.name for one in structures])
    if not members:
        return list(structures)
    brain = replace(_sum([structures[i] for i in members]), name=BRAIN_NAME, laterality=_NO_SIDE)
    return [*structures, brain]


def _brain_members(names: Sequence[str]) -> list[int]:
    """Return the indices of the names that belong to a brain; none if they are not of a brain."""
    known = [name.lower() for name in names]
    for part in _BRAIN:
        if not any(word in name for name in known for word in part):
            return []
    return [i for i, name in enumerate(known) if not any(word in name for word in _NO_BRAIN)]


def has_sides(structures: Sequence[Structure]) -> bool:
    """Whether any structures are left and right counterparts."""
    return len(sum_sides(structures)) < len(structures)


def to_csv(
    structures: Sequence[Structure],
    origin: Origin,
    *,
    delimiter: str = ",",
    compared: Sequence[tuple[float, float]] | None = None,
    compared_with: str = "",
) -> str:
    """Return a table of structures as CSV: a line of column names, then one row per structure.

    Parameters
    ----------
    structures, origin
        The rows, and the columns that are the same in all of them.
    delimiter
        Between columns.
    compared
        For each structure its volume in ml in another label map, and the Dice of the two; NaN where
        unknown. `None`: there is no comparison, and there are no columns for it.
    compared_with
        What made the other label map.
    """
    z, y, x = origin.spacing_mm or ("",) * 3
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
    writer.writerow(
        [
            *("image", "model", "spacing_z_mm", "spacing_y_mm", "spacing_x_mm"),
            *("postprocessing", "labels", "structure", "voxels", "volume_ml", "mean_intensity"),
            *(_COMPARED if compared is not None else ()),
        ]
    )
    for place, one in enumerate(structures):
        more: list[str] = []
        if compared is not None:
            other_ml, dice = compared[place]
            numbers = (other_ml, other_ml - one.volume_ml, dice)
            more = [_as_text(compared_with), *(_number(value) for value in numbers)]
        labels = " ".join(str(value) for value in one.values)
        writer.writerow(
            [
                *(_as_text(origin.image), _as_text(origin.model), z, y, x),
                *(_as_text(origin.postprocessing), labels, _as_text(one.name)),
                *(one.voxels, f"{one.volume_ml:.6g}", _number(one.mean), *more),
            ]
        )
    return text.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _indexed(
    labels: NDArray[Any],
) -> tuple[NDArray[Any], Callable[[NDArray[Any]], NDArray[Any]]]:
    """Return the values that may occur, and a function that maps a plane to indices of them."""
    if labels.size and int(labels.min()) >= 0 and int(labels.max()) < _FEW:
        return np.arange(int(labels.max()) + 1), lambda plane: plane
    values = np.unique(labels)
    return values, lambda plane: np.searchsorted(values, plane)


def _place(labels: NDArray[Any], value: int, z: int) -> Shape:
    """Return the voxel of a structure nearest to its center of mass in a plane."""
    inside = np.argwhere(labels[z] == value)
    nearest = np.square(inside - inside.mean(axis=0)).sum(axis=1).argmin()
    y, x = inside[nearest].tolist()
    return z, y, x


def _as_text(text: str) -> str:
    """Keep spreadsheets from running a name as a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
