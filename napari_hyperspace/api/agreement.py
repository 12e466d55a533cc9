"""Agreement of two label maps on one grid: volumes and Dice of structures, and where they differ.

Structures are matched by name, so that label maps of different models can be compared; a label
without a name is matched by its value. A structure that only one of the two can have takes no part:
where it lies, the other one counts as background.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.structures import laterality_of
from napari_hyperspace.core.volume import Laterality, Volume

__all__ = ["Agreement", "Disagreement", "StructureAgreement", "agreement"]

_FEW = 2**16  # spread of label values up to which they are looked up in a table
_Key = str | int  # what labels are matched by: the name in lower case; the value without a name


@dataclass(frozen=True)
class StructureAgreement:
    """How well two label maps agree on a structure.

    Parameters
    ----------
    name
        Its name.
    values, other_values
        Its label values in the first and in the second label map.
    volume_ml, other_volume_ml
        Its volume in both.
    dice
        Twice the common volume over the sum of both volumes; NaN if neither contains it.
    """

    name: str
    values: tuple[int, ...]
    other_values: tuple[int, ...]
    volume_ml: float
    other_volume_ml: float
    dice: float


@dataclass(frozen=True)
class Disagreement:
    """A pair of labels that two label maps give to the same voxels.

    Parameters
    ----------
    value
        Its value in `Agreement.different`.
    name, other_name
        Names of the structures; "background" for none.
    kind
        ``"first"``: only the first label map has a structure here; ``"second"``: only the second;
        ``"both"``: they have different ones.
    voxels
        Number of voxels.
    """

    value: int
    name: str
    other_name: str
    kind: str
    voxels: int


@dataclass(frozen=True, eq=False)
class Agreement:
    """The agreement of two label maps.

    Parameters
    ----------
    structures
        The structures that both can have, in the order of the first label map's values.
    unmatched, other_unmatched
        Names of the structures that only the first or only the second can have.
    different
        (D, H, W), array order of the first label map: 0 where both agree, else the value of the
        pair in ``pairs``. uint8, or uint16 if there are more than 255 pairs.
    pairs
        The pairs of labels that occur, the most frequent first.
    voxel_volume_ml
        Volume of a voxel.
    """

    structures: tuple[StructureAgreement, ...]
    unmatched: tuple[str, ...]
    other_unmatched: tuple[str, ...]
    different: NDArray[np.uint8] | NDArray[np.uint16]
    pairs: tuple[Disagreement, ...]
    voxel_volume_ml: float
    _counts: NDArray[np.int64]  # (K, K) voxels of each pair of structures; 0: background
    _rows: Mapping[int, int]  # label value of the first label map -> index of its structure

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the structures that either label map contains; NaN if there are none."""
        scores = [one.dice for one in self.structures if not math.isnan(one.dice)]
        return sum(scores) / len(scores) if scores else math.nan

    @property
    def different_ml(self) -> float:
        """Volume of the voxels with different labels."""
        return sum(one.voxels for one in self.pairs) * self.voxel_volume_ml

    @property
    def labeled_ml(self) -> float:
        """Volume of the voxels where at least one label map has a structure."""
        return float(self._counts.sum() - self._counts[0, 0]) * self.voxel_volume_ml

    def of(self, values: Iterable[int]) -> StructureAgreement | None:
        """Return the agreement on several labels of the first label map taken as one structure.

        Labels that take no part are ignored; `None` if there is no other.
        """
        rows = sorted({self._rows[value] for value in values if value in self._rows})
        if not rows:
            return None
        members = [self.structures[row - 1] for row in rows]
        if len(members) == 1:
            return members[0]
        return _structure(
            " + ".join(one.name for one in members),
            tuple(value for one in members for value in one.values),
            tuple(value for one in members for value in one.other_values),
            self._counts,
            rows,
            self.voxel_volume_ml,
        )


def agreement(first: Volume, second: Volume, should_stop: ShouldStop = lambda: False) -> Agreement:
    """Compare two label maps.

    Names and sides of the labels are read from the metadata ``label_names`` and ``label_sides``. If
    only one of the two divides a structure into left and right, both sides are taken together.

    Parameters
    ----------
    first, second
        Whole numbers on the same grid; 0 is the background. Their array orders may differ.
    should_stop
        Called between planes.

    Raises
    ------
    HyperspaceError
        If the grids differ, if the values are not whole numbers, or if the two state opposite sides
        for the same label.
    Cancelled
        Once ``should_stop`` returns true.
    """
    other = _on_grid_of(first, second)
    for volume in (first, second):
        if volume.dtype.kind not in "biu":
            raise HyperspaceError(
                "a label map contains whole numbers",
                where=volume.name or None,
                found=volume.dtype,
                expected="an integer type",
            )
    keys, names = _matched(first, second, should_stop)
    shared = [key for key in dict.fromkeys(keys[0].values()) if key in set(keys[1].values())]
    if not shared:
        raise HyperspaceError(
            "the label maps have no structure in common",
            where=second.name or None,
            found=", ".join(names[key] for key in dict.fromkeys(keys[1].values())) or "no labels",
            expected=", ".join(names[key] for key in dict.fromkeys(keys[0].values()))
            or "no labels",
            fix="Give the labels the same names",
        )
    index = {key: i for i, key in enumerate(shared, start=1)}
    rows, columns = (
        {value: index[key] for value, key in one.items() if key in index} for one in keys
    )
    counts = _count(first.array, other, rows, columns, len(shared) + 1, should_stop)
    voxel_ml = first.grid.voxel_volume_ml
    structures = tuple(
        _structure(
            names[key],
            tuple(value for value, row in rows.items() if row == i),
            tuple(value for value, column in columns.items() if column == i),
            counts,
            [i],
            voxel_ml,
        )
        for key, i in index.items()
    )
    pairs, table = _pairs(counts, ["background", *(names[key] for key in shared)])
    different = np.empty(first.shape, table.dtype)
    row_of, column_of = _lookup(rows), _lookup(columns)
    for z, (plane, another) in enumerate(zip(first.array, other, strict=True)):
        if should_stop():
            raise Cancelled
        different[z] = table[row_of(plane), column_of(another)]
    unmatched, other_unmatched = (
        tuple(names[key] for key in dict.fromkeys(one.values()) if key not in index) for one in keys
    )
    return Agreement(
        structures, unmatched, other_unmatched, different, pairs, voxel_ml, counts, rows
    )


def _on_grid_of(first: Volume, second: Volume) -> NDArray[np.integer]:
    """Return the second volume's array in the array order of the first."""
    if first.grid.is_close(second.grid):
        return second.array
    ours, theirs = first.grid.canonical(), second.grid.canonical()
    if not ours.is_close(theirs):
        raise HyperspaceError(
            "label maps on different grids cannot be compared voxel by voxel",
            where=second.name or None,
            found=_describe(second),
            expected=_describe(first),
            fix="Segment the same scan, or resample one of them onto the other's grid",
        )
    canonical = second.grid.orientation.to_canonical(second.array)
    array: NDArray[np.integer] = first.grid.orientation.from_canonical(canonical)
    return array


def _describe(volume: Volume) -> str:
    shape = " × ".join(str(size) for size in volume.shape)
    spacing = " × ".join(f"{step:.4g}" for step in volume.spacing_mm)
    center = ", ".join(f"{position:.2f}" for position in volume.grid.center_mm)
    return f"{shape} voxels of {spacing} mm, axes {volume.grid.axcodes}, center ({center}) mm"


def _known(volume: Volume, should_stop: ShouldStop) -> list[int]:
    """Return the label values that a volume names or contains, without the background."""
    found: set[int] = set(volume.metadata.get("label_names", {}))
    for plane in volume.array:
        if should_stop():
            raise Cancelled
        if plane.dtype.kind == "u" and plane.dtype.itemsize <= 2:
            found.update(np.flatnonzero(np.bincount(plane.ravel())).tolist())
        else:
            found.update(np.unique(plane).tolist())
    return sorted(int(value) for value in found if value != 0)


def _matched(
    first: Volume, second: Volume, should_stop: ShouldStop
) -> tuple[tuple[dict[int, _Key], dict[int, _Key]], dict[_Key, str]]:
    """Return what the labels of both label maps are matched by, and the name of each such key."""
    sides = [
        {value: _laterality(volume, value) for value in _known(volume, should_stop)}
        for volume in (first, second)
    ]
    _check_sides(first, second, *sides)
    # A structure that one of them does not divide into sides is one structure in both.
    whole = {one.structure.casefold() for of in sides for one in of.values() if one.side is None}
    names: dict[_Key, str] = {}
    keys: list[dict[int, _Key]] = [{}, {}]
    for volume, of, known in zip((first, second), keys, sides, strict=True):
        labels = volume.metadata.get("label_names", {})
        for value, side in known.items():
            name = labels.get(value, "")
            if side.side is not None and side.structure.casefold() in whole:
                name = side.structure
            of[value] = name.casefold() or value
            names.setdefault(of[value], name or f"label {value}")
    ours, theirs = keys
    for named, unnamed in ((ours, theirs), (theirs, ours)):
        for value, key in unnamed.items():
            if value == key:
                unnamed[value] = named.get(value, value)
    return (ours, theirs), names


def _laterality(volume: Volume, value: int) -> Laterality:
    names = volume.metadata.get("label_names", {})
    return laterality_of(value, names, volume.metadata.get("label_sides", {}))


def _check_sides(
    first: Volume,
    second: Volume,
    sides: Mapping[int, Laterality],
    other_sides: Mapping[int, Laterality],
) -> None:
    """Refuse two labels of the same name on opposite sides."""
    names, other_names = (one.metadata.get("label_names", {}) for one in (first, second))
    theirs = {name.casefold(): value for value, name in other_names.items()}
    for value, name in names.items():
        other_value = theirs.get(name.casefold())
        if value == 0 or not other_value:
            continue
        one, another = sides[value].side, other_sides[other_value].side
        if one is not None and another is not None and one != another:
            raise HyperspaceError(
                "the label maps state opposite sides of the body for the same structure",
                where=second.name or None,
                field=name,
                found=another,
                expected=one,
                fix="Correct the sides in the card of the model that made one of them",
            )


def _structure(
    name: str,
    values: tuple[int, ...],
    other_values: tuple[int, ...],
    counts: NDArray[np.int64],
    rows: Sequence[int],
    voxel_ml: float,
) -> StructureAgreement:
    ours = int(counts[rows].sum())
    theirs = int(counts[:, rows].sum())
    common = int(counts[np.ix_(rows, rows)].sum())
    dice = 2 * common / (ours + theirs) if ours + theirs else math.nan
    return StructureAgreement(name, values, other_values, ours * voxel_ml, theirs * voxel_ml, dice)


def _lookup(values: Mapping[int, int]) -> Callable[[NDArray[np.integer]], NDArray[np.int32]]:
    """Return a function that maps a plane of label values to indices; 0 for values without one."""
    known = np.array(sorted(values), dtype=np.int64)
    indices = np.array([0, *(values[value] for value in known.tolist())], dtype=np.int32)
    if not known.size:
        return lambda plane: np.zeros(plane.shape, np.int32)
    low, high = int(min(known[0], 0)), int(max(known[-1], 0))
    if high - low < _FEW:
        table = np.zeros(high - low + 2, np.int32)  # the last one: values out of range
        table[known - low] = indices[1:]

        def look_up(plane: NDArray[np.integer]) -> NDArray[np.int32]:
            inside = (plane >= low) & (plane <= high)
            place = np.where(inside, plane, high + 1).astype(np.int64) - low
            found: NDArray[np.int32] = table[place]
            return found

        return look_up

    def search(plane: NDArray[np.integer]) -> NDArray[np.int32]:
        place = np.searchsorted(known, plane)
        place[place == known.size] = 0
        found: NDArray[np.int32] = np.where(known[place] == plane, indices[place + 1], 0)
        return found

    return search


def _count(
    array: NDArray[np.integer],
    other: NDArray[np.integer],
    rows: Mapping[int, int],
    columns: Mapping[int, int],
    n: int,
    should_stop: ShouldStop,
) -> NDArray[np.int64]:
    """Return the number of voxels of each pair of indices (n, n)."""
    row_of, column_of = _lookup(rows), _lookup(columns)
    counts = np.zeros(n * n, np.int64)
    for plane, another in zip(array, other, strict=True):
        if should_stop():
            raise Cancelled
        pair = row_of(plane).astype(np.int64) * n + column_of(another)
        counts += np.bincount(pair.ravel(), minlength=n * n)
    return counts.reshape(n, n)


def _pairs(
    counts: NDArray[np.int64], names: Sequence[str]
) -> tuple[tuple[Disagreement, ...], NDArray[np.uint8] | NDArray[np.uint16]]:
    """Return the pairs of different structures that occur, and the table of their values (K, K)."""
    found = [
        (-int(counts[row, column]), int(row), int(column))
        for row, column in zip(*np.nonzero(counts), strict=True)
        if row != column
    ]
    table = np.zeros(counts.shape, np.uint8 if len(found) < 256 else np.uint16)
    pairs = []
    for value, (negative, row, column) in enumerate(sorted(found), start=1):
        table[row, column] = value
        kind = "second" if row == 0 else "first" if column == 0 else "both"
        pairs.append(Disagreement(value, names[row], names[column], kind, -negative))
    return tuple(pairs), table
