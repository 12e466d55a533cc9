"""From the ids in a file of labels to the output channels of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import check_labels

OUTSIDE = -1  # label of voxels of which nothing is known: they count in no loss and no score
_PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}  # canonical axis across the slices


@dataclass(frozen=True)
class LabelRule:
    """Which ids may occur, and what they mean.

    Parameters
    ----------
    names
        Name of each label value, the background (0) left out.
    ids
        Ids of each label value. Those of 0 are background; the id 0 is too if it is in no list.
    ignore
        Ids of voxels whose label is not known.
    sparse
        Plane whose slices are labeled only in part, or `None`: slices without any id are unknown.

    Raises
    ------
    HyperspaceError
        If a label value has no name, or a name no ids.
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
        """Return a label map as whole numbers; see `napari_hyperspace.io.check_labels`."""
        try:
            return check_labels(labels, self.lookup())
        except HyperspaceError as error:
            if error.expected is None:
                raise
            raise error.replace(
                expected=_spans(self.lookup()),
                fix="Say in data.labels or data.ignore what these ids are",
            ) from error

    def channels(self, labels: Volume) -> NDArray[np.int16]:
        """Return the output channel of each voxel of a checked label map.

        Returns
        -------
        ndarray
            (D, H, W) in canonical order; `OUTSIDE` where the label is not known.
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
    """Write whole numbers with runs of three and more as spans: 0–26, 100, 101."""
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
    """Return the ids of label values that are their own ids."""
    return {value: (value,) for value in values}
