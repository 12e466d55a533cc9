"""Prediction for one scan or a folder of them, written on the grid of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.postprocess import postprocess
from napari_hyperspace.core.progress import ReportProgress, run_to_end
from napari_hyperspace.core.volume import PostprocessingStep, Volume
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.io import read, write
from napari_hyperspace.io.api import check_target

_READABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_WRITTEN_AS = {".nhdr": ".nrrd", ".mhd": ".mha"}


@dataclass(frozen=True)
class Reading:
    """How to read scans that do not say everything themselves; see `napari_hyperspace.read`."""

    volume: int | None = None
    series: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    fill: float | None = None

    def read(self, source: Path, model: SpacingModel) -> list[Volume]:
        """Return the images that a model wants of a scan: several are the volumes of its file."""
        indices = range(model.in_channels) if model.in_channels > 1 else [self.volume]
        return [
            read(
                source,
                volume=index,
                series=self.series,
                spacing_mm=self.spacing_mm,
                fill=self.fill,
            )
            for index in indices
        ]


@dataclass(frozen=True)
class Cleaning:
    """What to do to the labels afterwards; see `napari_hyperspace.postprocess`."""

    largest_component: bool = False
    fill_holes_mm3: float = 0.0

    def apply(self, labels: Volume) -> Volume:
        """Return the cleaned labels: the same where nothing is asked for."""
        return postprocess(
            labels,
            largest_component=self.largest_component,
            fill_holes_mm3=self.fill_holes_mm3,
        )


@dataclass(frozen=True)
class Prediction:
    """What became of one scan.

    Parameters
    ----------
    source, target
        The scan and its labels.
    error
        Why there are none; empty if there are.
    receipt
        What was compared after writing.
    seconds
        Wall time of the segmentation.
    spacing_mm
        Working spacing (z, y, x).
    volumes_ml
        Volume of each structure, by name.
    postprocessing
        What was done to the labels afterwards, step by step.
    """

    source: Path
    target: Path
    error: str = ""
    receipt: str = ""
    seconds: float = 0.0
    spacing_mm: tuple[float, ...] = ()
    volumes_ml: dict[str, float] | None = None
    postprocessing: tuple[PostprocessingStep, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**self.__dict__, "source": str(self.source), "target": str(self.target)}


def list_scans(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Pair each scan with the file its labels go to.

    Parameters
    ----------
    source
        A file, a folder of one DICOM series, or a folder of scans (files of the formats that are
        read, or else one DICOM folder each).
    target
        A file for one scan, a folder for several.

    Raises
    ------
    HyperspaceError
        If there is nothing to read.
    """
    if source.is_file():
        return [(source, target / _output_name(source) if target.is_dir() else target)]
    if not source.is_dir():
        raise HyperspaceError("there is no such file or folder", where=source)
    found = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    scans = [path for path in found if _suffix(path) in _READABLE]
    folders = [path for path in found if path.is_dir()]
    if not scans and not folders and found:
        return [(source, target)]
    scans = scans or folders
    if not scans:
        raise HyperspaceError("the folder holds no scan", where=source)
    pairs = [(path, target / _output_name(path)) for path in scans]
    names = [written.name for _, written in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HyperspaceError(
            "several scans would be written to the same file",
            where=source,
            found=", ".join(twice),
            fix="Rename one of each",
        )
    target.mkdir(parents=True, exist_ok=True)
    return pairs


def _suffix(path: Path) -> str:
    """Return the extension as the formats know it."""
    if path.is_dir():
        return ""
    return ".nii.gz" if path.name.lower().endswith(".nii.gz") else path.suffix.lower()


def _output_name(path: Path) -> str:
    suffix = _suffix(path)
    if suffix not in _READABLE:
        return f"{path.stem if path.is_file() else path.name}.nii.gz"
    return path.name[: len(path.name) - len(suffix)] + _WRITTEN_AS.get(suffix, suffix)


def predict(
    source: Path,
    target: Path,
    model: SpacingModel,
    *,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    reading: Reading | None = None,
    cleaning: Cleaning | None = None,
    report: ReportProgress | None = None,
) -> Prediction:
    """Segment one scan and write its labels.

    Parameters
    ----------
    source, target
        The scan, and the file to write.
    model, spacing_mm, options
        As in `napari_hyperspace.segment`.
    reading
        How to read the scan.
    cleaning
        How to post-process the labels.
    report
        Called with the fraction done and what comes next.

    Raises
    ------
    HyperspaceError
        If the scan cannot be read, segmented or written.
    """
    check_target(target, source)
    volumes = (reading or Reading()).read(source, model)
    result = run_to_end(segment_steps(volumes, model, spacing_mm, options), report)
    labels = (cleaning or Cleaning()).apply(result.labels)
    receipt = write(labels, target)
    unit = labels.grid.voxel_volume_ml
    return Prediction(
        source,
        target,
        receipt=str(receipt),
        seconds=round(result.seconds, 3),
        spacing_mm=tuple(result.spacing_mm),
        volumes_ml={
            name: round(float((labels.array == value).sum()) * unit, 4)
            for value, name in model.label_names.items()
        },
        postprocessing=labels.metadata.get("postprocessing", ()),
    )


def predict_all(
    pairs: Sequence[tuple[Path, Path]],
    model: SpacingModel,
    *,
    spacing_mm: Sequence[float] | None = None,
    options: InferenceOptions | None = None,
    reading: Reading | None = None,
    cleaning: Cleaning | None = None,
    report: Callable[[Path, float, str], None] = lambda path, fraction, message: None,
) -> list[Prediction]:
    """Segment scans one after the other; a bad one does not stop the rest.

    Parameters
    ----------
    pairs
        Of `list_scans`.
    model, spacing_mm, options, reading, cleaning
        As in `predict`.
    report
        Called with the scan, the fraction done and what comes next.
    """
    predictions = []
    for source, target in pairs:
        try:
            done = predict(
                source,
                target,
                model,
                spacing_mm=spacing_mm,
                options=options,
                reading=reading,
                cleaning=cleaning,
                report=partial(report, source),
            )
        except HyperspaceError as error:
            done = Prediction(source, target, error=str(error))
        except (OSError, MemoryError, RuntimeError) as error:
            done = Prediction(source, target, error=f"{type(error).__name__}: {error}")
        predictions.append(done)
    return predictions
