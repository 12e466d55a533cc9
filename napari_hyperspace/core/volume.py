"""A volume: an array, the grid of its voxels, and what is known about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Shape, Triple

__all__ = [
    "Format",
    "GuidanceRecord",
    "Laterality",
    "OutsideRange",
    "PostprocessingOptions",
    "PostprocessingStep",
    "ReadingOptions",
    "Record",
    "Side",
    "Volume",
    "VolumeMetadata",
    "digest_of_labels",
]

Format = Literal["nifti", "nrrd", "metaimage", "dicom", "ome-zarr"]
Side = Literal["left", "right"]
OutsideRange = Literal["refuse", "clamp", "extrapolate"]
"""What to do with a spacing outside the trained range."""


class Laterality(NamedTuple):
    """Which side of the body a structure lies on.

    Parameters
    ----------
    side
        `None` for a structure in the middle, or one label for both sides.
    structure
        Name without the side. Two structures with the same one on opposite sides are counterparts.
    paired
        Whether one label contains the structures of both sides, which post-processing can divide.
    """

    side: Side | None
    structure: str
    paired: bool = False


class PostprocessingStep(TypedDict):
    """One thing that `napari_hyperspace.postprocess` did to a label map."""

    step: str
    """In words."""
    connectivity: int
    """Number of neighbors of a voxel that count as connected to it; 0 where none plays a part."""
    changed_mm3: float
    """Volume of the voxels whose label changed."""


class ReadingOptions(TypedDict, total=False):
    """The options of `napari_hyperspace.read` that decide voxels and spacing, where given."""

    volume: int
    spacing_mm: Triple
    fill: float


@dataclass(frozen=True)
class PostprocessingOptions:
    """Options of `napari_hyperspace.postprocess`; see there.

    For what post-processes the labels that it makes, such as `napari_hyperspace.sweep`.
    """

    largest_component: bool = False
    smallest_component_mm3: float = 0.0
    fill_holes_mm3: float = 0.0
    split_sides: bool = False


@dataclass(frozen=True, kw_only=True)
class GuidanceRecord:
    """Where the guidance of a segmentation came from: from labels, or from a coarse pass.

    Parameters
    ----------
    labels_digest
        Digest of the labels; see `digest_of_labels`.
    model, model_digest
        Name and digest of the model of the coarse pass; empty for labels that were given.
    spacing_mm
        Working spacing of the coarse pass in canonical order (z, y, x).
    precision, localization_precision
        Of the coarse pass, as in `Record`.
    """

    labels_digest: str
    model: str = ""
    model_digest: str = ""
    spacing_mm: Triple | None = None
    precision: str = ""
    localization_precision: str = ""


@dataclass(frozen=True, kw_only=True)
class Record:
    """How a segmentation was made: what its labels depend on, and what it took.

    It contains no path and no name of a scan, so that it can be stored with the labels and passed
    on. `napari_hyperspace.segment` adds it to the metadata of the labels,
    `napari_hyperspace.postprocess` completes it, and `napari_hyperspace.write` stores it.

    Parameters
    ----------
    model
        Name of the model, as in its card.
    model_digest
        Digest of what the labels depend on in the model; see `Model.digest`.
    spacing_mm
        Working spacing in canonical order (z, y, x), after clamping.
    precision
        Precision that the network ran in, as in `InferenceOptions`; never ``"auto"``.
    localization_precision
        That of the coarse first pass; empty without one.
    localized
        How that pass found the region: ``"found"``, ``"found-from-top"`` (of the head) or
        ``"whole-scan"`` (not found); empty without one.
    device
        Kind of the device that the labels were computed on: ``"cpu"``, ``"cuda"``, ….
    outside
        What was to be done with a spacing outside the trained range.
    tile_shape
        Largest tile in voxels, if it was not the model's own.
    overlap
        Smallest fraction of a tile that it shares with the next one.
    allow_implausible
        Whether implausible spacings and sizes were accepted.
    best
        Whether several networks were averaged.
    channels
        Names of the model's input channels, in the order of the scans.
    reading
        Options that the first scan was read with. A spacing is the correction of the file's own,
        in the file's array order.
    postprocessing
        What was done to the labels after the segmentation, in order.
    guidance
        Where the guidance came from, if the model is a guided one.
    labels_digest
        Digest of the labels; see `digest_of_labels`. Labels that were painted on have another one.
    seconds, peak_bytes
        What the segmentation took: wall time, and growth of the memory.
    predicted_seconds, predicted_peak_bytes
        The estimate before it, if there was one.
    program_version, torch_version
        Versions of this package and of torch.
    """

    model: str
    model_digest: str
    spacing_mm: Triple
    precision: str
    localization_precision: str = ""
    localized: str = ""
    device: str
    outside: OutsideRange = "refuse"
    tile_shape: tuple[int, ...] | None = None
    overlap: float
    allow_implausible: bool = False
    best: bool = False
    channels: tuple[str, ...] = ("image",)
    reading: ReadingOptions = field(default_factory=ReadingOptions)
    postprocessing: tuple[PostprocessingOptions, ...] = ()
    guidance: GuidanceRecord | None = None
    labels_digest: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0
    predicted_seconds: float | None = None
    predicted_peak_bytes: int | None = None
    program_version: str = ""
    torch_version: str = ""


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
    reading: ReadingOptions
    """Options that the file was read with. A result on its grid keeps them."""
    record: Record
    """How these labels were made."""


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


def digest_of_labels(array: NDArray[Any]) -> str:
    """Return the BLAKE2b digest of a label map: of its shape and values, in any integer type."""
    values = np.ascontiguousarray(array)
    smallest = np.min_scalar_type(int(values.max(initial=0)))
    digest = hashlib.blake2b(repr(values.shape).encode(), digest_size=16)
    digest.update(values.astype(smallest.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()
