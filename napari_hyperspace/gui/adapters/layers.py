"""Layer ⇄ volume: the one owner of scale, translate, units and metadata, in both directions.

A layer made here holds the voxels in canonical order, so that napari's three slice views are
upright, and is placed with scale and translate alone, in mm. napari can't slice an oblique volume
in 2D, so the nearest orthogonal placement is shown, turned about the center; the true affine
travels in ``layer.metadata["hyperspace"]`` and comes back on the way to a volume.

A layer made by anyone else is taken for what napari shows: its own array order, napari's world axes
(z, y, x) running towards Inferior, Posterior and Left, and a spacing of |scale| times the norms of
the columns of its affine.

The functions work on the attributes of a layer rather than on the layer: npe2 writers are given no
more than those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Orientation, Shape, Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.label_attributes import (
    label_attributes,
    label_metadata,
    whole_numbers,
)
from napari_hyperspace.gui.adapters.units import units_mm

Kind = Literal["image", "labels"]
LayerData = tuple[NDArray[Any], dict[str, Any], str]

METADATA_KEY = "hyperspace"
RESULT_KEY = "hyperspace_result"  # of a segmentation: what it was made of, and with
IMAGE_KEY = "hyperspace_image"  # of a segmentation: its image layer, weakly; for no file
UNITS = ("mm", "mm", "mm")
AXIS_LABELS = ("z", "y", "x")

_PLACEMENT = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
# napari's world axes (z, y, x) in RAS+: towards Inferior, Posterior, Left. It is its own inverse.
_WORLD_TO_RAS = np.array([[0.0, 0.0, -1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
_AS_IT_IS = Orientation((0, 1, 2), (False, False, False))
_SAME_SPACING = 1e-5  # relative; napari keeps a scale in float64, writers of scales may round it


@dataclass(frozen=True)
class Placement:
    """What the attributes of a layer say about the volume it stands for.

    Parameters
    ----------
    grid
        The volume's own grid: of the file for our layers, of the layer for others.
    orientation
        From the volume's array order to the layer's.
    metadata
        The volume's metadata.
    note
        What had to be assumed, for the user; empty if nothing.
    """

    grid: Grid
    orientation: Orientation
    metadata: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def layer_grid(self) -> Grid:
        """The grid of the voxels in the layer's array order."""
        return self.grid if self.orientation == _AS_IT_IS else self.grid.canonical()

    def volume(self, data: NDArray[Any], name: str = "") -> Volume:
        """Return the volume of a layer's data, in the volume's own array order."""
        return Volume(self.orientation.from_canonical(data), self.grid, name, self.metadata)


def attributes_of(layer: Any) -> dict[str, Any]:
    """Take from a layer what the functions of this module need to know."""
    attributes = {name: getattr(layer, name) for name in _PLACEMENT}
    attributes["affine"] = np.asarray(layer.affine.affine_matrix)
    attributes["name"] = layer.name
    attributes["metadata"] = dict(layer.metadata)
    attributes["rgb"] = bool(getattr(layer, "rgb", False))
    return attributes


def to_layer_data(volume: Volume, kind: Kind = "image") -> LayerData:
    """Make what napari needs to show a volume: (data, attributes, type).

    Data in canonical order, without a copy; scale and translate in mm.
    """
    orientation = volume.grid.orientation
    scale, translate = _orthogonal_placement(volume.grid.canonical())
    file_facts = {k: v for k, v in volume.metadata.items() if not k.startswith("label_")}
    attributes: dict[str, Any] = {
        "name": volume.name or kind,
        "scale": scale,
        "translate": translate,
        "units": UNITS,
        "axis_labels": AXIS_LABELS,
        "metadata": {
            METADATA_KEY: {
                **file_facts,
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
        data = _editable(whole_numbers(data, volume.name))
    return data, attributes, kind


def to_volume(data: Any, attributes: Mapping[str, Any]) -> Volume:
    """Make the volume that a layer stands for, on the grid of its file where there is one.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    name = str(attributes.get("name", ""))
    if attributes.get("multiscale"):
        data = data[0]  # the finest level
    placed = placement(np.shape(data), attributes)
    facts = dict(attributes.get("metadata") or {}).get(RESULT_KEY, {})
    metadata = dict(placed.metadata) | dict(facts) | label_metadata(attributes)
    return Volume(placed.orientation.from_canonical(np.asarray(data)), placed.grid, name, metadata)


def placement(shape: Sequence[int], attributes: Mapping[str, Any]) -> Placement:
    """Read the geometry of a layer from its attributes.

    The voxels of a layer of ours lie where its file says, unless its spacing was changed in napari:
    then that spacing counts, along the axes of the file.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    if len(shape) != 3 or attributes.get("rgb"):
        raise HyperspaceError(
            "only 3-D images of one channel have a spacing an axis",
            where=str(attributes.get("name") or "layer"),
            found="RGB" if attributes.get("rgb") else f"{len(shape)} dimensions",
            expected="3 dimensions",
            fix="Choose one volume of it as a layer of its own",
        )
    matrix, note = _world_matrix_mm(attributes)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    ours = dict(attributes.get("metadata") or {}).get(METADATA_KEY)
    if ours:
        grid = Grid(tuple(ours["shape"]), ours["affine"])
        if grid.canonical().shape == tuple(shape):
            metadata = {k: v for k, v in ours.items() if k not in ("shape", "affine")}
            if not np.allclose(spacing, grid.canonical().spacing_mm, rtol=_SAME_SPACING, atol=0):
                grid = _respaced(grid, spacing)
            return Placement(grid, grid.orientation, metadata)
    affine = np.eye(4)
    affine[:3] = _WORLD_TO_RAS @ matrix[:3]
    size: Shape = (shape[0], shape[1], shape[2])
    return Placement(Grid(size, affine), _AS_IT_IS, {}, note)


@dataclass(frozen=True, eq=False)
class LayerSource:
    """A layer as it was at one moment: taken on the main thread, read on any other.

    Parameters
    ----------
    data
        Its array, the finest level of a pyramid; lazy arrays stay lazy until `volume`.
    attributes
        What `attributes_of` took from it.
    placement
        What they mean.
    """

    data: Any
    attributes: Mapping[str, Any]
    placement: Placement

    @property
    def name(self) -> str:
        """What the user calls the layer."""
        return str(self.attributes["name"])

    def volume(self) -> Volume:
        """Return the volume that it stands for, in its file's array order; loads lazy arrays."""
        return self.placement.volume(np.asarray(self.data), self.name)

    def layer_volume(self) -> Volume:
        """Return the same voxels in the layer's array order."""
        return Volume(np.asarray(self.data), self.placement.layer_grid, self.name)

    def result_layer_data(
        self,
        labels: Volume,
        name: str,
        names: Mapping[int, str],
        colors: Mapping[int, str],
        facts: Mapping[str, Any],
    ) -> LayerData:
        """Make the Labels layer of a result: on the source's voxels, placed exactly as it is.

        Parameters
        ----------
        labels
            On the grid of `volume`.
        name
            Of the new layer.
        names, colors
            Of the label values.
        facts
            What the result was made with, to become metadata of its volume.
        """
        attributes = self._placed(name) | label_attributes(names, colors)
        attributes["metadata"][RESULT_KEY] = {"image": self.name, **facts}
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
        """Make the Labels layer of a block of the source.

        Parameters
        ----------
        labels
            In the layer's array order.
        start
            First voxel of the block in the layer's array order.
        """
        attributes = self._placed(name) | label_attributes(names, colors)
        offset = _own_matrix(self.attributes)[:3, :3] @ np.asarray(start, dtype=np.float64)
        attributes["translate"] = np.asarray(self.attributes["translate"], np.float64) + offset
        # The block is not the file's whole grid: its metadata would promise the wrong affine.
        attributes["metadata"] = {}
        return _editable(labels), attributes, "labels"

    def world_to_index(self, position: Sequence[float]) -> NDArray[np.float64]:
        """Map a position in the viewer's world to a fractional index into the layer's array."""
        matrix = _affine_matrix(self.attributes) @ _own_matrix(self.attributes)
        index: NDArray[np.float64] = np.linalg.solve(matrix, [*position, 1.0])[:3]
        return index

    def _placed(self, name: str) -> dict[str, Any]:
        attributes = {key: self.attributes[key] for key in _PLACEMENT}
        return attributes | {"name": name, "metadata": dict(self.attributes["metadata"])}


def take(layer: Any) -> LayerSource:
    """Take a layer as it is now.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    attributes = attributes_of(layer)
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    return LayerSource(data, attributes, placement(np.shape(data), attributes))


def _orthogonal_placement(canonical: Grid) -> tuple[Triple, Triple]:
    """Return (scale, translate) of a canonical grid, turned upright about its center."""
    center = _WORLD_TO_RAS @ canonical.center_mm
    half = np.array(canonical.spacing_mm) * (np.array(canonical.shape) - 1) / 2
    a, b, c = (center - half).tolist()
    return canonical.spacing_mm, (a, b, c)


def _respaced(grid: Grid, canonical_spacing_mm: NDArray[np.float64]) -> Grid:
    """Return a grid with another spacing; the voxel that napari draws first stays in place."""
    orientation = grid.orientation
    spacing = orientation.values_from_canonical(canonical_spacing_mm.tolist())
    first = np.zeros(3)
    for axis, flip in zip(orientation.axes, orientation.flips, strict=True):
        first[axis] = grid.shape[axis] - 1 if flip else 0
    affine = np.eye(4)
    affine[:3, :3] = grid.directions * spacing
    affine[:3, 3] = grid.index_to_mm(first) - affine[:3, :3] @ first
    return Grid(grid.shape, affine)


def _own_matrix(attributes: Mapping[str, Any]) -> NDArray[np.float64]:
    """Scale, rotate, shear and translate of a layer as one 4×4 matrix."""
    from napari.utils.transforms import Affine

    own = Affine(
        scale=attributes.get("scale", (1, 1, 1)),
        translate=attributes.get("translate", (0, 0, 0)),
        rotate=attributes.get("rotate"),
        shear=attributes.get("shear"),
        ndim=3,
    )
    matrix: NDArray[np.float64] = np.asarray(own.affine_matrix, dtype=np.float64)
    return matrix


def _affine_matrix(attributes: Mapping[str, Any]) -> NDArray[np.float64]:
    affine = attributes.get("affine")
    if affine is None:
        return np.eye(4)
    matrix: NDArray[np.float64] = np.asarray(
        getattr(affine, "affine_matrix", affine), dtype=np.float64
    )
    return matrix


def _world_matrix_mm(attributes: Mapping[str, Any]) -> tuple[NDArray[np.float64], str]:
    """Return the 4×4 matrix from a layer's index to mm, and what had to be assumed for it."""
    factors, note = units_mm(attributes.get("units"))
    return np.diag([*factors, 1.0]) @ _affine_matrix(attributes) @ _own_matrix(attributes), note


def _editable(labels: NDArray[Any]) -> NDArray[Any]:
    """Return a copy that napari's brush may write to; the arrays of volumes are read-only."""
    return np.array(labels, order="C")
