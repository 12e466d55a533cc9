"""The figures of a result, compared with those that the model's card expects."""

from __future__ import annotations

import math
from collections.abc import Mapping

from napari_hyperspace.nets.base.config import Range
from napari_hyperspace.nets.base.quality import StructureRanges
from napari_hyperspace.quality.figures import StructureFigures
from napari_hyperspace.quality.remarks import Level, Remark

__all__ = ["result_remarks"]

_FAR = 2.0  # a volume outside its range by this factor is implausible by itself
_MANY = 1 / 3  # share of structures with a violated rule that makes the whole implausible
_AXES = ("from top to bottom", "from front to back", "from left to right")
_SIDES = (("above", "below"), ("in front of", "behind"), ("to the right of", "to the left of"))


def result_remarks(
    found: Mapping[str, StructureFigures], expected: Mapping[str, StructureRanges]
) -> list[Remark]:
    """Return the violated rules of a result.

    A structure that reaches a face of the scan may be cut off: it may be small, but not large, and
    others may be missing.

    Parameters
    ----------
    found
        Figures of the structures that were found.
    expected
        Ranges by name; structures without any are not judged.
    """
    if not found:
        return [Remark("no structure was found", "implausible")]
    remarks = []
    for name, ranges in expected.items():
        if name in found:
            remarks += _remarks(name, found[name], ranges)
        elif ranges.always and not any(one.is_cut for one in found.values()):
            remarks.append(Remark(f"{name} was not found", "doubtful", name))
    judged = expected.keys() & found.keys()
    violated = {remark.structure for remark in remarks}
    if len(judged) > 2 and len(violated) > _MANY * len(expected):
        text = f"{len(violated)} of {len(expected)} structures are not as expected"
        remarks.append(Remark(text, "implausible"))
    return remarks


def _remarks(name: str, one: StructureFigures, ranges: StructureRanges) -> list[Remark]:
    remarks = []
    low, high = ranges.volume_ml
    if one.volume_ml > high or (one.volume_ml < low and not one.is_cut):
        far = one.volume_ml > _FAR * high or one.volume_ml < low / _FAR
        text = f"{name} {_figure(one.volume_ml)} ml: expected {_between((low, high))} ml"
        remarks.append(Remark(text, _level(far), name))
    for axis, limits in enumerate(ranges.extent_mm or ()):
        length = one.extent_mm[axis]
        if length > limits[1] or (length < limits[0] and not one.is_cut):
            text = f"{name} is {length:.0f} mm long {_AXES[axis]}: expected {_between(limits)} mm"
            remarks.append(Remark(text, "doubtful", name))
    if not one.is_cut:
        for axis, limits in enumerate(ranges.center_mm or ()):
            place = one.center_mm[axis]
            if not limits[0] <= place <= limits[1]:
                text = (
                    f"{name} lies {_place(place, axis)} the middle of all structures: expected "
                    f"{_place(limits[0], axis)} it to {_place(limits[1], axis)} it"
                )
                remarks.append(Remark(text, "doubtful", name))
    if one.main_share < ranges.main_share:
        text = (
            f"{name} is in many parts: {100 * one.main_share:.0f} % of it are in the two largest, "
            f"expected at least {100 * ranges.main_share:.0f} %"
        )
        remarks.append(Remark(text, "doubtful", name))
    if ranges.brightness is not None and not math.isnan(one.brightness):
        low, high = ranges.brightness
        if not low <= one.brightness <= high:
            text = (
                f"{name} is brighter than {100 * one.brightness:.0f} % of the scan: expected "
                f"{100 * low:.0f}–{100 * high:.0f} %"
            )
            remarks.append(Remark(text, "doubtful", name))
    return remarks


def _level(far: bool) -> Level:
    return "implausible" if far else "doubtful"


def _place(millimeters: float, axis: int) -> str:
    before, after = _SIDES[axis]
    return f"{abs(millimeters):.0f} mm {before if millimeters < 0 else after}"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _between(limits: Range) -> str:
    return f"{_figure(limits[0])}–{_figure(limits[1])}"
