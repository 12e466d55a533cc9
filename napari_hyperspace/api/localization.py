"""The coarse first pass of a model with localization: where is what it segments?"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from napari_hyperspace.api.one_pass import SegmentResult, segment_in_one_pass
from napari_hyperspace.core.errors import HyperspaceWarning, ShouldStop
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress, as_part
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.localize import (
    Box,
    below_the_top,
    coarse_spacing,
    crop,
    find,
    implausible,
    inside,
)
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.plan import working_spacing
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.nets.base.localization import Localization
from napari_hyperspace.support.log import log_event

FOUND, FROM_TOP, WHOLE_SCAN = "found", "found-from-top", "whole-scan"
WAYS = {
    FOUND: "found in the whole scan",
    FROM_TOP: "found from the top of the head down",
    WHOLE_SCAN: "not found: the whole scan was segmented",
}
"""How the region to segment was found: name in records, and in words."""


@dataclass(frozen=True, eq=False)
class Localized:
    """What the coarse first pass of a model with localization found.

    Parameters
    ----------
    spacing_mm
        Working spacing of the pass, canonical order. Spacings with the same one share its result.
    box
        What to segment, in array order; the whole scan if nothing was found.
    way
        How the box was found: a name in `WAYS`.
    seconds, bake_seconds, probe_seconds, peak_bytes, precision
        As in `SegmentResult`, of this pass.
    """

    spacing_mm: Triple
    box: Box
    seconds: float
    bake_seconds: float
    probe_seconds: float
    peak_bytes: int
    precision: str
    way: str = "found"


def first_pass_spacing(
    volume: Volume | Sequence[Volume],
    model: SpacingModel,
    localization: Localization,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
) -> Triple:
    """Return the working spacing of the first pass for a working spacing; see `segment_steps`."""
    spacing = working_spacing(
        volume,
        model,
        spacing_mm,
        options.outside,
        allow_implausible=options.allow_implausible,
    )
    coarse = coarse_spacing(localization, spacing)
    return working_spacing(
        volume, model, coarse, "clamp", allow_implausible=options.allow_implausible
    )


def localize_steps(
    volumes: Sequence[Volume],
    model: SpacingModel,
    spacing_mm: Sequence[float] | None,
    options: InferenceOptions,
    should_stop: ShouldStop | None,
) -> Generator[Progress, None, Localized]:
    """Run the coarse first pass of a model with localization; see `segment_steps`.

    If what it found is implausible, the pass is repeated from the top of the head down. If that is
    implausible, too, the whole scan is to be segmented.
    """
    localization, native = model.localization, volumes[0]
    assert localization is not None
    coarse = first_pass_spacing(volumes, model, localization, spacing_mm, options)
    clamped = replace(
        options,
        outside="clamp",
        precision=options.localization_precision or options.precision,
        best=False,
        uncertainty=False,
    )
    upper = below_the_top(localization, native)
    # The second pass is due rarely: the first one has most of the progress.
    first = yield from as_part(
        segment_in_one_pass(volumes, model, coarse, clamped, should_stop),
        0.0,
        1.0 if upper is None else 0.75,
    )
    finding = find(localization, first.labels)
    problem = implausible(localization, finding)
    if not problem:
        # Without a finding, it is absent, or too small for the coarse pass.
        box = _whole(native) if finding is None else finding.box
        return _localized(coarse, box, WHOLE_SCAN if finding is None else FOUND, [first])
    passes, again = [first], None
    if upper is not None:
        within = [crop(each, upper) for each in volumes]
        second = yield from as_part(
            segment_in_one_pass(within, model, coarse, clamped, should_stop), 0.75, 1.0
        )
        passes.append(second)
        again = find(localization, second.labels)
        if again is not None and not implausible(localization, again):
            log_event(f"localization: {problem}; looked again from the top of the head down")
            return _localized(coarse, inside(upper, again.box), FROM_TOP, passes)
    warnings.warn(
        f"localization: {problem}, which is implausible: the whole scan is segmented",
        HyperspaceWarning,
        stacklevel=2,
    )
    return _localized(coarse, _whole(native), WHOLE_SCAN, passes)


def _whole(volume: Volume) -> Box:
    a, b, c = volume.shape
    return slice(0, a), slice(0, b), slice(0, c)


def _localized(
    spacing_mm: Triple, box: Box, way: str, passes: Sequence[SegmentResult]
) -> Localized:
    return Localized(
        spacing_mm,
        box,
        sum(each.seconds for each in passes),
        sum(each.bake_seconds for each in passes),
        sum(each.probe_seconds for each in passes),
        max(each.peak_bytes for each in passes),
        passes[-1].precision,
        way,
    )
