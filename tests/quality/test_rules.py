"""Ranges from figures, and what violates them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from napari_hyperspace.quality.figures import StructureFigures
from napari_hyperspace.quality.ranges import ranges_of, widened
from napari_hyperspace.quality.remarks import worst
from napari_hyperspace.quality.rules import result_remarks

CORTEX = StructureFigures(500, (120, 160, 130), (-5, 2, 0), 0.99, 0.6, False)
STEM = StructureFigures(25, (60, 30, 30), (45, 20, 0), 1.0, 0.6, False)


def cases(number: int = 6) -> list[dict[str, StructureFigures]]:
    sizes = [1 + 0.05 * (i - number / 2) for i in range(number)]
    return [
        {
            name: replace(
                one,
                volume_ml=one.volume_ml * size,
                extent_mm=tuple(size * step for step in one.extent_mm),
            )
            for name, one in (("cortex", CORTEX), ("brain stem", STEM))
        }
        for size in sizes
    ]


EXPECTED = ranges_of(cases())


def texts(**changes: StructureFigures) -> list[tuple[str, str]]:
    found = {"cortex": CORTEX, "brain stem": STEM}
    found |= {name.replace("_", " "): one for name, one in changes.items()}
    return [(each.level, each.text) for each in result_remarks(found, EXPECTED)]


def test_all_cases_are_in_their_ranges_and_ranges_leave_room():
    for case in cases():
        assert result_remarks(case, EXPECTED) == []
    for name, one in (("cortex", CORTEX), ("brain stem", STEM)):
        low, high = EXPECTED[name].volume_ml
        assert low < one.volume_ml / 1.5 and high > 1.5 * one.volume_ml


def test_a_volume_that_is_far_too_large_is_implausible_by_itself():
    (low, high), far = EXPECTED["cortex"].volume_ml, replace(CORTEX, volume_ml=2342)
    assert texts(cortex=far) == [
        ("implausible", f"cortex 2342 ml: expected {low:.0f}–{high:.0f} ml")
    ]
    ((level, _),) = texts(cortex=replace(CORTEX, volume_ml=1.1 * high))
    assert level == "doubtful"


def test_a_structure_that_is_cut_off_may_be_small_but_not_large():
    small = replace(CORTEX, volume_ml=20, extent_mm=(12, 16, 13), is_cut=True)
    assert texts(cortex=small) == []
    assert texts(cortex=replace(small, volume_ml=5000)) != []
    assert len(texts(cortex=replace(small, is_cut=False))) == 4


def test_length_position_parts_and_brightness_are_said_in_words():
    long = replace(CORTEX, extent_mm=(120, 400, 130))
    ((_, text),) = texts(cortex=long)
    assert text.startswith("cortex is 400 mm long from front to back: expected ")
    ((_, text),) = texts(brain_stem=replace(STEM, center_mm=(-45, 20, 0)))
    assert "brain stem lies 45 mm above the middle of all structures" in text
    assert "below it" in text
    ((_, text),) = texts(cortex=replace(CORTEX, main_share=0.2))
    assert text.startswith("cortex is in many parts: 20 % of it")
    ((_, text),) = texts(cortex=replace(CORTEX, brightness=0.02))
    assert text.startswith("cortex is brighter than 2 % of the scan: expected ")
    assert texts(cortex=replace(CORTEX, brightness=math.nan)) == []


def test_missing_structures_are_doubtful_unless_the_scan_cuts_something_off():
    remarks = result_remarks({"cortex": CORTEX}, EXPECTED)
    assert [(each.level, each.text) for each in remarks] == [
        ("doubtful", "brain stem was not found")
    ]
    assert result_remarks({"cortex": replace(CORTEX, is_cut=True)}, EXPECTED) == []
    (nothing,) = result_remarks({}, EXPECTED)
    assert nothing.level == "implausible"


def test_many_doubtful_structures_make_the_whole_implausible():
    expected = ranges_of([{str(i): CORTEX for i in range(6)} for _ in range(6)])
    wrong = {str(i): replace(CORTEX, main_share=0.1 if i < 3 else 0.9) for i in range(6)}
    remarks = result_remarks(wrong, expected)
    assert worst(each.level for each in remarks) == "implausible"
    fewer = {**wrong, "2": CORTEX, "1": CORTEX}
    assert worst(each.level for each in result_remarks(fewer, expected)) == "doubtful"


def test_structures_that_are_not_always_there_are_not_missed():
    some = [*cases(), {"cortex": CORTEX}]
    assert not ranges_of(some)["brain stem"].always
    assert result_remarks({"cortex": CORTEX}, ranges_of(some)) == []


def test_brightness_means_nothing_for_models_of_any_contrast():
    assert ranges_of(cases(), any_contrast=True)["cortex"].brightness is None


@pytest.mark.parametrize("logarithmic", [False, True])
def test_few_values_say_less_about_further_ones(logarithmic):
    few = widened([3.0], logarithmic=logarithmic)
    many = widened([3.0] * 50, logarithmic=logarithmic)
    assert few[0] < many[0] < 3 < many[1] < few[1]
    low, high = widened([3.0, 400.0], logarithmic=logarithmic)
    assert low < 3 and high > 400
