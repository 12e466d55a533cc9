"""Corrected labels: which voxels are known, and where they lie in the image of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.api.corrections.tuning import TuningView, patch_within, thinned
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.resample import resample_to_grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.inputs import working_image
from napari_hyperspace.inference.localize import Box
from napari_hyperspace.inference.plan import Plan
from napari_hyperspace.io.labels import check_labels
from napari_hyperspace.nets.model import Model

_MOST_POINTS = 1 << 21


@dataclass(frozen=True, eq=False)
class CorrectedLabels:
    """Corrected labels of a scan, on any grid.

    Parameters
    ----------
    labels
        The labels.
    classes
        Output channel of each voxel, -1 where the label is unknown.
    values
        Label value of each output channel.
    """

    labels: Volume
    classes: NDArray[np.int32]
    values: tuple[int, ...]

    @classmethod
    def of(
        cls,
        model: Model,
        labels: Volume,
        known: Volume | None,
        slices: Mapping[int, Sequence[int]] | None,
    ) -> CorrectedLabels:
        """Check labels; see `adapt_steps`.

        Raises
        ------
        HyperspaceError
            If the model does not have a label, no voxel with a label is known, or mask or slices do
            not fit.
        """
        if not labels.array.any():
            raise _empty(labels)
        channel = np.zeros(max(model.label_values) + 1, np.int32)
        channel[list(model.label_values)] = range(len(model.label_values))
        classes: NDArray[np.int32] = channel[check_labels(labels, model.label_values).array]
        if slices is not None:
            classes[~_in_slices(labels, slices)] = -1
        if known is not None:
            if known.shape != labels.shape or not known.grid.is_close(labels.grid):
                raise HyperspaceError(
                    "the mask is not on the grid of the corrected labels",
                    where=known.name or None,
                    field="known",
                    found=f"shape {known.shape}",
                    expected=f"shape {labels.shape}, and the same affine",
                )
            classes[known.array == 0] = -1
        if not (classes > 0).any():
            raise _empty(labels)
        return cls(labels, classes, model.label_values)

    @property
    def voxels(self) -> dict[int, int]:
        """Number of known voxels, by label value; 0 is the background."""
        counts = np.bincount(self.classes.ravel() + 1, minlength=2)[1:].tolist()
        return {self.values[i]: n for i, n in enumerate(counts) if n}

    def dice(self, found: Volume) -> dict[int, float]:
        """Return the Dice of other labels on the known voxels, by value of the labels there."""
        known = self.classes >= 0
        values = resample_to_grid(found, self.labels.grid, order="nearest", fill=0).array
        dice = {}
        for channel in np.unique(self.classes[self.classes > 0]).tolist():
            value = self.values[channel]
            here, there = self.classes == channel, (values == value) & known
            dice[value] = 2 * float((here & there).sum()) / float(here.sum() + there.sum())
        return dice

    def within(self, box: Box, grid: Grid) -> Box:
        """Return a box of a scan's grid, extended to the known voxels with a label."""
        places = np.argwhere(self.classes > 0)
        corners = np.stack([places.min(axis=0) - 0.5, places.max(axis=0) + 0.5])
        every = np.stack(np.meshgrid(*corners.T, indexing="ij"), axis=-1).reshape(-1, 3)
        index = grid.mm_to_index(self.labels.grid.index_to_mm(every))
        low = np.floor(index.min(axis=0) + 0.5).astype(int).clip(0)
        high = np.minimum(np.ceil(index.max(axis=0) + 0.5).astype(int), grid.shape)
        if (low >= high).any():
            raise _elsewhere(self.labels)
        a, b, c = (
            slice(min(each.start, int(start)), max(each.stop, int(stop)))
            for each, start, stop in zip(box, low, high, strict=True)
        )
        return a, b, c

    def view(
        self,
        volumes: Sequence[Volume],
        model: Model,
        plan: Plan,
        seed: int,
        most_bytes: int,
        should_stop: ShouldStop,
    ) -> TuningView:
        """Return the image of a network, and the known voxels inside of it as points.

        Parameters
        ----------
        volumes
            The input channels.
        model, plan
            Normalization, and the working grid.
        seed
            Of the choice of points, if there are very many.
        most_bytes
            Of what a step keeps for the gradients; it limits the patch.
        should_stop
            As in `working_image`.
        """
        image = working_image(volumes, model, plan, should_stop)
        flat = self.classes.ravel()
        rng = np.random.default_rng((seed, 1))
        kept, weights = thinned(np.flatnonzero(flat >= 0), flat, _MOST_POINTS, rng)
        places = np.stack(np.unravel_index(kept, self.classes.shape), axis=1)
        positions_mm = self.labels.grid.index_to_mm(places)
        index = volumes[0].grid.mm_to_index(positions_mm)
        inside = ((index > -0.5) & (index < np.array(volumes[0].shape) - 0.5)).all(axis=1)
        if not (flat[kept[inside]] > 0).any():
            raise _elsewhere(self.labels)
        n_dim = model.n_dim
        tile: list[int] = np.minimum(plan.tiles.tile_shape, plan.working.shape).tolist()
        planes = tile[: 3 - n_dim]  # the batch of a 2-D network
        size = patch_within(
            model.factory,
            plan.network_spacing_mm,
            tile[3 - n_dim :],
            most_bytes // max([1, *planes]),
        )
        z, y, x = (*planes, *size)
        return TuningView(
            image,
            plan.network_spacing_mm,
            plan.working.mm_to_index(positions_mm[inside]).astype(np.float32),
            flat[kept[inside]].astype(np.int64),
            weights[inside],
            (z, y, x),
        )


def _in_slices(labels: Volume, slices: Mapping[int, Sequence[int]]) -> NDArray[np.bool_]:
    """Return which voxels lie in one of the slices (array axis → indices)."""
    selected = np.zeros(labels.shape, bool)
    for axis, indices in slices.items():
        if axis not in range(3) or not all(0 <= i < labels.shape[axis] for i in indices):
            raise HyperspaceError(
                "a slice lies outside of the corrected labels",
                where=labels.name or None,
                field=f"axis {axis}",
                found=", ".join(map(str, indices)),
                expected=f"indices of the axes 0 to 2 of shape {labels.shape}",
            )
        np.moveaxis(selected, axis, 0)[list(indices)] = True
    return selected


def _empty(labels: Volume) -> HyperspaceError:
    return HyperspaceError(
        "the corrected labels are empty",
        where=labels.name or None,
        expected="voxels with a label of the model",
    )


def _elsewhere(labels: Volume) -> HyperspaceError:
    return HyperspaceError(
        "the corrected labels lie outside of the scan",
        where=labels.name or None,
        fix="Check that labels and scan belong together",
    )
