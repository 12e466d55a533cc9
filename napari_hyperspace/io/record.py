"""What a label map file says about its labels: names, colors, sides, and how they were made.

It is stored as a small JSON object with a version. What is read is limited in size and checked;
anything else, such as an object of a later version, is ignored: labels must not become unreadable
because of their description.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_hyperspace.core.errors import HyperspaceError, printable
from napari_hyperspace.core.volume import (
    GuidanceRecord,
    Laterality,
    OutsideRange,
    PostprocessingOptions,
    PostprocessingStep,
    ReadingOptions,
    Record,
    Side,
    VolumeMetadata,
)

__all__ = [
    "DESCRIPTION_KEY",
    "LARGEST_DESCRIPTION",
    "RECORD_VERSION",
    "describe_labels",
    "labels_described",
    "record_from_dict",
    "record_to_dict",
]

RECORD_VERSION = 1
"""Version of the stored form. A reader ignores keys that it does not know, and later versions."""

LARGEST_DESCRIPTION = 1 << 20
"""Longest description that is read, in bytes."""

DESCRIPTION_KEY = "napari-hyperspace-labels"
"""Name of the description where a format stores texts by name; percent-encoded."""

_FORMAT = "napari-hyperspace labels"
_MAX_LABELS = 65535
_Text = Annotated[str, Field(max_length=1000)]
_Color = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{0,128}$")]
_Spacing = tuple[_Positive, _Positive, _Positive]


class _Stored(BaseModel):
    # Fields may start with "model_", which old versions of pydantic keep for themselves.
    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class _Reading(_Stored):
    volume: Annotated[int, Field(ge=0)] | None = None
    spacing_mm: _Spacing | None = None
    fill: _Number | None = None


class _Postprocessing(_Stored):
    largest_component: bool = False
    smallest_component_mm3: _Amount = 0.0
    fill_holes_mm3: _Amount = 0.0
    split_sides: bool = False


class _Guidance(_Stored):
    labels_digest: _Digest
    model: _Text = ""
    model_digest: _Digest = ""
    spacing_mm: _Spacing | None = None
    precision: _Text = ""
    localization_precision: _Text = ""

    def build(self) -> GuidanceRecord:
        return GuidanceRecord(
            labels_digest=self.labels_digest,
            model=printable(self.model),
            model_digest=self.model_digest,
            spacing_mm=self.spacing_mm,
            precision=printable(self.precision),
            localization_precision=printable(self.localization_precision),
        )


class _Step(_Stored):
    step: _Text
    connectivity: int = 0
    changed_mm3: _Number = 0.0


class _Record(_Stored):
    version: Annotated[int, Field(ge=1, le=RECORD_VERSION)]
    model: _Text
    model_digest: _Digest
    spacing_mm: _Spacing
    precision: _Text
    localization_precision: _Text = ""
    localized: _Text = ""
    device: _Text
    outside: OutsideRange = "refuse"
    tile_shape: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=3)] | None = (
        None
    )
    overlap: Annotated[float, Field(ge=0, lt=1)]
    allow_implausible: bool = False
    best: bool = False
    channels: Annotated[tuple[_Text, ...], Field(max_length=1000)] = ("image",)
    reading: _Reading = _Reading()
    postprocessing: Annotated[tuple[_Postprocessing, ...], Field(max_length=1000)] = ()
    guidance: _Guidance | None = None
    labels_digest: _Digest = ""
    seconds: _Amount = 0.0
    peak_bytes: Annotated[int, Field(ge=0)] = 0
    predicted_seconds: _Amount | None = None
    predicted_peak_bytes: Annotated[int, Field(ge=0)] | None = None
    program_version: _Text = ""
    torch_version: _Text = ""

    def build(self) -> Record:
        reading = ReadingOptions()
        if self.reading.volume is not None:
            reading["volume"] = self.reading.volume
        if self.reading.spacing_mm is not None:
            reading["spacing_mm"] = self.reading.spacing_mm
        if self.reading.fill is not None:
            reading["fill"] = self.reading.fill
        return Record(
            model=printable(self.model),
            model_digest=self.model_digest,
            spacing_mm=self.spacing_mm,
            precision=printable(self.precision),
            localization_precision=printable(self.localization_precision),
            localized=printable(self.localized),
            device=printable(self.device),
            outside=self.outside,
            tile_shape=self.tile_shape,
            overlap=self.overlap,
            allow_implausible=self.allow_implausible,
            best=self.best,
            channels=tuple(printable(name) for name in self.channels),
            reading=reading,
            postprocessing=tuple(
                PostprocessingOptions(
                    one.largest_component,
                    one.smallest_component_mm3,
                    one.fill_holes_mm3,
                    one.split_sides,
                )
                for one in self.postprocessing
            ),
            guidance=None if self.guidance is None else self.guidance.build(),
            labels_digest=self.labels_digest,
            seconds=self.seconds,
            peak_bytes=self.peak_bytes,
            predicted_seconds=self.predicted_seconds,
            predicted_peak_bytes=self.predicted_peak_bytes,
            program_version=printable(self.program_version),
            torch_version=printable(self.torch_version),
        )


class _Label(_Stored):
    value: Annotated[int, Field(ge=1)]
    name: _Text | None = None
    color: _Color | None = None
    side: Side | None = None
    structure: _Text | None = None
    paired: bool = False


class _Description(_Stored):
    format: Literal["napari-hyperspace labels"]
    version: Annotated[int, Field(ge=1, le=RECORD_VERSION)]
    labels: Annotated[tuple[_Label, ...], Field(max_length=_MAX_LABELS)] = ()
    steps: Annotated[tuple[_Step, ...], Field(max_length=1000)] = ()
    record: _Record | None = None


def record_to_dict(record: Record) -> dict[str, object]:
    """Return a record as plain data that JSON can store; see `record_from_dict`."""
    return {"version": RECORD_VERSION, **asdict(record)}


def record_from_dict(stored: object) -> Record:
    """Return the record of plain data, such as `record_to_dict` makes.

    Raises
    ------
    HyperspaceError
        If the data are not a record of this version or an earlier one.
    """
    try:
        return _Record.model_validate(stored).build()
    except (ValidationError, RecursionError) as error:
        raise HyperspaceError("not a record of a segmentation", found=_first(error)) from error


def describe_labels(metadata: VolumeMetadata) -> bytes:
    """Return the description of a label map as JSON; empty if there is nothing to say.

    Parameters
    ----------
    metadata
        Of the label map. Paths, names of scans and headers are not part of the description.
    """
    names = metadata.get("label_names", {})
    colors = metadata.get("label_colors", {})
    sides = metadata.get("label_sides", {})
    record = metadata.get("record")
    labels: list[dict[str, object]] = []
    for value in sorted(names.keys() | colors.keys() | sides.keys()):
        label: dict[str, object] = {"value": int(value)}
        if value in names:
            label["name"] = names[value]
        if value in colors:
            label["color"] = colors[value]
        if value in sides:
            label["side"], label["structure"], paired = sides[value]
            label |= {"paired": True} if paired else {}
        labels.append(label)
    if not labels and record is None:
        return b""
    described: dict[str, object] = {
        "format": _FORMAT,
        "version": RECORD_VERSION,
        "labels": labels,
    }
    if steps := metadata.get("postprocessing"):
        described["steps"] = steps
    if record is not None:
        described["record"] = record_to_dict(record)
    return json.dumps(described, separators=(",", ":")).encode("ascii")


def labels_described(content: bytes) -> VolumeMetadata | None:
    """Return what a description says; `None` if it is not one, or not a valid one.

    Parameters
    ----------
    content
        Untrusted. Padding with zeros is ignored.
    """
    if len(content) > LARGEST_DESCRIPTION:
        return None
    try:
        found = _Description.model_validate_json(content.rstrip(b"\0"))
    except (ValidationError, RecursionError):
        return None
    metadata: VolumeMetadata = {"is_labels": True}
    names, colors, sides = {}, {}, {}
    for label in found.labels:
        if label.name is not None:
            names[label.value] = printable(label.name)
        if label.color is not None:
            colors[label.value] = label.color.lower()
        if label.structure is not None:
            structure = printable(label.structure)
            sides[label.value] = Laterality(label.side, structure, label.paired and not label.side)
    if names:
        metadata["label_names"] = names
    if colors:
        metadata["label_colors"] = colors
    if sides:
        metadata["label_sides"] = sides
    if found.steps:
        metadata["postprocessing"] = tuple(
            PostprocessingStep(
                step=printable(one.step), connectivity=one.connectivity, changed_mm3=one.changed_mm3
            )
            for one in found.steps
        )
    if found.record is not None:
        record = found.record.build()
        metadata["record"] = record
        metadata["model"] = record.model
        metadata["working_spacing_mm"] = record.spacing_mm
    return metadata


def _first(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'record'}: {first['msg']}"
