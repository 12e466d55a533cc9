"""What people read and type: durations, memory, spacings, ranges."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import (
    format_bytes,
    format_range,
    format_seconds,
    format_spacing,
    parse_spacing,
)

UNIT_SECONDS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
UNIT_BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.00 ms"),
        (3.14e-5, "0.03 ms"),
        (0.0031, "3.1 ms"),
        (0.0994, "99 ms"),
        (0.9949, "995 ms"),
        (0.995, "1.0 s"),
        (2.44, "2.4 s"),
        (9.94, "9.9 s"),
        (9.95, "10 s"),
        (99.4, "99 s"),
        (99.5, "1 min 40 s"),
        (119.6, "2 min 00 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (259200, "72 h 00 min"),
        (math.inf, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_durations(seconds, text):
    assert format_seconds(seconds) == text


@given(st.floats(1e-3, 1e7))
def test_a_duration_is_off_by_less_than_what_two_figures_lose(seconds):
    parts = re.findall(r"([\d.]+) (\w+)", format_seconds(seconds))
    shown = sum(float(number) * UNIT_SECONDS[unit] for number, unit in parts)
    assert shown == pytest.approx(seconds, rel=0.051)
    assert all(0 <= float(number) < 60 for number, unit in parts[1:])


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1.0 kB"),
        (9949, "9.9 kB"),
        (9950, "10 kB"),
        (310e6, "310 MB"),
        (999.4e6, "999 MB"),
        (999.6e6, "1.0 GB"),
        (1.2e9, "1.2 GB"),
        (5e12, "5.0 TB"),
        (1e15, "1000 TB"),
    ],
)
def test_memory(n_bytes, text):
    assert format_bytes(n_bytes) == text


@given(st.integers(1, 10**15))
def test_memory_is_off_by_less_than_what_two_figures_lose(n_bytes):
    number, unit = format_bytes(n_bytes).split()
    assert float(number) * UNIT_BYTES[unit] == pytest.approx(n_bytes, rel=0.051)
    assert float(number) < 1000 or unit == "TB"


def test_spacings():
    assert format_spacing((3, 1, 0.75)) == "3 × 1 × 0.75 mm"
    assert format_spacing((0.79999, 1, 1)) == "0.8 × 1 × 1 mm"
    assert format_spacing((0.79999, 1, 1), digits=6) == "0.79999 × 1 × 1 mm"
    assert format_spacing((1, 1), unit=False) == "1 × 1"
    assert format_spacing((300, 12345.6, 1)) == "300 × 12346 × 1 mm"


def test_equal_spacings_collapse_on_request():
    assert format_spacing((1, 1, 1)) == "1 × 1 × 1 mm"
    assert format_spacing((1, 1, 1), collapse=True) == "1 mm"
    assert format_spacing((1, 1.00001, 1), collapse=True, unit=False) == "1"
    assert format_spacing((1, 1, 2), collapse=True) == "1 × 1 × 2 mm"


def test_ranges():
    assert format_range([(0.8, 4), (0.8, 4), (0.8, 2)]) == "0.8–4 × 0.8–4 × 0.8–2 mm"
    assert format_range([(0.8, 4)] * 3) == "0.8–4 × 0.8–4 × 0.8–4 mm"
    assert format_range([(0.8, 4)] * 3, collapse=True) == "0.8–4 mm"
    assert format_range([(0.8, 4), (0.8, 2)], collapse=True) == "0.8–4 × 0.8–2 mm"


@pytest.mark.parametrize(
    ("text", "spacing"),
    [
        ("1", (1, 1, 1)),
        ("1,2,0.5", (1, 2, 0.5)),
        (" 1 , 2 , 3 ", (1, 2, 3)),
        ("1e-1", (0.1, 0.1, 0.1)),
    ],
)
def test_spacings_are_parsed(text, spacing):
    assert parse_spacing(text) == spacing


@pytest.mark.parametrize(
    "text", ["", "1,2", "1,2,3,4", "0", "-1", "1,0,1", "nan", "inf", "1 2 3", "1;2;3", "a", "1,,1"]
)
def test_what_is_not_a_spacing_is_refused(text):
    with pytest.raises(HyperspaceError, match="not a spacing") as caught:
        parse_spacing(text)
    assert caught.value.found == repr(text)


@given(st.tuples(*[st.floats(1e-3, 1e3)] * 3))
def test_a_formatted_spacing_is_parsed_again(spacing):
    text = format_spacing(spacing, unit=False).replace(" × ", ",")
    # Four significant digits: half a unit of the last one is at most 5e-4 of the number.
    assert parse_spacing(text) == pytest.approx(spacing, rel=5.01e-4)
