"""Plan a segmentation before anything runs: spacing, grids, tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_range, format_spacing
from napari_hyperspace.core.geometry import Grid, Triple, check_spacing
from napari_hyperspace.core.spacing import (
    SPACING_TOLERANCE,
    check_plausible_grid,
    check_plausible_spacing,
    check_plausible_working_grid,
    clamp_spacing,
)
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.options import InferenceOptions, Outside
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.inference.tiles import TileLayout, tile_array

DEFAULT_TILE = {2: (512, 512), 3: (128, 128, 128)}
SLICES_AT_ONCE = 8  # batch size of a 2-D network
_TILE_MULTIPLE = 8


@dataclass(frozen=True, eq=False)
class Plan:
    """Grids and tiles of a segmentation. Axis order: canonical (z, y, x).

    Parameters
    ----------
    native, working
        The scan's grid, and the grid that the network runs on.
    network_spacing_mm
        Spacing that the network is baked for: the working spacing, without z for a 2-D model.
    largest_tile
        In voxels, per axis.
    overlaps
        As fractions of a tile, per axis.
    """

    native: Grid
    working: Grid
    network_spacing_mm: tuple[float, ...]
    largest_tile: tuple[int, ...]
    overlaps: tuple[float, ...]

    @cached_property
    def tiles(self) -> TileLayout:
        """Tiles of the working grid."""
        return tile_array(self.working.shape, self.largest_tile, self.overlaps, _TILE_MULTIPLE)

    def with_smaller_tiles(self) -> Plan:
        """Return the same plan with tiles of half the edge length."""
        return replace(self, largest_tile=tuple((size + 1) // 2 for size in self.tiles.tile_shape))

    @property
    def spacing_mm(self) -> Triple:
        """The working spacing."""
        return self.working.spacing_mm


def grid_of(volume: Volume | Grid | Sequence[Volume]) -> Grid:
    """Return the grid of a volume, of the first of several, or the grid itself."""
    if isinstance(volume, Grid):
        return volume
    if isinstance(volume, Volume):
        return volume.grid
    if not volume:
        raise HyperspaceError("no volume was given", field="volume")
    return volume[0].grid


def working_spacing(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    outside: Outside = "refuse",
    *,
    allow_implausible: bool = False,
) -> Triple:
    """Return the spacing that a model will run at.

    Parameters
    ----------
    volume
        The scan, or its grid.
    model
        Its trained range is used.
    spacing_mm
        Requested spacing in canonical order (z, y, x); `None`: the scan's own. For a 2-D model,
        (y, x) is accepted: z is then the scan's own.
    outside, allow_implausible
        What to do outside the trained range, and outside the limits of `core.spacing`; see
        `InferenceOptions`.

    Returns
    -------
    tuple
        In canonical order (z, y, x).

    Raises
    ------
    HyperspaceError
        If the spacing is outside the trained range and ``outside`` is ``"refuse"``, or implausible.
    """
    own = grid_of(volume).canonical().spacing_mm
    if spacing_mm is None:
        requested = list(own)
    elif model.n_dim == 2 and len(spacing_mm) == 2:
        requested = [own[0], *check_spacing(spacing_mm, 2)]
    else:
        requested = list(check_spacing(spacing_mm))
    z, y, x = requested
    ranges = model.trained_range_mm
    nearest = (z, y, x) if outside == "extrapolate" else clamp_spacing(requested, ranges)
    if outside == "refuse" and ranges is not None and nearest != (z, y, x):
        raise HyperspaceError(
            "the spacing is outside the range that the model was trained on",
            where=model.name,
            field="spacing_mm",
            found=format_spacing(requested),
            expected=f"{format_range(ranges)} ({'z × y × x' if len(ranges) == 3 else 'y × x'})",
            fix=f"Choose a spacing inside it, such as {format_spacing(nearest)}, or ask to clamp "
            "or to extrapolate",
        )
    if not allow_implausible:
        check_plausible_spacing(nearest)
    return nearest


def make_plan(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
) -> Plan:
    """Determine the spacing, grids and tiles of a segmentation.

    Parameters
    ----------
    volume, model, spacing_mm
        As in `working_spacing`.
    options
        ``device`` and ``precision`` are not used. Without a tile shape, the largest
        tile is the model's, else 128³ (512² for 2-D models), and no larger than the model's limit
        in mm.

    Raises
    ------
    HyperspaceError
        If the spacing is refused, the scan or the working grid is implausible, or the tile shape or
        the overlap is invalid.
    """
    options = options or InferenceOptions()
    native = grid_of(volume).canonical()
    insist = options.allow_implausible
    if not insist:
        check_plausible_grid(native)
    spacing = working_spacing(volume, model, spacing_mm, options.outside, allow_implausible=insist)
    working = native.with_spacing(spacing)
    if not insist:
        check_plausible_working_grid(native, working)
    shape = options.tile_shape or _model_tile(model, spacing[3 - model.n_dim :])
    largest = tuple(int(size) for size in shape)
    if len(largest) != model.n_dim or any(size < 1 for size in largest):
        raise HyperspaceError(
            f"the tile shape of this model must be {model.n_dim} positive numbers",
            field="tile_shape",
            found=largest,
        )
    overlaps = [options.overlap] * 3
    if model.n_dim == 2:
        largest = (SLICES_AT_ONCE, *largest)
        overlaps[0] = 0.0
    plan = Plan(native, working, spacing[3 - model.n_dim :], largest, tuple(overlaps))
    _ = plan.tiles  # raises the error of an invalid overlap now
    return plan


def _model_tile(model: SpacingModel, spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the largest tile of a model at a spacing, in voxels."""
    tile = model.tile_shape or DEFAULT_TILE[model.n_dim]
    if model.tile_mm is None:
        return tile
    return tuple(
        max(1, min(size, math.ceil(edge / step - SPACING_TOLERANCE)))
        for size, edge, step in zip(tile, model.tile_mm, spacing_mm, strict=True)
    )
