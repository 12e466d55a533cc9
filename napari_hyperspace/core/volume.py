"""A volume: an array and the grid it lives on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Shape, Triple


@dataclass(frozen=True, eq=False)
class Volume:
    """A read-only 3-D array on a grid, in its file's own array order.

    Parameters
    ----------
    array
        Shape ``grid.shape``. Shared, not copied; the volume's view of it is read-only.
    grid
        Where its voxels lie.
    name
        What to call it in messages and layers.
    metadata
        ``path`` and ``format`` of the file it came from, ``header`` (what the writer of that format
        needs), ``is_labels``, ``label_names`` ({value: name}), ``label_colors``
        ({value: "#rrggbb"}), ``orientation_unknown``. All optional.

    Raises
    ------
    HyperspaceError
        If array and grid differ in shape.
    """

    array: NDArray[Any]
    grid: Grid
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.asarray(self.array).view()
        if array.shape != self.grid.shape:
            raise HyperspaceError(
                "array and grid differ in shape",
                where=self.name or None,
                found=array.shape,
                expected=self.grid.shape,
            )
        array.setflags(write=False)
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def shape(self) -> Shape:
        """Number of voxels along each array axis."""
        return self.grid.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the array's values."""
        return self.array.dtype

    @property
    def spacing_mm(self) -> Triple:
        """Distance between voxel centers along each array axis, in mm."""
        return self.grid.spacing_mm

    @property
    def affine(self) -> NDArray[np.float64]:
        """4×4, array index → RAS+ mm."""
        return self.grid.affine

    def canonical(self) -> Volume:
        """Return the same voxels in canonical order (axes to Inferior, Posterior, Left), a view.

        The metadata stays behind: a file's header does not describe a turned array.
        """
        array = self.grid.orientation.to_canonical(self.array)
        return Volume(array, self.grid.canonical(), self.name)

    def with_array(
        self,
        array: NDArray[Any],
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Volume:
        """Return another array on the same grid; name and metadata stay unless given."""
        return Volume(
            array,
            self.grid,
            self.name if name is None else name,
            self.metadata if metadata is None else metadata,
        )
