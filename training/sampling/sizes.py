"""Check of the sizes that a configuration asks for, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_bytes, format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.memory import total_host_bytes
from napari_hyperspace.core.spacing import MAX_VOXELS
from napari_hyperspace.nets.harmonic.config import HarmonicUNetConfig
from training.config.fit import FitConfig
from training.data.base import Source
from training.sampling.augment import HasGrid
from training.synthesis.labeled_head import LabeledHead

MAX_TAPS = 1 << 20
"""Most voxels of a kernel; a convolution with so many takes hours."""

_FINER = "Choose a coarser spacing"


def check_sizes(
    config: FitConfig, training: Sequence[Source], validation: Sequence[Source]
) -> None:
    """Check that working grids, kernels and patches are of plausible size and fit into the memory.

    The memory is that of images, labels and logits only, so that what is refused cannot work.

    Parameters
    ----------
    config
        Configuration of a run.
    training, validation
        The cases.

    Raises
    ------
    HyperspaceError
        If they are not; the error names the key.
    """
    for field, spacing in _spacings(config):
        for source in (*training, *validation):
            _check_grid(source, spacing, field)
        _check_taps(config, spacing, field)
    _check_patches(config, training)
    _check_validation(config, validation)


def _spacings(config: FitConfig) -> Iterator[tuple[str, Triple]]:
    """Yield the finest spacings of a run with their keys."""
    section = config.spacing
    (z, _), (y, _), (x, _) = section.range_mm
    yield "spacing.range_mm", (z, y, x)
    for spacing in section.clusters_mm:
        yield "spacing.clusters_mm", spacing
    if section.resampled_mm:
        yield "spacing.resampled_mm", section.resampled_mm
    for spacing in config.validation.spacings_mm:
        yield "validation.spacings_mm", spacing
    for spacing in config.validation.report_spacings_mm:
        yield "validation.report_spacings_mm", spacing


def _check_grid(source: Source, spacing_mm: Triple, field: str) -> None:
    shape = _shape(source, spacing_mm)
    if math.prod(shape) > MAX_VOXELS:
        raise HyperspaceError(
            "the working grid of a case has an implausible number of voxels",
            field=field,
            found=f"{format_spacing(spacing_mm)}, " + " × ".join(f"{n:.4g}" for n in shape),
            expected=f"at most {MAX_VOXELS:.2g} voxels",
            fix=_FINER,
        )


def _check_taps(config: FitConfig, spacing_mm: Triple, field: str) -> None:
    network = config.network
    if not isinstance(network, HarmonicUNetConfig):
        return
    levels = zip(network.kernel_mm, network.level_spacings_mm(spacing_mm), strict=True)
    taps = max(math.prod(diameter / step + 1 for step in steps) for diameter, steps in levels)
    if taps > MAX_TAPS:
        raise HyperspaceError(
            "a kernel in mm has too many voxels at this spacing",
            field=field,
            found=f"{format_spacing(spacing_mm)}, {taps:.2g} voxels",
            expected=f"at most {MAX_TAPS:,} voxels",
            fix=f"{_FINER}, or smaller network.kernel_mm",
        )


def _check_patches(config: FitConfig, sources: Sequence[Source]) -> None:
    """Check the batches of a step at the finest spacings of training."""
    samples = -(-config.training.batch_size // config.compute.devices)
    for field, spacing in _spacings(config):
        if not field.startswith("spacing.") or field == "spacing.resampled_mm":
            continue
        # Axes independently: a batch has the size of its largest case.
        shape = _largest(_patch(config, source, spacing) for source in sources)
        target = config.spacing.resampled_mm
        if target and field == "spacing.clusters_mm":
            factors = zip(shape, spacing, target, strict=True)
            _check_bytes(
                config,
                math.prod(max(1, n * a / b) for n, a, b in factors) * samples,
                "the samples of a step do not fit into the memory",
                "spacing.resampled_mm",
                f"{format_spacing(target)} of samples at {format_spacing(spacing)}",
                "Choose a coarser spacing.resampled_mm, or a smaller training.patch_shape",
            )
        _check_bytes(
            config,
            math.prod(shape) * samples,
            "the samples of a step do not fit into the memory",
            "training.patch_shape, training.batch_size",
            f"{samples} × " + " × ".join(f"{n:.4g}" for n in shape),
            "Choose smaller patches or a smaller batch",
        )


def _check_validation(config: FitConfig, sources: Sequence[Source]) -> None:
    """Check the scans of all cases of a validation, which are kept in memory."""
    section = config.validation
    for key, spacings in (
        ("spacings_mm", section.spacings_mm),
        ("report_spacings_mm", section.report_spacings_mm),
    ):
        voxels = sum(_scans(config, source, spacing) for spacing in spacings for source in sources)
        _check_bytes(
            config,
            voxels,
            "the cases at the spacings of a validation do not fit into the memory",
            f"validation.{key}",
            f"{len(sources)} cases at {', '.join(format_spacing(each) for each in spacings[:4])}",
            f"{_FINER}, or fewer cases",
        )


def _scans(config: FitConfig, source: Source, spacing_mm: Triple) -> float:
    """Return the number of voxels of what is scored of a case at a spacing."""
    if isinstance(source, LabeledHead):
        patch = math.prod(_patch(config, source, spacing_mm))
        return patch * config.validation.pairs_per_map
    return math.prod(_shape(source, spacing_mm))


def _check_bytes(
    config: FitConfig, voxels: float, problem: str, field: str, found: str, fix: str
) -> None:
    needed = 4 * voxels * config.network.in_channels
    total = total_host_bytes()
    if needed > total:
        raise HyperspaceError(
            problem,
            field=field,
            found=f"{found}: {format_bytes(needed)}",
            expected=f"at most {format_bytes(total)}, the memory of this computer",
            fix=fix,
        )


def _shape(source: HasGrid, spacing_mm: Triple) -> tuple[float, ...]:
    """Return the shape of a working grid; not rounded, for any spacing."""
    sides = zip(source.grid.field_of_view_mm, spacing_mm, strict=True)
    return tuple(max(1.0, side / step) for side, step in sides)


def _patch(config: FitConfig, source: Source, spacing_mm: Triple) -> tuple[float, ...]:
    limits = config.training.patch_shape
    shape = [min(n, limit) for n, limit in zip(_shape(source, spacing_mm), limits, strict=True)]
    if config.training.patch_mm is not None:
        sides = zip(shape, config.training.patch_mm, spacing_mm, strict=True)
        shape = [min(n, side / step) for n, side, step in sides]
    return tuple(max(1.0, n) for n in shape)


def _largest(shapes: Iterator[tuple[float, ...]]) -> tuple[float, ...]:
    return tuple(max(sizes) for sizes in zip(*shapes, strict=True))
