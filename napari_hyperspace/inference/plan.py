"""What a segmentation will do, settled before anything runs: spacing, grids, tiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_range, format_spacing
from napari_hyperspace.core.geometry import Grid, Triple, check_spacing
from napari_hyperspace.core.spacing import SPACING_TOLERANCE, clamp_spacing
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.options import InferenceOptions, Outside
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.inference.tiles import TileLayout, tile_array

DEFAULT_TILE = {2: (512, 512), 3: (128, 128, 128)}
SLICES_AT_ONCE = 8  # batch of a 2-D network
_TILE_MULTIPLE = 8


@dataclass(frozen=True, eq=False)
class Plan:
    """A segmentation to be done. Axis order: canonical (z, y, x).

    Parameters
    ----------
    native, working
        The scan's grid and the one the network runs on.
    network_spacing_mm
        What the network is baked for: the working spacing, without z for a 2-D model.
    largest_tile, overlaps
        In voxels and in parts of a tile, an axis.
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
        """Return the same work in tiles of half the edge."""
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
) -> Triple:
    """Return the spacing that a model will run at.

    Parameters
    ----------
    volume
        The scan, or its grid.
    model
        Says which spacings it was trained at.
    spacing_mm
        Wanted spacing in canonical order (z, y, x); `None`: the scan's own. For a 2-D model (y, x)
        will do: z stays the scan's own.
    outside
        What to do outside of the trained range: ``"refuse"``; ``"clamp"``: go to the nearest
        trained spacing; ``"extrapolate"``: run there all the same.

    Returns
    -------
    tuple
        In canonical order (z, y, x).

    Raises
    ------
    HyperspaceError
        If the spacing lies outside of the trained range and ``outside`` is ``"refuse"``.
    """
    own = grid_of(volume).canonical().spacing_mm
    if spacing_mm is None:
        wanted = list(own)
    elif model.n_dim == 2 and len(spacing_mm) == 2:
        wanted = [own[0], *check_spacing(spacing_mm, 2)]
    else:
        wanted = list(check_spacing(spacing_mm))
    z, y, x = wanted
    if outside == "extrapolate":
        return z, y, x
    ranges = model.trained_range_mm
    nearest = clamp_spacing(wanted, ranges)
    if outside == "refuse" and ranges is not None and nearest != (z, y, x):
        raise HyperspaceError(
            "the spacing lies outside the range that the model was trained on",
            where=model.name,
            field="spacing_mm",
            found=format_spacing(wanted),
            expected=f"{format_range(ranges)} ({'z × y × x' if len(ranges) == 3 else 'y × x'})",
            fix=f"Choose a spacing inside, such as {format_spacing(nearest)}, or clamp or "
            "extrapolate on purpose",
        )
    return nearest


def make_plan(
    volume: Volume | Grid | Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
) -> Plan:
    """Settle spacing, grids and tiles of a segmentation.

    Parameters
    ----------
    volume, model, spacing_mm
        As in `working_spacing`.
    options
        Of these, ``outside``, ``tile_shape`` and ``overlap`` count. Without a tile shape, the
        largest tile is the model's, else 128³ (512² for 2-D models), and no larger than the
        model's in mm.
    """
    options = options or InferenceOptions()
    native = grid_of(volume).canonical()
    spacing = working_spacing(volume, model, spacing_mm, options.outside)
    working = native.with_spacing(spacing)
    wanted = options.tile_shape or _model_tile(model, spacing[3 - model.n_dim :])
    largest = tuple(int(size) for size in wanted)
    if len(largest) != model.n_dim or any(size < 1 for size in largest):
        raise HyperspaceError(
            f"a tile of this model has {model.n_dim} positive sizes",
            field="tile_shape",
            found=largest,
        )
    overlaps = [options.overlap] * 3
    if model.n_dim == 2:
        largest = (SLICES_AT_ONCE, *largest)
        overlaps[0] = 0.0
    plan = Plan(native, working, spacing[3 - model.n_dim :], largest, tuple(overlaps))
    _ = plan.tiles  # refuses an impossible overlap now
    return plan


def _model_tile(model: SpacingModel, spacing_mm: Sequence[float]) -> tuple[int, ...]:
    """Return the largest tile in voxels that a model asks for at a spacing."""
    tile = model.tile_shape or DEFAULT_TILE[model.n_dim]
    if model.tile_mm is None:
        return tile
    return tuple(
        max(1, min(size, math.ceil(edge / step - SPACING_TOLERANCE)))
        for size, edge, step in zip(tile, model.tile_mm, spacing_mm, strict=True)
    )
