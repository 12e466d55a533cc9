"""The metadata of an OME-Zarr image: axes, units, levels and their transformations, in mm.

After the specification, https://ngff.openmicroscopy.org/0.5/. What is missing or contradictory is
an error: no spacing is ever guessed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.io.base.decoded import missing_spacing, override_spacing, spacing_needed
from napari_hyperspace.io.base.text import shortened

VERSIONS = ("0.4", "0.5")
_UNIT_MM = {
    **{"angstrom": 1e-7, "nanometer": 1e-6, "micrometer": 1e-3, "millimeter": 1.0},
    **{"centimeter": 10.0, "decimeter": 100.0, "meter": 1000.0, "inch": 25.4},
}
_RAS = {
    **{"left-to-right": (1, 0, 0), "right-to-left": (-1, 0, 0)},
    **{"posterior-to-anterior": (0, 1, 0), "anterior-to-posterior": (0, -1, 0)},
    **{"inferior-to-superior": (0, 0, 1), "superior-to-inferior": (0, 0, -1)},
}
_SPACE = ("z", "y", "x")


@dataclass(frozen=True)
class ImageLevel:
    """One resolution of an image.

    Parameters
    ----------
    path
        Of its array, relative to the image.
    scale, translation
        Of all axes, in their units: position = scale · index + translation.
    """

    path: str
    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True)
class ImageMetadata:
    """What the attributes of an image say.

    Parameters
    ----------
    name
        Of the image; may be empty.
    axes
        Names, in array order: ``z``, ``y`` and ``x`` for the spatial ones.
    units_mm
        Size of the unit of each axis in mm; `None`: not stated, or not of space.
    orientations
        Of each axis, if stated: unit vector in RAS+.
    levels
        The resolutions, finest first.
    """

    name: str
    axes: tuple[str, ...]
    units_mm: tuple[float | None, ...]
    orientations: tuple[tuple[int, int, int] | None, ...]
    levels: tuple[ImageLevel, ...]

    @property
    def spatial(self) -> list[int]:
        """Positions of the spatial axes, in array order."""
        return [i for i, name in enumerate(self.axes) if name in _SPACE]

    def extent(self, level: int, shape: Sequence[int]) -> NDArray[np.float64]:
        """Return the extent of a level along its spatial axes, in the file's units."""
        at = self.spatial
        return np.array([self.levels[level].scale[i] * shape[i] for i in at])

    def affine(
        self, level: int, where: Path, spacing_mm: Sequence[float] | None
    ) -> tuple[NDArray[np.float64], bool, bool]:
        """Return the affine of the spatial axes.

        Parameters
        ----------
        level
            Which of the levels.
        where
            Of the file, for errors.
        spacing_mm
            Spacing that replaces that of the file, in array order.

        Returns
        -------
        tuple
            4×4 affine, index → RAS+ mm; whether the orientation is stated; whether the units are.

        Raises
        ------
        OptionNeededError
            If there are not three spatial axes and no spacing is given.
        """
        at, used = self.spatial, self.levels[level]
        if len(at) < 3:
            if spacing_mm is None:
                raise missing_spacing(where, "axes", ", ".join(self.axes))
            usual = Grid.from_spacing((1, 1, 1), (1, 1, 1)).affine
            return override_spacing(usual, spacing_mm), False, True
        units = [self.units_mm[i] for i in at]
        factors = np.array([1.0 if unit is None else unit for unit in units])
        scale = np.array([used.scale[i] for i in at]) * factors
        origin = np.array([used.translation[i] for i in at]) * factors
        directions, known = self._directions()
        affine = np.eye(4)
        affine[:3, :3] = directions * scale
        affine[:3, 3] = directions @ origin
        if spacing_mm is not None:
            return override_spacing(affine, spacing_mm), known, True
        return affine, known, None not in units

    def _directions(self) -> tuple[NDArray[np.float64], bool]:
        """Return the direction of each spatial axis in RAS+, one per column."""
        at = self.spatial
        given = [self.orientations[i] for i in at]
        stated = np.array([vector or (0, 0, 0) for vector in given], float).T
        if abs(np.linalg.det(stated)) == 1:
            return stated, True
        usual = Grid.from_spacing((1, 1, 1), (1, 1, 1)).directions
        return usual[:, [_SPACE.index(self.axes[i]) for i in at]], False


def read_metadata(attributes: Mapping[str, Any], where: Path) -> ImageMetadata | None:
    """Read the attributes of a group; `None` if it is no image.

    Raises
    ------
    HyperspaceError
        If it is an image that cannot be read.
    OptionNeededError
        If it can be read once a spacing is given.
    """
    ome = attributes.get("ome")
    found = ome if isinstance(ome, Mapping) else attributes
    images = found.get("multiscales")
    if images is None:
        return None
    try:
        (image,) = images
        version = found.get("version", image.get("version"))
        _check_version(version, where)
        axes = [dict(axis) for axis in image["axes"]]
        datasets = [dict(one) for one in image["datasets"]]
        outer = list(image.get("coordinateTransformations", []))
        names = tuple(str(axis["name"]) for axis in axes)
        if not datasets or len(set(names)) < len(names):
            raise ValueError
        levels = tuple(_level(one, outer, len(axes), where) for one in datasets)
        orientations = tuple(_orientation(axis) for axis in axes)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise HyperspaceError(
            "the metadata of the image are not those of OME-Zarr",
            where=where,
            field="multiscales",
            expected="one image with axes and datasets",
        ) from error
    if "y" not in names or "x" not in names:
        raise HyperspaceError(
            "the image lacks spatial axes",
            where=where,
            field="axes",
            found=shortened(", ".join(names)),
            expected="z, y and x",
        )
    units = tuple(
        _unit(axis, where) if name in _SPACE else None
        for name, axis in zip(names, axes, strict=True)
    )
    name = image.get("name")
    return ImageMetadata(name if isinstance(name, str) else "", names, units, orientations, levels)


def _check_version(version: object, where: Path) -> None:
    if version not in VERSIONS:
        raise HyperspaceError(
            "this version of OME-Zarr is not supported",
            where=where,
            field="version",
            found=shortened(str(version)),
            expected=" or ".join(VERSIONS),
            fix="Convert it, for example with ngff-zarr",
        )


def _level(dataset: Mapping[str, Any], outer: list[Any], n_axes: int, where: Path) -> ImageLevel:
    """Return a level with all its transformations, those of the whole image last."""
    path = dataset["path"]
    if not isinstance(path, str) or ".." in Path(path).parts or Path(path).is_absolute():
        raise ValueError
    scale, translation = np.ones(n_axes), np.zeros(n_axes)
    inner = list(dataset.get("coordinateTransformations", []))
    if not any(each.get("type") == "scale" for each in inner):
        raise missing_spacing(where, "coordinateTransformations", None)
    for each in (*inner, *outer):
        kind = each["type"]
        if kind == "identity":
            continue
        values = np.array([float(value) for value in each[kind]])
        if values.shape != (n_axes,) or not np.isfinite(values).all():
            raise ValueError
        if kind == "scale":
            scale, translation = scale * values, translation * values
        elif kind == "translation":
            translation = translation + values
        else:
            raise ValueError
    if not (scale > 0).all():
        raise missing_spacing(where, "scale", ", ".join(f"{value:g}" for value in scale))
    return ImageLevel(path, tuple(scale.tolist()), tuple(translation.tolist()))


def _unit(axis: Mapping[str, Any], where: Path) -> float | None:
    unit = axis.get("unit")
    if unit is None:
        return None
    if unit not in _UNIT_MM:
        raise spacing_needed(
            "the unit of length is unknown",
            where=where,
            field="unit",
            found=shortened(str(unit)),
            expected="micrometer or millimeter",
        )
    return _UNIT_MM[unit]


def _orientation(axis: Mapping[str, Any]) -> tuple[int, int, int] | None:
    given = axis.get("orientation")
    value = given.get("value") if isinstance(given, Mapping) else None
    return _RAS.get(value) if isinstance(value, str) else None


def check_levels(
    image: ImageMetadata, level: int, shapes: Sequence[Sequence[int]], where: Path
) -> None:
    """Raise an error if a level does not cover what the finest one covers.

    Parameters
    ----------
    image
        The metadata.
    level
        The level that is read.
    shapes
        Of the arrays of the finest level and of this one.
    where
        Of the file.
    """
    whole, own = image.extent(0, shapes[0]), image.extent(level, shapes[1])
    steps = np.array([image.levels[level].scale[i] for i in image.spatial])
    # Levels of an odd size lose up to a voxel, or gain one.
    if (np.abs(whole - own) > 1.001 * steps).any():
        raise HyperspaceError(
            "the levels contradict each other: they do not cover the same field of view",
            where=where,
            field=f"datasets[{level}].coordinateTransformations",
            found=" × ".join(f"{value:.6g}" for value in own),
            expected=" × ".join(f"{value:.6g}" for value in whole),
            fix="Open the finest level",
        )


def label_colors(attributes: Mapping[str, Any]) -> tuple[bool, dict[int, str]]:
    """Return whether a group contains labels, and their colors as ``#rrggbb``."""
    ome = attributes.get("ome")
    found = ome if isinstance(ome, Mapping) else attributes
    label = found.get("image-label")
    if not isinstance(label, Mapping):
        return False, {}
    colors = {}
    entries = label.get("colors")
    for each in entries if isinstance(entries, list) else []:
        try:
            value, rgba = int(each["label-value"]), [int(part) for part in each["rgba"]]
        except (TypeError, ValueError, KeyError):
            continue  # a color is not worth an error
        if value > 0 and len(rgba) == 4 and all(0 <= part <= 255 for part in rgba):
            colors[value] = "#" + "".join(f"{part:02x}" for part in rgba[:3])
    return True, colors
