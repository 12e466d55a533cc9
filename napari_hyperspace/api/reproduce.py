"""Python code, or a command, that makes the labels of a record again."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.volume import (
    GuidanceRecord,
    PostprocessingOptions,
    ReadingOptions,
    Record,
    Volume,
)

__all__ = [
    "ResultOrigin",
    "ScanFile",
    "command_for",
    "explain_placeholders",
    "python_code",
    "scan_file",
]

_NO_SCAN = "SCAN.nii.gz"
_NO_MODEL = "MODEL.safetensors"
_NO_GUIDANCE = "GUIDANCE.nii.gz"
_TARGET = "labels.nii.gz"


@dataclass(frozen=True)
class ScanFile:
    """Where a scan is, and how it was read.

    Parameters
    ----------
    path
        File or folder; `None` if the image did not come from one.
    series
        UID of the DICOM series.
    reading
        The other options of `napari_hyperspace.read`.
    """

    path: str | None = None
    series: str | None = None
    reading: ReadingOptions = field(default_factory=ReadingOptions)


@dataclass(frozen=True)
class ResultOrigin:
    """The files that a result was made from; its `Record` contains no paths.

    Parameters
    ----------
    model
        Name of a bundled model, or path of a model file; `None`: unknown.
    scans
        One per image that the model wants.
    guidance
        Where labels that were given as guidance are; `None`: there were none.
    guidance_model
        The model of a coarse pass for guidance, as ``model``.
    """

    model: str | None
    scans: tuple[ScanFile, ...]
    guidance: ScanFile | None = None
    guidance_model: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the code runs as it is."""
        return self.model is not None and all(scan.path is not None for scan in self.files)

    @property
    def files(self) -> tuple[ScanFile, ...]:
        """The scans, and the labels that were given as guidance."""
        return self.scans if self.guidance is None else (*self.scans, self.guidance)


def scan_file(volume: Volume) -> ScanFile:
    """Return where a volume was read from, and how."""
    metadata = volume.metadata
    path = metadata.get("path")
    return ScanFile(
        None if path is None else os.path.abspath(path),
        metadata.get("series"),
        metadata.get("reading", {}),
    )


def python_code(record: Record, origin: ResultOrigin) -> str:
    """Return Python code that makes the labels again, checks them, and writes them to a file.

    The labels are bit-identical with the same versions of this package and of torch on the same
    kind of processor; the code says whether they are. It fails for another model.

    Parameters
    ----------
    record
        How the labels were made.
    origin
        Files of the scans and the model. For unknown ones the code has a placeholder, and says so.
    """
    scans = [_read_call(scan) for scan in origin.scans]
    model = _NO_MODEL if origin.model is None else origin.model
    lines = [
        f"# Segmentation by {_one_line(record.model)}, made with napari-hyperspace "
        f"{_one_line(record.program_version)} and torch {_one_line(record.torch_version)}.",
        *(f"# {note}" for note in _notes(origin)),
        "import napari_hyperspace as hs",
        "",
    ]
    if len(scans) == 1:
        lines.append(f"scan = {scans[0]}")
    else:
        lines += ["scan = [", *(f"    {call}," for call in scans), "]"]
    lines += [
        f"model = hs.load_model({model!r}, digest={record.model_digest!r})",
        *_coarse_model(record.guidance, origin),
        "labels = hs.segment(",
        "    scan,",
        "    model,",
        f"    spacing_mm={record.spacing_mm!r},  # z, y, x",
        *_guidance_argument(record.guidance, origin),
        *(f"    {name}={value!r}," for name, value in _options(record).items()),
        ")",
    ]
    for step in record.postprocessing:
        given = ", ".join(f"{name}={value!r}" for name, value in _cleaning(step).items())
        lines.append(f"labels = hs.postprocess(labels, {given})")
    lines.append(f"hs.write(labels, {_TARGET!r})")
    if record.labels_digest:
        lines += [
            f'same = labels.metadata["record"].labels_digest == {record.labels_digest!r}',
            'print("identical labels" if same else "the labels differ: other versions?")',
        ]
    return "\n".join(lines) + "\n"


def command_for(record: Record, origin: ResultOrigin, *, windows: bool | None = None) -> str:
    """Return the command that makes the labels again and writes them to a file.

    Parameters
    ----------
    record, origin
        As in `python_code`.
    windows
        Whether to quote for cmd.exe instead of a POSIX shell; `None`: as this system.

    Raises
    ------
    HyperspaceError
        If the command line cannot do it: the scans of several channels are in several files, or
        the labels were post-processed more than once.
    """
    reason = ""
    if len(origin.scans) > 1 and not _one_file(origin.scans):
        reason = "its scans are in several files"
    elif len(record.postprocessing) > 1:
        reason = "its labels were post-processed more than once"
    elif origin.guidance is not None and (origin.guidance.reading or origin.guidance.series):
        reason = "its guidance was read with options of its own"
    if reason:
        raise HyperspaceError(
            f"no command makes this result: {reason}", fix="Copy it as Python instead"
        )
    scan = origin.scans[0]
    arguments = [
        *("hyperspace", "predict", scan.path or _NO_SCAN, _TARGET),
        *("--model", origin.model or _NO_MODEL, "--model-digest", record.model_digest),
        *("--spacing", _joined(record.spacing_mm)),
        *("--precision", record.precision),
    ]
    if record.localization_precision:
        arguments += ["--localization-precision", record.localization_precision]
    arguments += ["--device", record.device, "--outside", record.outside]
    arguments += ["--overlap", repr(record.overlap)]
    if record.tile_shape is not None:
        arguments += ["--tile-shape", _joined(record.tile_shape)]
    if record.allow_implausible:
        arguments.append("--allow-implausible")
    if record.best:
        arguments.append("--best")
    arguments += _guidance_options(record.guidance, origin)
    if scan.series is not None:
        arguments += ["--series", scan.series]
    if "volume" in scan.reading and len(origin.scans) == 1:
        arguments += ["--volume", str(scan.reading["volume"])]
    if "spacing_mm" in scan.reading:
        arguments += ["--scan-spacing", _joined(scan.reading["spacing_mm"])]
    if "fill" in scan.reading:
        arguments.append(f"--fill={scan.reading['fill']!r}")  # a minus would start an option
    for step in record.postprocessing:
        for name, value in _cleaning(step).items():
            arguments.append(f"--{name.replace('_', '-')}")
            if value is not True:
                arguments.append(repr(value))
    quote_for_windows = os.name == "nt" if windows is None else windows
    if quote_for_windows:
        return subprocess.list2cmdline(arguments)
    return shlex.join(arguments)


def explain_placeholders(origin: ResultOrigin) -> str:
    """Return what has to be filled in before the code or command runs; empty if nothing has."""
    return " ".join(_notes(origin))


def _notes(origin: ResultOrigin) -> list[str]:
    notes = []
    if any(scan.path is None for scan in origin.scans):
        notes.append(f"Replace {_NO_SCAN}: the file of the scan is not known.")
    if origin.model is None:
        notes.append(f"Replace {_NO_MODEL}: the file of the model is not known.")
    if origin.guidance is not None and origin.guidance.path is None:
        notes.append(f"Replace {_NO_GUIDANCE}: save the labels that were the guidance first.")
    return notes


def _read_call(scan: ScanFile, placeholder: str = _NO_SCAN) -> str:
    given = dict(scan.reading)
    if scan.series is not None:
        given["series"] = scan.series
    options = "".join(f", {name}={value!r}" for name, value in given.items())
    return f"hs.read({scan.path or placeholder!r}{options})"


def _coarse_model(guidance: GuidanceRecord | None, origin: ResultOrigin) -> list[str]:
    """Return the line that loads the model of a coarse pass."""
    if guidance is None or guidance.spacing_mm is None:
        return []
    coarse = origin.guidance_model or _NO_MODEL
    return [f"coarse = hs.load_model({coarse!r}, digest={guidance.model_digest!r})"]


def _guidance_argument(guidance: GuidanceRecord | None, origin: ResultOrigin) -> list[str]:
    """Return the lines of the argument ``guidance`` of `segment`."""
    if guidance is None:
        return []
    if guidance.spacing_mm is None:
        return [f"    guidance={_read_call(origin.guidance or ScanFile(), _NO_GUIDANCE)},"]
    lines = ["    guidance=hs.Guidance(", "        coarse,", f"        {guidance.spacing_mm!r},"]
    lines.append(f"        precision={guidance.precision!r},")
    if guidance.localization_precision:
        lines.append(f"        localization_precision={guidance.localization_precision!r},")
    return [*lines, "    ),"]


def _guidance_options(guidance: GuidanceRecord | None, origin: ResultOrigin) -> list[str]:
    """Return the options of the command for the guidance."""
    if guidance is None:
        return []
    if guidance.spacing_mm is None:
        path = None if origin.guidance is None else origin.guidance.path
        return ["--guidance", path or _NO_GUIDANCE]
    coarse = origin.guidance_model or _NO_MODEL
    options = ["--guidance", f"{coarse}@{_joined(guidance.spacing_mm)}"]
    options += ["--guidance-digest", guidance.model_digest]
    options += ["--guidance-precision", guidance.precision]
    if guidance.localization_precision:
        options += ["--guidance-localization-precision", guidance.localization_precision]
    return options


def _options(record: Record) -> dict[str, object]:
    """Return the options of `segment` that a record states, without those at their default."""
    options: dict[str, object] = {"precision": record.precision}
    if record.localization_precision:
        options["localization_precision"] = record.localization_precision
    options |= {"device": record.device, "outside": record.outside, "overlap": record.overlap}
    if record.tile_shape is not None:
        options["tile_shape"] = record.tile_shape
    if record.allow_implausible:
        options["allow_implausible"] = True
    if record.best:
        options["best"] = True
    return options


def _cleaning(step: PostprocessingOptions) -> dict[str, object]:
    given = {
        "largest_component": step.largest_component,
        "smallest_component_mm3": step.smallest_component_mm3,
        "fill_holes_mm3": step.fill_holes_mm3,
        "split_sides": step.split_sides,
    }
    return {name: value for name, value in given.items() if value}


def _one_file(scans: Sequence[ScanFile]) -> bool:
    """Whether the channels are the first volumes of one file, as `hyperspace predict` reads it."""
    volumes = [scan.reading.get("volume") for scan in scans]
    first = {name: value for name, value in scans[0].reading.items() if name != "volume"}
    return volumes == list(range(len(scans))) and all(
        (scan.path, scan.series) == (scans[0].path, scans[0].series)
        and {name: value for name, value in scan.reading.items() if name != "volume"} == first
        for scan in scans
    )


def _joined(values: Sequence[float]) -> str:
    return ",".join(repr(value) for value in values)


def _one_line(text: str) -> str:
    """Return a text for a comment: a line break in it would end the comment."""
    return " ".join(text.split())
