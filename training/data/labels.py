"""Mapping from the ids in label maps to the output channels of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import check_labels

OUTSIDE = -1  # label of voxels whose label is unknown; losses and scores ignore them
_PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # canonical axis perpendicular to the slices


@dataclass(frozen=True)
class LabelRule:
    """The ids that may occur, and their meaning.

    Parameters
    ----------
    names
        Name of each label value, without the background (0).
    ids
        Ids of each label value. Those of 0 are background; so is the id 0 if it is not listed.
    ignore
        Ids of voxels whose label is unknown.
    sparse
        Plane in which only some slices are labeled: the labels of slices without any id are
        unknown. `None`: all slices are labeled.

    Raises
    ------
    HyperspaceError
        If a label value has no name, or a name has no ids.
    """

    names: Mapping[int, str]
    ids: Mapping[int, Sequence[int]]
    ignore: Sequence[int] = ()
    sparse: str | None = None

    def __post_init__(self) -> None:
        values = {value for value in self.ids if value != 0}
        if values != set(self.names) or not values:
            raise HyperspaceError(
                "each label value needs ids and a name",
                field="data.labels, data.names",
                found=f"ids of {sorted(values) or 'none'}, names of {sorted(self.names) or 'none'}",
            )

    def lookup(self) -> dict[int, int]:
        """Return the channel of each id: 0, 1, … in the order of the values, or `OUTSIDE`."""
        table = {0: 0}
        for channel, value in enumerate(sorted({0, *self.ids})):
            table |= dict.fromkeys(self.ids.get(value, ()), channel)
        return table | dict.fromkeys(self.ignore, OUTSIDE)

    def check(self, labels: Volume) -> Volume:
        """Return a label map as integers; see `napari_hyperspace.io.check_labels`."""
        try:
            return check_labels(labels, self.lookup())
        except HyperspaceError as error:
            if error.expected is None:
                raise
            raise error.replace(
                expected=_spans(self.lookup()),
                fix="Add these ids to data.labels or data.ignore",
            ) from error

    def channels(self, labels: Volume) -> NDArray[np.int16]:
        """Return the output channel of each voxel of a checked label map.

        Returns
        -------
        ndarray
            (D, H, W) in canonical order; `OUTSIDE` where the label is unknown.
        """
        table = sorted(self.lookup().items())
        ids, channels = (np.array(column) for column in zip(*table, strict=True))
        array = labels.canonical().array
        found = channels.astype(np.int16)[np.searchsorted(ids, array)]
        if self.sparse is not None:
            axis = _PLANES[self.sparse]
            shown = array.any(axis=tuple({0, 1, 2} - {axis}), keepdims=True)
            found[~np.broadcast_to(shown, found.shape)] = OUTSIDE
        return found


def _spans(ids: Iterable[int]) -> str:
    """Format integers, with runs of three or more as spans: 0–26, 100, 101."""
    runs: list[list[int]] = []
    for i in sorted(ids):
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    return ", ".join(
        f"{run[0]}–{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


def one_to_one(values: Iterable[int]) -> dict[int, tuple[int, ...]]:
    """Return the ids of label values, each of which is its own id."""
    return {value: (value,) for value in values}
