"""A volume: an array, the grid of its voxels, and what is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Shape, Triple

__all__ = ["Format", "Laterality", "PostprocessingStep", "Side", "Volume", "VolumeMetadata"]

Format = Literal["nifti", "nrrd", "metaimage", "dicom"]
Side = Literal["left", "right"]


class Laterality(NamedTuple):
    """Which side of the body a structure lies on.

    Parameters
    ----------
    side
        `None` for a structure in the middle, or one label for both sides.
    structure
        Name without the side. Two structures with the same one on opposite sides are counterparts.
    """

    side: Side | None
    structure: str


class PostprocessingStep(TypedDict):
    """One thing that `napari_hyperspace.postprocess` did to a label map."""

    step: str
    """In words."""
    connectivity: int
    """Number of neighbors of a voxel that count as connected to it."""
    changed_mm3: float
    """Volume of the voxels whose label changed."""


class VolumeMetadata(TypedDict, total=False):
    """The metadata of a volume; every key is optional."""

    path: str
    """File or folder that it was read from. A result on its grid keeps it."""
    format: Format
    """Format of that file."""
    header: object
    """What the writer of that format needs to store the geometry bit for bit."""
    series: str
    """UID of the DICOM series that it was read from."""
    orientation_unknown: bool
    """Whether the file does not state its orientation, so that left and right are a guess."""
    units_assumed: bool
    """Whether the file does not state its unit of length, so that mm is an assumption."""
    is_labels: bool
    """Whether the file, or the kind of its layer, says that the values are labels."""
    label_names: Mapping[int, str]
    """Name of each label value."""
    label_colors: Mapping[int, str]
    """Color of each label value, as ``"#rrggbb"``."""
    label_sides: Mapping[int, Laterality]
    """Side of each label value, as the model's card states it."""
    postprocessing: tuple[PostprocessingStep, ...]
    """What was done to the label map after the segmentation, in order."""
    image: str
    """Name of the layer that was segmented."""
    model: str
    """Name of the model that segmented it."""
    working_spacing_mm: tuple[float, ...]
    """Spacing that the model ran at, in canonical order (z, y, x)."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A read-only 3-D array on a grid, in its file's own array order.

    Parameters
    ----------
    array
        Shape ``grid.shape``. Shared, not copied; the volume's view of it is read-only.
    grid
        The positions of its voxels.
    name
        Used in messages and for layers.
    metadata
        Copied, read-only; for its keys see `VolumeMetadata`.

    Raises
    ------
    HyperspaceError
        If array and grid differ in shape.
    """

    array: NDArray[Any]
    grid: Grid
    name: str = ""
    metadata: VolumeMetadata = field(default_factory=VolumeMetadata)

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

        Without the metadata: a file's header does not describe a permuted array.
        """
        array = self.grid.orientation.to_canonical(self.array)
        return Volume(array, self.grid.canonical(), self.name)

    def with_array(
        self,
        array: NDArray[Any],
        *,
        name: str | None = None,
        metadata: VolumeMetadata | None = None,
    ) -> Volume:
        """Return another array on the same grid; with the same name and metadata unless given."""
        return Volume(
            array,
            self.grid,
            self.name if name is None else name,
            self.metadata if metadata is None else metadata,
        )
