"""Options are given as one object or as keyword arguments."""

from __future__ import annotations

import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.inference.options import InferenceOptions, options_from


def test_defaults():
    assert options_from(None, {}) == InferenceOptions()


def test_keywords_make_the_same_options():
    keywords = {
        "device": "cpu",
        "outside": "clamp",
        "tile_shape": [8, 9, 10],
        "overlap": 0.5,
        "precision": "fp32",
        "allow_implausible": True,
    }
    assert options_from(None, keywords) == InferenceOptions(
        "cpu", "clamp", (8, 9, 10), 0.5, "fp32", True
    )


def test_an_object_is_taken_as_it_is():
    options = InferenceOptions(outside="extrapolate")
    assert options_from(options, {}) is options


def test_form_is_accepted_as_the_former_name_of_precision():
    assert options_from(None, {"form": "bf16-channels-last"}).precision == "bf16-channels-last"


@pytest.mark.parametrize(
    ("options", "keywords", "message"),
    [
        (None, {"formm": "fp32"}, "unexpected keyword arguments: formm"),
        (None, {"form": "fp32", "precision": "fp32"}, "former name of precision"),
        (InferenceOptions(), {"overlap": 0.1}, "not both: overlap"),
    ],
)
def test_ambiguous_or_unknown_keywords_are_refused(options, keywords, message):
    with pytest.raises(TypeError, match=message):
        options_from(options, keywords)


@pytest.mark.parametrize("field", ["outside", "precision"])
def test_unknown_values_are_refused(field):
    with pytest.raises(HyperspaceError, match="unknown") as caught:
        InferenceOptions(**{field: "maybe"})
    assert caught.value.field == field
    assert caught.value.found == "maybe"
