"""A second opinion: the same model on the mirrored scan at a coarser spacing."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from napari_hyperspace.api.guidance import AnyGuidance
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.errors import ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.spacing import clamp_spacing
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.best.members import mirrored_classes
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.protocols import SpacingModel

__all__ = ["COARSER", "coarser_spacing", "second_opinion_steps", "second_spacing"]

COARSER = 1.5
"""Spacing of the second opinion relative to that of the labels."""


def coarser_spacing(spacing_mm: Triple, model: SpacingModel) -> Triple:
    """Return the working spacing of the second opinion for that of the first.

    It is clamped to the trained range. A 2-D model keeps the spacing of the slices.

    Parameters
    ----------
    spacing_mm
        Working spacing of the labels, canonical order (z, y, x).
    model
        Its trained range is used.
    """
    z, y, x = (COARSER * step for step in spacing_mm)
    if model.n_dim == 2:
        z = spacing_mm[0]
    return clamp_spacing((z, y, x), model.trained_range_mm)


def second_spacing(labels: Volume, model: SpacingModel) -> Triple:
    """Return the working spacing of the second opinion on labels, canonical order (z, y, x).

    Parameters
    ----------
    labels
        Their record states the spacing that they were made at; without one, it is that of their
        grid.
    model
        See `coarser_spacing`.
    """
    record = labels.metadata.get("record")
    if record is None:
        return coarser_spacing(labels.grid.canonical().spacing_mm, model)
    return coarser_spacing(record.spacing_mm, model)


def second_opinion_steps(
    volumes: Sequence[Volume],
    labels: Volume,
    model: SpacingModel,
    options: InferenceOptions,
    *,
    guidance: AnyGuidance | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, Volume]:
    """Segment a scan again, in another way: mirrored, and at a coarser spacing.

    Both change what the network sees, and neither changes what it should find. A coarse first pass,
    if the model has one, is repeated, too. With labels as guidance, or if a class has no
    counterpart on the other side, the scan is not mirrored.

    Parameters
    ----------
    volumes
        The scan.
    labels
        The labels to assess; they state the first spacing.
    model, options, guidance, should_stop
        As in `napari_hyperspace.segment_steps`. ``best``, ``uncertainty`` and ``outside`` of the
        options do not apply.

    Returns
    -------
    Volume
        Labels on the grid of the scan.
    """
    options = replace(
        options, best=False, uncertainty=False, outside="clamp", allow_implausible=True
    )
    classes = None if isinstance(guidance, Volume) else mirrored_classes(model)
    seen = list(volumes) if classes is None else [_mirrored(each) for each in volumes]
    result = yield from segment_steps(
        seen,
        model,
        second_spacing(labels, model),
        options,
        guidance=guidance,
        should_stop=should_stop,
    )
    if classes is None:
        return result.labels
    back = _mirrored(result.labels)
    values = np.array(model.label_values)
    table = np.zeros(values.max() + 1, back.dtype)
    table[values] = values[list(classes)]
    return back.with_array(table[back.array])


def _mirrored(volume: Volume) -> Volume:
    """Return the same grid with left and right of the array exchanged."""
    axis = volume.grid.orientation.axes[2]
    return volume.with_array(np.flip(volume.array, axis))
