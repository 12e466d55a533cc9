"""Checks of the parameters of a pair, such as those that are read from a file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from napari_hyperspace.core.geometry import Shape
from napari_hyperspace.core.spacing import PLAUSIBLE_SPACING_MM
from training.config.errors import first_problem
from training.synthesis.parameters import PairParameters
from training.synthesis.sampling_grid import fine_grid, scan_grid
from training.synthesis.tissues import TISSUES

_MOST_POINTS = 1 << 29  # of a grid; a head at 0.5 mm has 1 << 27
_MOST_WEIGHTS = 1 << 26  # of the matrix of an axis, with zeros
_MOST_TAPS = 1 << 24  # of the matrix of an axis, without zeros
_POINT_BYTES = 28  # while a point is painted: voxel of the map, class, intensity, noise, product
_LARGEST = 1e6  # of any number, in mm, voxels or intensities
_MOST_CONTROL_POINTS = 256  # per axis
_PROFILES = ("box", "gauss", "triangle")


def parameters_from(values: Mapping[str, Any]) -> PairParameters:
    """Return the parameters of a pair that was written, after checks of types and ranges.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a key is missing or unknown, or a value is not possible.
    """
    given = PairParameters.from_dict(values)
    try:
        parameters = TypeAdapter(PairParameters).validate_python(dataclasses.asdict(given))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from None
    for name, number in _numbers(dataclasses.asdict(parameters)):
        is_seed = name.endswith("seed")
        # NaN is in no range.
        _require(0 <= number < 1 << 62 if is_seed else abs(number) <= _LARGEST, name, number)
    _check_ranges(parameters)
    check_sizes(parameters)
    return parameters


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _numbers(each, f"{name}.{key}" if name else key)
    elif isinstance(value, tuple):
        for each in value:
            yield from _numbers(each, name)
    elif isinstance(value, int | float):
        yield name, value


def _check_ranges(parameters: PairParameters) -> None:
    acquisition, appearance = parameters.acquisition, parameters.appearance
    low, high = PLAUSIBLE_SPACING_MM
    for name, steps in (
        ("spacing_mm", parameters.spacing_mm),
        ("acquisition.spacing_mm", acquisition.spacing_mm),
        ("appearance.smooth_mm", (appearance.smooth_mm,)),
    ):
        _require(low <= min(steps) and max(steps) <= high, name, steps)
    # Scans have the working spacing, or are coarser and interpolated.
    coarser = all(
        a >= b for a, b in zip(acquisition.spacing_mm, parameters.spacing_mm, strict=True)
    )
    _require(coarser, "acquisition.spacing_mm", acquisition.spacing_mm)
    _require(parameters.scale > 0, "scale", parameters.scale)
    _require({*acquisition.profile} <= {*_PROFILES}, "acquisition.profile", acquisition.profile)
    _require(min(acquisition.width_mm) >= 0, "acquisition.width_mm", acquisition.width_mm)
    for name, per_tissue in (
        ("means", appearance.means),
        ("white", appearance.white),
        ("smooth", appearance.smooth),
    ):
        _require(len(per_tissue) == len(TISSUES), f"appearance.{name}", len(per_tissue))
    change = parameters.corruption
    _require(0 < change.gamma <= 10, "corruption.gamma", change.gamma)
    _require(0 <= change.bias <= 10, "corruption.bias", change.bias)
    if parameters.cut is not None:
        axis, side, fraction = parameters.cut
        _require(axis in range(3) and side in (0, 1) and 0 <= fraction < 1, "cut", parameters.cut)


def check_sizes(parameters: PairParameters) -> None:
    """Refuse grids that no head needs, before anything is allocated.

    Raises
    ------
    ValueError
        If there is one; the text names it.
    """
    acquisition = parameters.acquisition
    for name, counts, least, most in (
        ("shape", parameters.shape, 1, _MOST_POINTS),
        ("acquisition.parts", acquisition.parts, 1, _MOST_POINTS),
        ("geometry.elastic_points", parameters.geometry.elastic_points, 2, _MOST_CONTROL_POINTS),
        ("corruption.bias_points", parameters.corruption.bias_points, 2, _MOST_CONTROL_POINTS),
    ):
        _require(least <= min(counts) and max(counts) <= most, name, counts)
    _check_points("shape", parameters.shape)
    scan = scan_grid(parameters.shape, parameters.spacing_mm, acquisition.spacing_mm)
    fine = fine_grid(scan, acquisition.parts, acquisition.width_mm)
    _check_points("acquisition.spacing_mm", scan.shape)
    _check_points("acquisition.parts", fine.shape)
    for one, other in ((scan, fine), (scan, parameters)):
        largest = max(a * b for a, b in zip(one.shape, other.shape, strict=True))
        _require(largest <= _MOST_WEIGHTS, "acquisition.width_mm", acquisition.width_mm)
    for i, (n, points) in enumerate(zip(scan.shape, fine.shape, strict=True)):
        # The widest profile, a Gaussian, ends at 1.6 times its width.
        taps = 2 + math.ceil(3.2 * acquisition.width_mm[i] / fine.spacing_mm[i])
        _require(n * min(taps, points) <= _MOST_TAPS, "acquisition.width_mm", acquisition.width_mm)
    z, y, x = (
        math.ceil(n * step / parameters.appearance.smooth_mm) + 1
        for n, step in zip(fine.shape, fine.spacing_mm, strict=True)
    )
    _check_points("appearance.smooth_mm", (z, y, x))


def rendering_bytes(parameters: PairParameters) -> int:
    """Return the memory that rendering a pair takes at least."""
    acquisition = parameters.acquisition
    scan = scan_grid(parameters.shape, parameters.spacing_mm, acquisition.spacing_mm)
    fine = fine_grid(scan, acquisition.parts, acquisition.width_mm)
    return _POINT_BYTES * math.prod(fine.shape)


def _check_points(name: str, shape: Shape) -> None:
    _require(math.prod(shape) <= _MOST_POINTS, name, "×".join(map(str, shape)))


def _require(valid: bool, name: str, found: object) -> None:
    if not valid:
        raise ValueError(f"{name}: {found} is not possible")
