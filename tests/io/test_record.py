"""The record of a segmentation as plain data, and the description of labels in a file."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import (
    GuidanceRecord,
    Laterality,
    PostprocessingOptions,
    Record,
)
from napari_hyperspace.io.record import (
    LARGEST_DESCRIPTION,
    describe_labels,
    labels_described,
    record_from_dict,
    record_to_dict,
)

RECORD = Record(
    model="brain",
    model_digest="0a" * 16,
    spacing_mm=(0.1 + 0.2, 1 / 3, 2.5),
    precision="bf16-channels-last",
    localization_precision="fp32",
    localized="found-from-top",
    device="cuda",
    outside="clamp",
    tile_shape=(64, 48, 32),
    overlap=0.5,
    allow_implausible=True,
    best=True,
    channels=("T1", "T2"),
    reading={"volume": 2, "spacing_mm": (0.7, 0.7, 1 / 7), "fill": -1.5},
    postprocessing=(PostprocessingOptions(True, 1.5, 2.5, True), PostprocessingOptions()),
    guidance=GuidanceRecord(
        labels_digest="ee" * 16,
        model="coarse",
        model_digest="dd" * 16,
        spacing_mm=(4.0, 1 / 3, 0.1 + 0.2),
        precision="fp32",
        localization_precision="bf16-channels-last",
    ),
    labels_digest="ff" * 16,
    seconds=12.25,
    peak_bytes=3 << 30,
    predicted_seconds=11.5,
    predicted_peak_bytes=2 << 30,
    program_version="0.1.0",
    torch_version="2.13.0+cpu",
)


def test_a_record_survives_json_bit_for_bit():
    for field in fields(Record):  # every field is tested with a value of its own
        assert getattr(RECORD, field.name) not in (None, "", ()), field.name
    again = record_from_dict(json.loads(json.dumps(record_to_dict(RECORD))))
    assert again == RECORD
    bare = replace(RECORD, tile_shape=None, reading={}, predicted_seconds=None, guidance=None)
    assert record_from_dict(json.loads(json.dumps(record_to_dict(bare)))) == bare


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"spacing_mm": [1, 2]},
        {"spacing_mm": [1, 0, 2]},
        {"spacing_mm": [1, float("nan"), 2]},
        {"model_digest": "../../x"},
        {"outside": "explode"},
        {"overlap": 1.0},
        {"reading": {"spacing_mm": [-1, 1, 1]}},
    ],
)
def test_what_is_not_a_record_is_refused(change):
    with pytest.raises(HyperspaceError, match="not a record"):
        record_from_dict({**record_to_dict(RECORD), **change})
    for other in (None, [], "record", 3):
        with pytest.raises(HyperspaceError, match="not a record"):
            record_from_dict(other)


def test_keys_of_later_programs_are_ignored():
    assert record_from_dict({**record_to_dict(RECORD), "mood": "good"}) == RECORD


def test_a_description_keeps_names_colors_sides_and_the_record_and_no_path():
    metadata = {
        "path": "/patients/doe/scan.nii",
        "image": "DOE^JANE",
        "header": object(),
        "label_names": {1: "left “a”", 2: "c", 600: "b"},
        "label_colors": {1: "#010203", 600: "#0a0b0c"},
        "label_sides": {
            1: Laterality("left", "“a”"),
            2: Laterality(None, "c", paired=True),
            600: Laterality(None, "b"),
        },
        "postprocessing": ({"step": "cleaned", "connectivity": 26, "changed_mm3": 1.5},),
        "record": RECORD,
    }
    content = describe_labels(metadata)
    assert b"doe" not in content.lower()
    found = labels_described(content + b"\0" * 7)
    assert found is not None
    for key in ("label_names", "label_colors", "label_sides", "postprocessing", "record"):
        assert found[key] == metadata[key]
    assert found["model"] == "brain"
    assert found["working_spacing_mm"] == RECORD.spacing_mm
    assert "path" not in found


def test_without_names_and_record_there_is_nothing_to_describe():
    assert describe_labels({"path": "/scan.nii"}) == b""


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format":"napari-hyperspace labels","version":2}',
        b'{"format":"other","version":1}',
        b'{"format":"napari-hyperspace labels","version":1,"labels":[{"value":-1}]}',
        b'{"format":"napari-hyperspace labels","version":1,"labels":[{"value":1,"color":"red"}]}',
        b'{"format":"napari-hyperspace labels","version":1}' + b" " * LARGEST_DESCRIPTION,
    ],
)
def test_foreign_and_damaged_descriptions_are_ignored(content):
    assert labels_described(content) is None


def test_control_characters_of_names_are_escaped():
    content = describe_labels({"label_names": {1: "a\x1b[2J"}})
    found = labels_described(content)
    assert found is not None
    assert "\x1b" not in found["label_names"][1]
