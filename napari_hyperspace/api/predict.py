"""Segment one scan or a folder of scans, and write the labels on the grid of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict, Unpack

from napari_hyperspace.api.guidance import AnyGuidance, Guidance
from napari_hyperspace.api.scan_files import list_scans as list_scans
from napari_hyperspace.api.scan_files import read_guidance
from napari_hyperspace.api.segment import segment_steps
from napari_hyperspace.api.spacing_search import spacing_for
from napari_hyperspace.core.errors import Cancelled, HyperspaceError, ShouldStop
from napari_hyperspace.core.files import stem_of, suffix_of
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.labels.postprocess import apply_postprocessing
from napari_hyperspace.core.progress import Progress, ReportProgress, as_part, run_to_end
from napari_hyperspace.core.structures import BRAIN_NAME, brain_volume_ml
from napari_hyperspace.core.volume import PostprocessingOptions, PostprocessingStep, Record, Volume
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.inference.protocols import SpacingModel
from napari_hyperspace.io import read, write
from napari_hyperspace.io.api import check_target
from napari_hyperspace.io.record import record_to_dict
from napari_hyperspace.quality.result import ROW_NAMES, Quality
from napari_hyperspace.support.log import log_error

_SEGMENTING = 0.7  # fraction of the progress for the segmentation, if its result is assessed


@dataclass(frozen=True)
class Reading:
    """Options of `napari_hyperspace.read`, for scans that need them."""

    volume: int | None = None
    series: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    fill: float | None = None

    def read(self, source: Path, model: SpacingModel) -> list[Volume]:
        """Return the images that a model wants: one volume, or the first volumes of the file."""
        indices = range(model.image_channels) if model.image_channels > 1 else [self.volume]
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


class Assess(Protocol):
    """Assesses a result, as `napari_hyperspace.assess_steps`."""

    def __call__(
        self,
        volume: Sequence[Volume],
        labels: Volume,
        model: SpacingModel,
        options: InferenceOptions | None = None,
        *,
        guidance: AnyGuidance | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Generator[Progress, None, Quality]:
        """Return the quality of labels, step by step."""


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
    record
        How the labels were made.
    quality
        How good they are, if that was asked for.
    """

    source: Path
    target: Path
    error: str = ""
    receipt: str = ""
    seconds: float = 0.0
    spacing_mm: tuple[float, ...] = ()
    volumes_ml: dict[str, float] | None = None
    postprocessing: tuple[PostprocessingStep, ...] = ()
    record: Record | None = None
    quality: Quality | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can store; the record as in `io.record`."""
        return {
            **self.__dict__,
            "source": str(self.source),
            "target": str(self.target),
            "record": None if self.record is None else record_to_dict(self.record),
            "quality": None if self.quality is None else self.quality.to_dict(),
        }


def table_of(predictions: Sequence[Prediction]) -> str:
    """Return results as comma-separated values: one row per scan, volumes of structures in ml.

    Structures of a brain are followed by the volume of the brain without its fluid. Results that
    were assessed have further columns.
    """
    names = list(dict.fromkeys(name for each in predictions for name in each.volumes_ml or {}))
    brains = [brain_volume_ml((each.volumes_ml or {}).items()) for each in predictions]
    brain_column = any(brain is not None for brain in brains)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    spacings = [f"spacing {axis} (mm)" for axis in "zyx"]
    columns = [*names, *([BRAIN_NAME] if brain_column else [])]
    judged = ROW_NAMES if any(each.quality for each in predictions) else ()
    names_ml = (f"{name} (ml)" for name in columns)
    rows.writerow(["scan", "error", *spacings, "seconds", *judged, *names_ml])
    for each, brain in zip(predictions, brains, strict=True):
        volumes = each.volumes_ml or {}
        rows.writerow(
            [
                each.source.name,
                each.error.removeprefix(f"{each.source}: "),
                *(each.spacing_mm or ("",) * len(spacings)),
                each.seconds if not each.error else "",
                *(each.quality.to_row() if each.quality else ("",) * len(judged)),
                *(volumes.get(name, "") for name in names),
                *(["" if brain is None else round(brain, 4)] if brain_column else []),
            ]
        )
    return text.getvalue()


@dataclass(frozen=True)
class ScanBudget:
    """What the segmentation of each scan may take; see `napari_hyperspace.spacing_for`.

    The time in which the first run at a spacing finds the fastest precision is not included.
    """

    seconds: float | None = None
    memory_bytes: int | None = None

    def spacing(
        self,
        volumes: Sequence[Volume],
        model: SpacingModel,
        options: InferenceOptions | None,
        guidance: AnyGuidance | None = None,
    ) -> Triple:
        """Return the finest working spacing of a scan within the budget.

        Raises
        ------
        HyperspaceError
            If even the coarsest trained spacing exceeds it.
        """
        return spacing_for(
            volumes,
            model,
            seconds=self.seconds,
            memory_bytes=self.memory_bytes,
            device=None if options is None else options.device,
            first_run=False,
            guidance=guidance,
            best=options is not None and options.best,
        )


@dataclass(frozen=True, kw_only=True)
class BatchStep(Progress):
    """Progress of one of several scans.

    Parameters
    ----------
    source
        The scan.
    finished
        Its result, once there is one.
    """

    source: Path
    finished: Prediction | None = None


class PredictKeywords(TypedDict, total=False):
    """The keyword arguments of `predict_steps` that say how to segment."""

    spacing_mm: Sequence[float] | None
    budget: ScanBudget | None
    options: InferenceOptions | None
    reading: Reading | None
    postprocessing: PostprocessingOptions | None
    guidance: Guidance | Path | None
    assess: Assess | None


def predict(
    source: Path,
    target: Path,
    model: SpacingModel,
    *,
    report: ReportProgress | None = None,
    **how: Unpack[PredictKeywords],
) -> Prediction:
    """Segment one scan and write its labels; see `predict_steps`.

    Parameters
    ----------
    source, target, model, **how
        As in `predict_steps`.
    report
        Called before each step.
    """
    return run_to_end(predict_steps(source, target, model, **how), report)


def predict_steps(
    source: Path,
    target: Path,
    model: SpacingModel,
    *,
    spacing_mm: Sequence[float] | None = None,
    budget: ScanBudget | None = None,
    options: InferenceOptions | None = None,
    reading: Reading | None = None,
    postprocessing: PostprocessingOptions | None = None,
    guidance: Guidance | Path | None = None,
    assess: Assess | None = None,
    should_stop: ShouldStop | None = None,
) -> Generator[Progress, None, Prediction]:
    """Segment one scan and write its labels, step by step.

    Parameters
    ----------
    source, target
        The scan, and the file to write.
    model, spacing_mm, options, should_stop
        As in `napari_hyperspace.segment_steps`.
    budget
        Find the working spacing within this budget, instead of ``spacing_mm``.
    reading
        How to read the scan.
    postprocessing
        How to postprocess the labels.
    guidance
        For a guided model: a coarse pass; or a file of labels, or a folder with one for each scan.
    assess
        Assesses the postprocessed labels before they are written; `None`: nothing does.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true.
    HyperspaceError
        If the scan cannot be read, segmented or written, or no spacing is within the budget.
    """
    check_target(target, source)
    if options is not None and options.uncertainty:
        check_target(uncertainty_path(target), source)
    yield Progress(0.0, "reading")
    volumes = (reading or Reading()).read(source, model)
    given = read_guidance(guidance, source) if isinstance(guidance, Path) else guidance
    if budget is not None:
        yield Progress(0.0, "finding the spacing")
        spacing_mm = budget.spacing(volumes, model, options, given)
    steps = segment_steps(
        volumes, model, spacing_mm, options, guidance=given, should_stop=should_stop
    )
    result = yield from as_part(steps, 0.0, 1.0 if assess is None else _SEGMENTING)
    labels = apply_postprocessing(result.labels, postprocessing or PostprocessingOptions())
    quality = None
    if assess is not None:
        judging = assess(volumes, labels, model, options, guidance=given, should_stop=should_stop)
        quality = yield from as_part(judging, _SEGMENTING, 1.0)
    receipt = write(labels, target)
    if result.uncertainty is not None:
        write(result.uncertainty, uncertainty_path(target))
    unit = labels.grid.voxel_volume_ml
    return Prediction(
        source,
        target,
        receipt=str(receipt),
        seconds=round(result.seconds, 3),
        spacing_mm=tuple(result.spacing_mm),
        volumes_ml={
            name: round(float((labels.array == value).sum()) * unit, 4)
            for value, name in labels.metadata.get("label_names", {}).items()
        },
        postprocessing=labels.metadata.get("postprocessing", ()),
        record=labels.metadata.get("record"),
        quality=quality,
    )


def uncertainty_path(target: Path) -> Path:
    """Return the file for the uncertainty of labels that are written to ``target``."""
    suffix = suffix_of(target).replace(".seg.nrrd", ".nrrd")
    return target.with_name(f"{stem_of(target)}_uncertainty{suffix}")


def predict_all(
    pairs: Sequence[tuple[Path, Path]],
    model: SpacingModel,
    *,
    report: Callable[[Path, float, str], None] = lambda path, fraction, message: None,
    **how: Unpack[PredictKeywords],
) -> list[Prediction]:
    """Segment scans one after the other, and continue after an error.

    Parameters
    ----------
    pairs, model, **how
        As in `predict_all_steps`.
    report
        Called before each step with the scan, the fraction done and the next step.

    Returns
    -------
    list
        One result per scan; its ``error`` is the message of a failure.
    """
    predictions = []
    for step in predict_all_steps(pairs, model, **how):
        if step.finished is None:
            report(step.source, step.fraction, step.message)
        else:
            predictions.append(step.finished)
    return predictions


def predict_all_steps(
    pairs: Sequence[tuple[Path, Path]],
    model: SpacingModel,
    *,
    should_stop: ShouldStop | None = None,
    **how: Unpack[PredictKeywords],
) -> Iterator[BatchStep]:
    """Segment scans one after the other, step by step, and continue after an error.

    Parameters
    ----------
    pairs
        Scans and targets, from `list_scans`.
    model, should_stop, **how
        As in `predict_steps`.

    Yields
    ------
    BatchStep
        Before each step of a scan, and once its labels are written or it has failed.

    Raises
    ------
    Cancelled
        Once ``should_stop`` returns true; what was written is kept.
    """
    for source, target in pairs:
        if should_stop is not None and should_stop():
            raise Cancelled
        try:
            steps = predict_steps(source, target, model, should_stop=should_stop, **how)
            while True:
                try:
                    step = next(steps)
                except StopIteration as end:
                    done: Prediction = end.value
                    break
                yield BatchStep(step.fraction, step.message, source=source)
        except Cancelled:
            raise
        except HyperspaceError as error:
            log_error(error, "predict")
            done = Prediction(source, target, error=str(error.replace(where=error.where or source)))
        except Exception as error:  # a scan that fails must not stop the others
            log_error(error, "predict")
            done = Prediction(source, target, error=f"{source}: {type(error).__name__}: {error}")
        yield BatchStep(1.0, "", source=source, finished=done)
