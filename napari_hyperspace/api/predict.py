"""Segment one scan or a folder of scans, and write the labels on the grid of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, suffix_of
from napari_hyperspace.core.postprocess import postprocess
from napari_hyperspace.core.progress import ReportProgress, run_to_end
from napari_hyperspace.core.volume import PostprocessingStep, Volume
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.io import read, write
from napari_hyperspace.io.api import check_target
from napari_hyperspace.support.log import log_error

_READABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_WRITTEN_AS = {".nhdr": ".nrrd", ".mhd": ".mha"}


@dataclass(frozen=True)
class Reading:
    """Options of `napari_hyperspace.read`, for scans that need them."""

    volume: int | None = None
    series: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    fill: float | None = None

    def read(self, source: Path, model: SpacingModel) -> list[Volume]:
        """Return the input channels of a model: one volume, or the first volumes of the file."""
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
    """Options of `napari_hyperspace.postprocess` for the labels."""

    largest_component: bool = False
    fill_holes_mm3: float = 0.0
    smallest_component_mm3: float = 0.0

    def apply(self, labels: Volume) -> Volume:
        """Return the postprocessed labels; with default options they are unchanged."""
        return postprocess(
            labels,
            largest_component=self.largest_component,
            smallest_component_mm3=self.smallest_component_mm3,
            fill_holes_mm3=self.fill_holes_mm3,
        )


@dataclass(frozen=True)
class Prediction:
    """The result for one scan.

    Parameters
    ----------
    source, target
        Files of the scan and of its labels.
    error
        Message of the error; empty if the labels were written.
    receipt
        Result of the comparison after writing.
    seconds
        Wall time of the segmentation.
    spacing_mm
        Working spacing (z, y, x).
    volumes_ml
        Volume of each structure, by name.
    postprocessing
        The postprocessing steps of the labels.
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
    """Return each scan with the file for its labels.

    Parameters
    ----------
    source
        A file, a folder with one DICOM series, or a folder of scans (files of the supported
        formats, or else one DICOM folder each).
    target
        A file for one scan, a folder for several; the folder is created.

    Raises
    ------
    HyperspaceError
        If there is no scan, several scans have the same target, or the folder cannot be created.
    """
    if source.is_file():
        return [(source, target / _output_name(source) if target.is_dir() else target)]
    if not source.is_dir():
        raise HyperspaceError("no such file or folder", where=source)
    found = sorted(path for path in source.iterdir() if not path.name.startswith("."))
    scans = [path for path in found if _suffix(path) in _READABLE]
    folders = [path for path in found if path.is_dir()]
    if not scans and not folders and found:
        return [(source, target)]
    scans = scans or folders
    if not scans:
        raise HyperspaceError("no scan in this folder", where=source)
    pairs = [(path, target / _output_name(path)) for path in scans]
    names = [written.name for _, written in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise HyperspaceError(
            "the labels of several scans would be written to the same file",
            where=source,
            found=", ".join(twice),
            fix="Rename the scans",
        )
    create_folder(target)
    return pairs


def _suffix(path: Path) -> str:
    """Return the extension in lower case, ``".nii.gz"`` as one; none for a folder."""
    return "" if path.is_dir() else suffix_of(path).removeprefix(".seg")


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
        How to postprocess the labels.
    report
        Called before each step.

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
    """Segment scans one after the other, and continue after an error.

    Parameters
    ----------
    pairs
        Scans and targets, from `list_scans`.
    model, spacing_mm, options, reading, cleaning
        As in `predict`.
    report
        Called before each step with the scan, the fraction done and the next step.

    Returns
    -------
    list
        One result per scan; its ``error`` is the message of a failure.
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
            log_error(error, "predict")
            done = Prediction(source, target, error=str(error.replace(where=error.where or source)))
        except Exception as error:  # a scan that fails must not stop the others
            log_error(error, "predict")
            done = Prediction(source, target, error=f"{source}: {type(error).__name__}: {error}")
        predictions.append(done)
    return predictions
