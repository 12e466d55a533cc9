"""Rates between the calibrated cases, and rates stored by earlier versions."""

from __future__ import annotations

import json
import math

import pytest

from napari_hyperspace.cost.rates import LARGE_SCAN, decode, encode
from tests.rates import CALIBRATION, HOST_RATES, PRECISION_RATES


def test_rate_between_calibrated_channels():
    assert PRECISION_RATES.convolution_rate(16, 16) == 1e-11
    assert 5e-12 < PRECISION_RATES.convolution_rate(32, 32) < 1e-11


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("conv", 1e-11),
        ("depthwise", 2e-11),
        ("transposed", 1e-11),
        ("product", 5e-12),
        ("norm", 1e-10),
        ("upsample", 1e-10),
        ("pointwise", 1e-10),
    ],
)
def test_rate_of_each_kind_of_operation(kind, expected):
    channels = (8, 8) if kind == "depthwise" else (16, 16)
    assert PRECISION_RATES.work_rate(kind, *channels) == expected


def test_large_scans_are_normalized_at_their_own_rate():
    small, large = LARGE_SCAN - 1, LARGE_SCAN
    assert HOST_RATES.normalizing("z-score", small) == pytest.approx(1e-9 * small)
    assert HOST_RATES.normalizing("z-score", large) == pytest.approx(4e-9 * large)


def test_rates_survive_json():
    assert decode(json.loads(json.dumps(encode(CALIBRATION)))) == CALIBRATION


def test_rates_with_the_key_names_of_an_earlier_version_are_accepted():
    stored = json.loads(json.dumps(encode(CALIBRATION)))
    stored["forms"] = stored.pop("precisions")
    for rates in (*stored["forms"].values(), stored["host"]):
        rates["fault"] = rates.pop("page_fault")
    stored["host"]["normalise"] = stored["host"].pop("normalize")
    assert decode(stored) == CALIBRATION


@pytest.mark.parametrize("damage", [None, [], {}, {"precisions": {}}, {"precisions": {"fp32": {}}}])
def test_unknown_content_is_not_decoded(damage):
    assert decode(damage) is None


def damaged(path: str, value: object) -> object:
    """The stored calibration with another value at a place such as ``host/copy``."""
    stored = json.loads(json.dumps(encode(CALIBRATION)))
    *parents, last = [int(key) if key.isdigit() else key for key in path.split("/")]
    inner = stored
    for key in parents:
        inner = inner[key]
    if value is MISSING:
        del inner[last]
    else:
        inner[last] = value
    return stored


MISSING = object()
PLACES = (
    "host/copy",
    "host/normalize/z-score/0",
    "precisions/fp32/norm",
    "precisions/fp32/overhead",
    "precisions/fp32/convolutions/0/2",
    "precisions/fp32/depthwise/1/1",
)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -1e-9, "1e-9", None, True, [], 1e300])
def test_impossible_rates_are_not_decoded(place, value):
    assert decode(damaged(place, 1e-9)) is not None
    assert decode(damaged(place, value)) is None


@pytest.mark.parametrize(
    "place",
    [
        "host",
        "host/copy",
        "host/normalize",
        "host/normalize/z-score",
        "precisions/fp32/norm",
        "precisions/fp32/convolutions",
    ],
)
def test_rates_that_lack_a_key_are_not_decoded(place):
    assert decode(damaged(place, MISSING)) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("precisions", {}),
        ("precisions/fp32/convolutions", []),
        ("precisions/fp32/depthwise", []),
        ("precisions/fp32/convolutions/0/0", 0),
        ("precisions/fp32/depthwise/0/0", "8"),
        ("precisions/fp32/itemsize", 0),
        ("precisions/fp32/itemsize", 2.5),
        ("precisions/fp32/reordered", "no"),
    ],
)
def test_impossible_counts_are_not_decoded(place, value):
    assert decode(damaged(place, value)) is None


@pytest.mark.parametrize(
    "place",
    [
        "precisions/fp32/convolution_byte",
        "precisions/fp32/page_fault",
        "host/page_fault",
        "host/look_up",
        "host/interpolate",
        "host/setting_up",
    ],
)
def test_differences_of_times_may_be_zero(place):
    assert decode(damaged(place, 0.0)) is not None
    assert decode(damaged(place, -1e-9)) is None


def test_required_precisions_must_be_there():
    stored = encode(CALIBRATION)
    assert decode(stored, ("fp32", "bf16-channels-last")) == CALIBRATION
    assert decode(stored, ("fp32", "fp16-channels-last")) is None


def test_unknown_key_is_not_decoded():
    stored = encode(CALIBRATION)
    stored["precisions"]["fp32"]["size"] = stored["precisions"]["fp32"].pop("itemsize")
    assert decode(stored) is None
