from __future__ import annotations

import math

import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import (
    format_bytes,
    format_range,
    format_seconds,
    format_spacing,
    parse_spacing,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00004, "0.04 ms"),
        (0.0031, "3.1 ms"),
        (0.3, "300 ms"),
        (2.44, "2.4 s"),
        (42.0, "42 s"),
        (200.0, "3 min 20 s"),
        (7265.0, "2 h 01 min"),
        (math.inf, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_seconds(seconds, text):
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(12, "12 B"), (310e6, "310 MB"), (1.25e9, "1.2 GB"), (999.9e6, "1.0 GB"), (2e12, "2.0 TB")],
)
def test_bytes(n_bytes, text):
    assert format_bytes(n_bytes) == text


def test_spacings():
    assert format_spacing((1.0, 1.0001, 1.0), collapse=True) == "1 mm"
    assert format_spacing((1.0, 1.0, 1.0)) == "1 × 1 × 1 mm"
    assert format_spacing((6.5, 0.69, 0.69), collapse=True) == "6.5 × 0.69 × 0.69 mm"
    assert format_spacing((6.5, 0.69, 0.69), unit=False) == "6.5 × 0.69 × 0.69"


def test_ranges():
    assert format_range(((0.8, 4.0),) * 3, collapse=True) == "0.8–4 mm"
    assert format_range(((1.0, 5.0), (0.2, 1.5))) == "1–5 × 0.2–1.5 mm"


@pytest.mark.parametrize(("text", "spacing"), [("1.5", (1.5,) * 3), ("3, 1,0.5", (3.0, 1.0, 0.5))])
def test_a_spacing_is_parsed(text, spacing):
    assert parse_spacing(text) == spacing


@pytest.mark.parametrize("text", ["", "one", "1,2", "0", "-1", "inf", "nan", "1,1,1,1"])
def test_other_texts_are_no_spacing(text):
    with pytest.raises(HyperspaceError, match="not a spacing in mm"):
        parse_spacing(text)
