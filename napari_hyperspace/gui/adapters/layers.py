"""Conversion between layers and volumes: scale, translate, units and metadata, in both directions.

A layer made here holds the voxels in canonical order, so that napari's three slice views are
upright, and is placed with scale and translate alone, in mm. napari cannot slice an oblique volume
in 2-D, so the nearest orthogonal placement is shown, rotated about the center; the true affine is
kept in ``layer.metadata["hyperspace"]`` and used when the layer is converted back.

A layer from elsewhere is taken as napari shows it: in its own array order, with napari's world axes
(z, y, x) towards Inferior, Posterior and Left, and a spacing of |scale| times the norms of the
columns of its affine.

The functions take the attributes of a layer and not the layer: npe2 passes no more to writers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Orientation, Shape, Triple
from napari_hyperspace.core.volume import Laterality, ReadingOptions, Volume, VolumeMetadata
from napari_hyperspace.gui.adapters.label_attributes import (
    label_attributes,
    label_metadata,
    result_metadata,
    visible_colors,
    whole_numbers,
)
from napari_hyperspace.gui.adapters.units import units_mm
from napari_hyperspace.gui.adapters.voxels import contrast_limits, filled
from napari_hyperspace.io.base.decoded import override_spacing

if TYPE_CHECKING:
    from napari.layers import Labels, Layer

LayerKind = Literal["image", "labels"]
LayerData = tuple[NDArray[Any], dict[str, Any], str]
"""What napari makes a layer from: data, attributes and type."""

METADATA_KEY = "hyperspace"
"""Key of a layer's metadata: shape, affine and metadata of the volume that it shows."""
RESULT_KEY = "hyperspace_result"
"""Key of a segmentation's metadata: the image and model that it was made with."""
IMAGE_KEY = "hyperspace_image"
"""Key of a segmentation's metadata: a weak reference to its image layer. Not saved to files."""
ORIGIN_KEY = "hyperspace_origin"
"""Key of a segmentation's metadata: files of its scans and model. Not saved to files."""
OPACITY = 0.4
"""Of labels over a scan: its edges stay visible."""
UNITS = ("mm", "mm", "mm")
AXIS_LABELS = ("z", "y", "x")

_PLACEMENT = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
# From napari's world axes (z, y, x), towards Inferior, Posterior, Left, to RAS+. Its own inverse.
_WORLD_TO_RAS = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_SAME_ORDER = Orientation((0, 1, 2), (False, False, False))
_SAME_SPACING = 1e-5  # relative; napari's scale is float64, but other programs may round it


@dataclass(frozen=True)
class Placement:
    """The geometry and metadata of a layer's volume, read from the layer's attributes.

    Parameters
    ----------
    grid
        The volume's grid: that of its file for a layer made here, that of the layer for others.
    orientation
        From the volume's array order to the layer's.
    metadata
        The volume's metadata.
    note
        An assumption that the user should know of; empty if there is none.
    """

    grid: Grid
    orientation: Orientation
    metadata: VolumeMetadata = field(default_factory=VolumeMetadata)
    note: str = ""

    @property
    def layer_grid(self) -> Grid:
        """The grid of the voxels in the layer's array order."""
        return self.grid if self.orientation == _SAME_ORDER else self.grid.canonical()

    def volume(self, data: NDArray[Any], name: str = "") -> Volume:
        """Return the volume of a layer's data, in the volume's own array order."""
        return Volume(self.orientation.from_canonical(data), self.grid, name, self.metadata)


def attributes_of(layer: Layer) -> dict[str, Any]:
    """Return the attributes of a layer that the functions of this module use."""
    attributes = {name: getattr(layer, name) for name in _PLACEMENT}
    attributes["affine"] = np.asarray(layer.affine.affine_matrix)
    attributes["name"] = layer.name
    attributes["metadata"] = dict(layer.metadata)
    attributes["rgb"] = bool(getattr(layer, "rgb", False))
    return attributes


def to_layer_data(volume: Volume, kind: LayerKind = "image") -> LayerData:
    """Convert a volume to a layer: (data, attributes, type).

    The data are in canonical order; those of an image are not copied. Scale and translate are in
    mm.
    """
    orientation = volume.grid.orientation
    scale, translate = _orthogonal_placement(volume.grid.canonical())
    # Names and colors of labels are attributes of the layer.
    kept = {k: v for k, v in volume.metadata.items() if k not in ("label_names", "label_colors")}
    attributes: dict[str, Any] = {
        "name": volume.name or kind,
        "scale": scale,
        "translate": translate,
        "units": UNITS,
        "axis_labels": AXIS_LABELS,
        "metadata": {
            METADATA_KEY: {
                **kept,
                "shape": volume.shape,
                "affine": np.array(volume.affine),
            }
        },
    }
    data = np.asarray(orientation.to_canonical(volume.array))
    if kind == "labels":
        attributes |= label_attributes(
            volume.metadata.get("label_names", {}), volume.metadata.get("label_colors", {})
        )
        if result := result_metadata(volume.metadata):
            attributes["metadata"][RESULT_KEY] = result
            attributes["opacity"] = OPACITY
        data = _editable(whole_numbers(data, volume.name))
    elif limits := contrast_limits(data):
        attributes["contrast_limits"] = limits
    return data, attributes, kind


def to_volume(data: Any, attributes: Mapping[str, Any]) -> Volume:
    """Convert a layer to a volume, on the grid of its file if it has one.

    Parameters
    ----------
    data
        The layer's array; for a multiscale layer its list of arrays.
    attributes
        The layer's attributes.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    name = str(attributes.get("name", ""))
    if attributes.get("multiscale"):
        data = data[0]  # the finest level
    placed = placement(np.shape(data), attributes)
    result = cast(VolumeMetadata, (attributes.get("metadata") or {}).get(RESULT_KEY, {}))
    metadata: VolumeMetadata = {**placed.metadata, **result, **label_metadata(attributes)}
    return Volume(placed.orientation.from_canonical(np.asarray(data)), placed.grid, name, metadata)


def placement(shape: Sequence[int], attributes: Mapping[str, Any]) -> Placement:
    """Read the geometry of a layer from its attributes.

    A layer made here has the grid of its file. If its spacing was changed in napari, it has the new
    spacing along the axes of the file.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    if len(shape) != 3 or attributes.get("rgb"):
        raise HyperspaceError(
            "only 3-D images of one channel have one spacing per axis",
            where=str(attributes.get("name") or "layer"),
            found="RGB" if attributes.get("rgb") else f"{len(shape)} dimensions",
            expected="3 dimensions",
            fix="Make a layer of one of its volumes",
        )
    matrix, note = _world_matrix_mm(attributes)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    ours = (attributes.get("metadata") or {}).get(METADATA_KEY)
    if ours:
        grid = Grid(tuple(ours["shape"]), ours["affine"])
        if grid.canonical().shape == tuple(shape):
            metadata = cast(
                VolumeMetadata, {k: v for k, v in ours.items() if k not in ("shape", "affine")}
            )
            if not np.allclose(spacing, grid.canonical().spacing_mm, rtol=_SAME_SPACING, atol=0):
                a, b, c = grid.orientation.values_from_canonical(spacing.tolist())
                grid = _respaced(grid, (a, b, c))
                metadata["reading"] = {**metadata.get("reading", {}), "spacing_mm": (a, b, c)}
            return Placement(grid, grid.orientation, metadata)
    affine = np.eye(4)
    affine[:3] = _WORLD_TO_RAS @ matrix[:3]
    size: Shape = (shape[0], shape[1], shape[2])
    return Placement(Grid(size, affine), _SAME_ORDER, note=note)


@dataclass(frozen=True, eq=False)
class LayerSource:
    """A snapshot of a layer: taken on the main thread, to be read on any thread.

    Parameters
    ----------
    data
        The layer's array; for a multiscale layer that of the finest level. It may be a lazy array
        with numpy's interface: only `volume` and `layer_volume` load it.
    attributes
        The layer's attributes; see `attributes_of`.
    placement
        Its geometry.
    fill
        What to replace voxels by that are not finite; `None`: leave them.
    """

    data: NDArray[Any]
    attributes: Mapping[str, Any]
    placement: Placement
    fill: float | None = None

    @property
    def name(self) -> str:
        """The name of the layer."""
        return str(self.attributes["name"])

    def volume(self) -> Volume:
        """Return the layer's volume, in the array order of its file."""
        volume = self.placement.volume(self._voxels(), self.name)
        if self.fill is None:
            return volume
        reading: ReadingOptions = {**volume.metadata.get("reading", {}), "fill": self.fill}
        return volume.with_array(volume.array, metadata={**volume.metadata, "reading": reading})

    def layer_volume(self) -> Volume:
        """Return the same voxels in the layer's array order."""
        return Volume(self._voxels(), self.placement.layer_grid, self.name)

    def _voxels(self) -> NDArray[Any]:
        voxels = np.asarray(self.data)
        return voxels if self.fill is None else filled(voxels, self.fill)

    def result_layer_data(
        self,
        labels: Volume,
        name: str,
        names: Mapping[int, str],
        colors: Mapping[int, str],
        facts: VolumeMetadata,
    ) -> LayerData:
        """Return the Labels layer of a result, with the geometry of this layer.

        Parameters
        ----------
        labels
            On the grid of `volume`.
        name
            Name of the new layer.
        names, colors
            Names and colors of the label values.
        facts
            What the result was made with; metadata of its volume.
        """
        sides = labels.metadata.get("label_sides")
        attributes = self.placed(name) | label_attributes(names, visible_colors(colors, sides))
        attributes["opacity"] = OPACITY
        result: VolumeMetadata = {"image": self.name, **facts}
        if sides:
            result["label_sides"] = sides
        attributes["metadata"][RESULT_KEY] = result
        return (
            _editable(self.placement.orientation.to_canonical(labels.array)),
            attributes,
            "labels",
        )

    def block_layer_data(
        self,
        labels: NDArray[Any],
        start: Sequence[int],
        name: str,
        names: Mapping[int, str],
        colors: Mapping[int, str],
    ) -> LayerData:
        """Return the Labels layer of a block of this layer, for a preview.

        Parameters
        ----------
        labels
            Labels of the block, in the layer's array order.
        start
            Index of its first voxel, in the layer's array order.
        name
            Name of the new layer.
        names, colors
            Names and colors of the label values.
        """
        attributes = self.placed(name) | label_attributes(names, visible_colors(colors))
        attributes["opacity"] = OPACITY
        offset = _own_matrix(self.attributes)[:3, :3] @ np.asarray(start, dtype=np.float64)
        attributes["translate"] = np.asarray(self.attributes["translate"], np.float64) + offset
        attributes["metadata"] = {}  # that of the layer states the affine of the whole grid
        return _editable(labels), attributes, "labels"

    def world_to_index(self, position: Sequence[float]) -> NDArray[np.float64]:
        """Map a position in the viewer's world to a fractional index into the layer's array."""
        matrix = _affine_matrix(self.attributes) @ _own_matrix(self.attributes)
        return np.asarray(np.linalg.solve(matrix, [*position, 1.0])[:3], dtype=np.float64)

    def placed(self, name: str) -> dict[str, Any]:
        """Return the attributes of a new layer in the place of this one, and its metadata."""
        attributes = {key: self.attributes[key] for key in _PLACEMENT}
        return attributes | {"name": name, "metadata": dict(self.attributes["metadata"])}


def label_sides(layer: Labels) -> Mapping[int, Laterality]:
    """Return the side of the body of each label value of a layer, as far as they are stated."""
    for key in (RESULT_KEY, METADATA_KEY):
        metadata = cast(VolumeMetadata, layer.metadata.get(key, {}))
        sides = metadata.get("label_sides")
        if sides:
            return sides
    return {}


def take(layer: Layer, fill: float | None = None) -> LayerSource:
    """Take a snapshot of a layer; see `LayerSource`.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    attributes = attributes_of(layer)
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return LayerSource(data, attributes, placement(np.shape(data), attributes), fill)


def _orthogonal_placement(canonical: Grid) -> tuple[Triple, Triple]:
    """Return (scale, translate) of a canonical grid, rotated upright about its center."""
    center = _WORLD_TO_RAS @ canonical.center_mm
    half = np.array(canonical.spacing_mm) * (np.array(canonical.shape) - 1) / 2
    a, b, c = (center - half).tolist()
    return canonical.spacing_mm, (a, b, c)


def _respaced(grid: Grid, spacing_mm: Triple) -> Grid:
    """Return the grid of a file with another spacing (array order), as `read` does, to the bit.

    The voxel at the layer's index 0 stays in place.
    """
    orientation = grid.orientation
    first = np.zeros(3)
    for axis, flip in zip(orientation.axes, orientation.flips, strict=True):
        first[axis] = grid.shape[axis] - 1 if flip else 0
    affine = override_spacing(grid.affine, spacing_mm)
    affine[:3, 3] = grid.index_to_mm(first) - affine[:3, :3] @ first
    return Grid(grid.shape, affine)


def _own_matrix(attributes: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return scale, rotate, shear and translate of a layer as one 4×4 matrix."""
    from napari.utils.transforms import Affine

    own = Affine(
        scale=attributes.get("scale", (1, 1, 1)),
        translate=attributes.get("translate", (0, 0, 0)),
        rotate=attributes.get("rotate"),
        shear=attributes.get("shear"),
        ndim=3,
    )
    return np.asarray(own.affine_matrix, dtype=np.float64)


def _affine_matrix(attributes: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return the affine of a layer, which applies after `_own_matrix`, as a 4×4 matrix."""
    affine = attributes.get("affine")
    if affine is None:
        return np.eye(4)
    return np.asarray(getattr(affine, "affine_matrix", affine), dtype=np.float64)


def _world_matrix_mm(attributes: Mapping[str, Any]) -> tuple[NDArray[np.float64], str]:
    """Return the 4×4 matrix from a layer's index to mm, and a note about its units."""
    factors, note = units_mm(attributes.get("units"))
    return np.diag([*factors, 1.0]) @ _affine_matrix(attributes) @ _own_matrix(attributes), note


def _editable(labels: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that can be painted on: the arrays of volumes are read-only."""
    return np.array(labels, order="C")
