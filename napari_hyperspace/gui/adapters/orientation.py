"""Directions of the body along the axes of napari's world: letters at the edges, names of sliders.

Main thread only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.gui.adapters.layers import METADATA_KEY, take
from napari_hyperspace.gui.adapters.viewer import camera_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

Ends = tuple[str, str]
"""Letters of the directions in which an axis decreases and increases, such as ("S", "I")."""

_LETTERS = ("LR", "PA", "IS")  # along -x/+x, -y/+y, -z/+z of RAS+
_AXES = ("z", "y", "x")
_OBLIQUE = np.sin(np.radians(20))  # from which tilt on a second letter is shown
_KEY = "hyperspace_{}"  # of the overlays of the letters


def axis_ends(scan: Image) -> tuple[Ends, Ends, Ends]:
    """Return the directions of the body along the viewer's world axes (z, y, x).

    They are those of the scan's true affine, also if the scan is oblique and shown upright. A
    second letter follows if the axis is tilted by more than 20 degrees. A question mark follows if
    the orientation of the scan is not known: napari's convention is assumed.

    Raises
    ------
    HyperspaceError
        If the layer is not a 3-D image of one channel.
    """
    source = take(scan)
    placement = source.placement
    to_ras = placement.layer_grid.affine[:3, :3]
    origin = source.world_to_index((0, 0, 0))
    unknown = METADATA_KEY not in scan.metadata or placement.metadata.get("orientation_unknown")
    ends = []
    for axis in np.eye(3).tolist():
        direction = np.dot(to_ras, source.world_to_index(axis) - origin)
        low, high = (_letters(sign * direction) + "?" * bool(unknown) for sign in (-1, 1))
        ends.append((low, high))
    z, y, x = ends
    return z, y, x


def _letters(direction: NDArray[np.float64]) -> str:
    """Return the letters of a direction in RAS+, the nearest axis of the body first."""
    unit = direction / np.linalg.norm(direction)
    order = np.argsort(-np.abs(unit), kind="stable")
    shown = [axis for i, axis in enumerate(order) if i == 0 or abs(unit[axis]) > _OBLIQUE]
    return "".join(_LETTERS[axis][int(unit[axis] > 0)] for axis in shown[:2])


class AxisNames:
    """Names the sliders of a viewer after the directions of the body: "z (S–I)".

    The names are those of the viewer's dimensions; layers keep theirs, and their units. napari
    names the dimensions after the layers whenever one of them changes: then they are named again.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._names: tuple[str, ...] = ()
        viewer.dims.events.axis_labels.connect(self._renamed)

    def show(self, scan: Image | None) -> None:
        """Name the axes after a scan; `None`: give them back their own names."""
        before, self._names = self._names, ()
        if scan is not None:
            self._names = tuple(
                f"{name} ({low}–{high})"
                for name, (low, high) in zip(_AXES, axis_ends(scan), strict=True)
            )
        elif before and tuple(self._viewer.dims.axis_labels[-3:]) == before:
            self._set(_AXES)
        self._renamed()

    def close(self) -> None:
        """Give the axes back their own names, and disconnect from the viewer."""
        self.show(None)
        self._viewer.dims.events.axis_labels.disconnect(self._renamed)

    def _renamed(self, event: Any = None) -> None:
        # Names that the user or another plug-in gave are left alone.
        if self._names and tuple(self._viewer.dims.axis_labels[-3:]) in (_AXES, ("-3", "-2", "-1")):
            self._set(self._names)

    def _set(self, names: tuple[str, ...]) -> None:
        dims = self._viewer.dims
        if dims.ndim >= len(names):
            dims.axis_labels = (*dims.axis_labels[: dims.ndim - 3], *names)


class EdgeLetters:
    """Letters of the directions of the body at the four edges of a canvas. Needs napari 0.9.

    Parameters
    ----------
    viewer
        The viewer.
    ends
        See `axis_ends`.
    """

    def __init__(self, viewer: ViewerModel, ends: tuple[Ends, Ends, Ends]) -> None:
        from napari.components.overlays import TextOverlay

        self._viewer = viewer
        self._ends = ends
        self._overlays = {
            position: TextOverlay(position=position, font_size=12, gridded=True)
            for position in ("top_center", "bottom_center", "middle_left", "middle_right")
        }
        for position, overlay in self._overlays.items():
            viewer.canvas.overlays[_KEY.format(position)] = overlay
        self._emitters = (
            *(viewer.dims.events.order, viewer.dims.events.ndisplay, viewer.dims.events.ndim),
            camera_of(viewer).events.orientation,
        )
        for emitter in self._emitters:
            emitter.connect(self._update)
        self._update()

    def close(self) -> None:
        """Remove the letters."""
        for emitter in self._emitters:
            emitter.disconnect(self._update)
        for position in self._overlays:
            self._viewer.canvas.overlays.pop(_KEY.format(position))

    def texts(self) -> dict[str, str]:
        """Return the letters that are shown: position → letter."""
        return {where: one.text for where, one in self._overlays.items() if one.visible}

    def _update(self, event: Any = None) -> None:
        dims = self._viewer.dims
        shown = [axis - (dims.ndim - 3) for axis in dims.displayed]
        flat = dims.ndisplay == 2 and min(shown) >= 0
        if flat:
            (top, bottom), (left, right) = (self._ends[axis] for axis in shown)
            vertical, horizontal = camera_of(self._viewer).orientation2d
            if vertical == "up":
                top, bottom = bottom, top
            if horizontal == "left":
                left, right = right, left
            for overlay, text in zip(
                self._overlays.values(), (top, bottom, left, right), strict=True
            ):
                overlay.text = text
        for overlay in self._overlays.values():
            overlay.visible = flat
