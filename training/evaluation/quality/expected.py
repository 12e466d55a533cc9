"""The figures that a model's card expects: those of its training labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import read
from napari_hyperspace.nets.base.config import Range
from napari_hyperspace.nets.base.quality import QualityConfig, ScanRanges
from napari_hyperspace.quality.figures import StructureFigures, figures_of
from napari_hyperspace.quality.ranges import ranges_of, short
from napari_hyperspace.quality.scan import is_like_ct
from training.data.base import Case, DataSet, Source
from training.data.labels import OUTSIDE

_LOOKED_AT = 5  # scans, to know whether intensities are those of a CT
_SMALLER, _LARGER = 0.6, 1.5  # plausible extent, relative to smallest labels and largest scan


Labeled = tuple[Volume, Volume | None]
"""Channels of a label map, and the first image if there is one."""


def expected_quality_of(
    labeled: Iterable[Labeled],
    names: Sequence[str],
    like_ct: bool | None,
    predicted: Sequence[Mapping[str, StructureFigures]] = (),
) -> QualityConfig | None:
    """Return what a card should expect of results, from the labels that a model is trained on.

    Parameters
    ----------
    labeled
        Training cases. Those whose labels are known in part only are left out.
    names
        Name of each channel's label, from channel 1 on.
    like_ct
        See `like_ct_of`.
    predicted
        Figures of good results, which widen the ranges: those of a model differ from those of the
        labels that it was trained on.

    Returns
    -------
    QualityConfig
        `None` if no case is completely labeled.
    """
    groups = {name: [channel] for channel, name in enumerate(names, start=1)}
    known, extents, views = [], [], []
    any_contrast = True
    for labels, image in labeled:
        if labels.array.min() <= OUTSIDE:
            continue
        any_contrast &= image is None
        known.append(figures_of(labels, groups, image))
        views.append(labels.grid.field_of_view_mm)
        if labels.array.any():
            extents.append(_extent(labels))
    if not known or not extents:
        return None
    smallest, largest = np.array(extents).min(axis=0), np.array(views).max(axis=0)
    z, y, x = (
        (short(_SMALLER * low), short(_LARGER * high, down=False))
        for low, high in zip(smallest.tolist(), largest.tolist(), strict=True)
    )
    ranges = ranges_of(known, predicted, any_contrast=any_contrast)
    field_of_view: tuple[Range, Range, Range] = (z, y, x)
    return QualityConfig(
        structures=ranges,
        scan=ScanRanges(field_of_view_mm=field_of_view, like_ct=like_ct),
        cases=len(known),
    )


def like_ct_of(dataset: DataSet, names: Sequence[str]) -> bool | None:
    """Return whether the scans of a data set look like CT; `None` if only some do.

    The first cases are read. Images made from label maps alone are like MR.
    """
    wanted = set(names)
    files = [case for case in dataset.cases() if case.name in wanted and case.images]
    answers = {
        is_like_ct(read(path, volume=index))
        for path, index in (case.images[0] for case in files[:_LOOKED_AT])
    }
    return answers.pop() if len(answers) == 1 else None if answers else False


def labels_of_sources(sources: Sequence[Source]) -> Iterator[Labeled]:
    """Return the labels of cases and heads that are in memory."""
    for source in sources:
        if isinstance(source, Case):
            image = Volume(source.image[0].numpy(), source.grid)
            yield Volume(source.labels.numpy(), source.grid), image
        else:
            channels = source.targets[source.head.classes.long()].numpy()
            yield Volume(channels, source.grid), None


def labels_of_files(dataset: DataSet, names: Sequence[str]) -> Iterator[Labeled]:
    """Read the labels of cases one after the other, with the first image if there is one."""
    wanted = set(names)
    for case in dataset.cases():
        if case.name in wanted:
            labels = dataset.rule.check(read(case.label))
            channels = Volume(dataset.rule.channels(labels), labels.grid.canonical())
            path, index = case.images[0] if case.images else (None, None)
            yield channels, None if path is None else read(path, volume=index).canonical()


def _extent(labels: Volume) -> NDArray[np.float64]:
    """Return the length in mm of the part with labels, per axis."""
    lengths = []
    for axis, step in enumerate(labels.spacing_mm):
        shown = np.flatnonzero(labels.array.any(axis=tuple({0, 1, 2} - {axis})))
        lengths.append(step * (int(shown[-1]) - int(shown[0]) + 1))
    return np.array(lengths)
