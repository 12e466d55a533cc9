"""The user runs a segmentation, and cancels it."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_hyperspace.api.reproduce import ResultOrigin, scan_file
from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import PostprocessingOptions, PostprocessingStep, VolumeMetadata
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, ORIGIN_KEY, LayerData
from napari_hyperspace.gui.adapters.regions import uncertainty_layer_data
from napari_hyperspace.gui.adapters.viewer import (
    add_layer,
    hide_results,
    unwatch_layer,
    watch_layer,
)
from napari_hyperspace.gui.adapters.voxels import count_not_finite, is_constant
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.formatting import (
    NOT_FINITE,
    describe_doubts,
    describe_localization,
    describe_outcome,
    describe_postprocessing,
)
from napari_hyperspace.gui.models.view import View

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate
    from napari_hyperspace.api.segment import SegmentResult


@dataclass(frozen=True, eq=False)
class _Segmented:
    """The labels of a run, as a layer, and what the run took."""

    layer: LayerData
    origin: ResultOrigin
    predicted: Estimate
    result: SegmentResult
    postprocessing: tuple[PostprocessingStep, ...]
    uncertainty: LayerData | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class _NotFinite:
    """How many voxels are NaN or infinite, of how many."""

    count: int
    size: int


class SegmentationController:
    """Segments the chosen layers and adds the labels to the viewer.

    A run is stopped if one of its layers is changed or removed: the labels would not belong to it.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    services
        Segment.
    choices, layers, library
        What to segment, with which model and how.
    runner
        Runs the job.
    """

    started = Signal()
    """A run begins."""
    added = Signal(object)
    """The layer of a result was added."""

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        choices: Choices,
        layers: InputLayers,
        library: ModelLibrary,
        runner: JobRunner,
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._services = services
        self._choices = choices
        self._layers = layers
        self._library = library
        self._runner = runner
        self._watched: tuple[Any, ...] = ()
        runner.finished.connect(self._unwatch)

    def set_postprocessing(self, options: PostprocessingOptions) -> None:
        """Set the post-processing of later runs, sweeps and batches."""
        self._choices.largest_component = options.largest_component
        self._choices.fill_holes_mm3 = options.fill_holes_mm3
        self._choices.split_sides = options.split_sides

    def set_best(self, best: bool) -> None:
        """Set whether later runs average several networks."""
        self._choices.best = best

    def set_uncertainty(self, uncertainty: bool) -> None:
        """Set whether later runs that average several networks add a layer of uncertainty."""
        self._choices.uncertainty = uncertainty

    def run(self) -> None:
        """Segment the chosen layers, unless a job is running."""
        if self._runner.running:
            return
        try:
            sources = self._layers.sources()
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        guidance = self._library.guidance
        choices = replace(self._choices)  # the user may change them during the run

        def steps(should_stop: ShouldStop) -> Steps[_Segmented | _NotFinite]:
            model = self._library.load_to_run(choices.model)
            volumes = [source.volume() for source in sources]
            not_finite = [count_not_finite(volume.array) for volume in volumes]
            if any(not_finite):
                return _NotFinite(sum(not_finite), sum(volume.array.size for volume in volumes))
            if all(is_constant(volume.array) for volume in volumes):
                raise HyperspaceError(
                    "all voxels have the same value: there is nothing to segment",
                    where=sources[0].name,
                    found=volumes[0].array.flat[0],
                )
            options = choices.run_options()
            predicted = self._services.estimate(volumes[0].grid, model, choices.spacing_mm, options)
            yield Progress(0.0, "preparing", seconds_left=predicted.seconds)
            result = yield from self._services.segment_steps(
                volumes, model, choices.spacing_mm, options, should_stop
            )
            labels = result.labels
            cleaning = choices.postprocessing()
            if cleaning != PostprocessingOptions():
                yield Progress(1.0, "post-processing")
                labels = self._services.postprocess(labels, cleaning)
            postprocessing = labels.metadata.get("postprocessing", ())
            name = f"{model.name} {format_spacing(result.spacing_mm, collapse=True)}"
            if options.best:
                name += ", best"
            facts: VolumeMetadata = {
                "model": model.name,
                "working_spacing_mm": result.spacing_mm,
                "postprocessing": postprocessing,
            }
            record = labels.metadata.get("record")
            if record is not None:
                facts["record"] = replace(
                    record,
                    predicted_seconds=predicted.seconds,
                    predicted_peak_bytes=predicted.peak_bytes,
                )
            layer = sources[0].result_layer_data(
                labels,
                f"{name}, post-processed" if postprocessing else name,
                labels.metadata.get("label_names", model.label_names),
                labels.metadata.get("label_colors", model.label_colors),
                facts,
            )
            files = tuple(scan_file(volume) for volume in volumes)
            origin = ResultOrigin(choices.model, files)
            if guidance is not None and model.guidance is not None:
                origin = guidance.origin(choices.model, files)
            doubt = None
            if result.uncertainty is not None:
                doubt = uncertainty_layer_data(
                    sources[0], result.uncertainty.array, f"uncertainty · {sources[0].name}"
                )
            yield Progress(1.0, "checking the structures")
            doubts = self._services.check_result(volumes, labels, model, should_stop)
            return _Segmented(layer, origin, predicted, result, postprocessing, doubt, doubts)

        self.started.emit()
        self._watched = self._layers.layers
        for layer in self._watched:
            watch_layer(layer, self._edited)
        self._runner.start(steps, self._take, f"Segmenting {sources[0].name}")

    def cancel(self) -> None:
        """Stop the running job, whatever it is."""
        self._runner.stop("Cancelled.")

    def close(self) -> None:
        """Disconnect from the layers of the run."""
        self._unwatch()

    def stop_if_removed(self) -> None:
        """Stop the run if one of its layers is no longer in the viewer."""
        if any(layer not in self._viewer.layers for layer in self._watched):
            why = "The image was removed during the run, which has been stopped."
            self._runner.stop(why, "warning")

    def _take(self, outcome: _Segmented | _NotFinite) -> None:
        if isinstance(outcome, _NotFinite):
            # A dialog has an event loop of its own: show it once the job has finished.
            name = self._watched[0].name
            self._runner.afterwards(lambda: self._ask_fill(name, outcome))
        else:
            self._add_labels(outcome)

    def _ask_fill(self, name: str, found: _NotFinite) -> None:
        """Ask what to replace voxels by that are not finite, and run again."""
        problem = f"{name}: {found.count} of {found.size} voxels are NaN or infinite"
        question = f"{problem}. The layer itself stays as it is."
        chosen = self._view.ask_choice(NOT_FINITE, question, ["Segment it with 0 in their place"])
        if chosen is None:
            self._view.show_message(f"{problem}; not segmented.", "warning")
            return
        self._layers.fill(0.0)
        self.run()

    def _add_labels(self, outcome: _Segmented) -> None:
        source = self._watched[0]
        data, attributes, kind = outcome.layer
        attributes["name"] = f"{attributes['name']} · {source.name}"
        attributes["metadata"][IMAGE_KEY] = weakref.ref(source)
        attributes["metadata"][ORIGIN_KEY] = outcome.origin
        hide_results(self._viewer, source)
        if outcome.uncertainty is not None:
            add_layer(self._viewer, outcome.uncertainty)
        layer = add_layer(self._viewer, (data, attributes, kind))
        result = outcome.result
        text, tone = describe_outcome(outcome.predicted, result)
        text += describe_postprocessing(outcome.postprocessing)
        record = result.labels.metadata.get("record")
        text += describe_localization(record)
        if outcome.doubts:
            text, tone = f"{describe_doubts(outcome.doubts)} {text}", "warning"
        self._view.show_message(text, tone)
        self.added.emit(layer)

    def _edited(self, event: Any = None) -> None:
        why = "The image was changed during the run: the labels would not belong to it."
        self._runner.stop(why, "warning")

    def _unwatch(self) -> None:
        for layer in self._watched:
            unwatch_layer(layer, self._edited)
        self._watched = ()
