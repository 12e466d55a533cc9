"""The user adapts the model to corrected labels, and keeps or discards it. Main thread only."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.core.volume import Volume, VolumeMetadata, digest_of_labels
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.label_attributes import label_names
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, LayerSource
from napari_hyperspace.gui.adapters.painting.layers import facts_of, scan_under
from napari_hyperspace.gui.adapters.viewer import add_layer, hide_results
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.correction import AdaptState, describe_adapted
from napari_hyperspace.gui.models.view import View

if TYPE_CHECKING:
    from napari_hyperspace.api.corrections.adapt import AdaptResult

_WHAT = "Correct a result first, then adapt the model to it: its other spacings change too."


@dataclass(eq=False)
class _Adapted:
    """An adapted model, and the layer that shows the labels before and after."""

    result: AdaptResult
    source: LayerSource
    layer: Any
    corrected: Any


class AdaptController:
    """Adapts the chosen model to the labels in the table.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    services, library
        Adapt, which model.
    choices, layers
        Model, spacing and device, and the scan.
    runner
        Runs the job.
    labels
        Returns the labels in the table of structures.
    use
        Chooses a model in the dock, by its key.
    """

    changed = Signal(object)
    """What the section shows, an `AdaptState`."""

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        library: ModelLibrary,
        choices: Choices,
        layers: InputLayers,
        runner: JobRunner,
        labels: Callable[[], Any],
        use: Callable[[str], None],
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._services = services
        self._library = library
        self._choices = choices
        self._layers = layers
        self._runner = runner
        self._labels = labels
        self._use = use
        self._state = AdaptState(text=_WHAT)
        self._adapted: _Adapted | None = None
        runner.started.connect(self.refresh)
        runner.finished.connect(self.refresh)

    @property
    def state(self) -> AdaptState:
        """What the section shows."""
        return self._state

    def refresh(self) -> None:
        """Show whether the model can be adapted now."""
        ready = self._labels() is not None and bool(self._layers.layers)
        self._show(can_start=ready and not self._runner.running and self._adapted is None)

    def start(self) -> None:
        """Adapt the model, unless a job is running."""
        labels = self._labels()
        if self._runner.running or self._adapted is not None:
            return
        try:
            if labels is None:
                raise HyperspaceError("there are no labels to adapt to")
            if scan_under(self._viewer, labels) not in self._layers.layers:
                raise HyperspaceError("these labels are of another scan", fix="Choose it in “Scan”")
            sources = self._layers.sources()
        except HyperspaceError as error:
            self._view.show_message(str(error), "warning")
            return
        choices, present = replace(self._choices), np.array(labels.data)
        record = facts_of(labels).get("record")
        metadata: VolumeMetadata = {"label_names": label_names(labels)}

        def steps(should_stop: ShouldStop) -> Steps[AdaptResult]:
            yield Progress(0.0, "preparing")
            placement = sources[0].placement
            own = placement.orientation.from_canonical(present)
            if record is not None and record.labels_digest == digest_of_labels(own):
                raise HyperspaceError(
                    "these labels are as the model made them",
                    where=labels.name,
                    fix="Correct them first: the model learns from the difference",
                )
            volumes = [source.layer_volume() for source in sources]
            corrected = Volume(present, volumes[0].grid, labels.name, metadata)
            return (
                yield from self._services.adapt_steps(
                    self._library.load(choices.model),
                    volumes,
                    corrected,
                    choices.spacing_mm,
                    device=choices.device or None,
                    outside=choices.outside,
                    should_stop=should_stop,
                )
            )

        scan = self._layers.layers[0]

        def finished(result: AdaptResult) -> None:
            self._add(result, sources[0], scan, labels)

        self._runner.start(steps, finished, f"Adapting {choices.model}")

    def _add(self, result: AdaptResult, source: LayerSource, scan: Any, corrected: Any) -> None:
        """Show the labels of the adapted model, and ask what to do with it."""
        model = result.model
        facts: VolumeMetadata = {"model": model.name, "working_spacing_mm": result.spacing_mm}
        data, attributes, kind = source.result_layer_data(
            result.labels_after,
            f"adapted · {scan.name}",
            model.label_names,
            model.label_colors,
            facts,
        )
        # The volumes were in the order of the layer already.
        data = np.array(result.labels_after.array)
        attributes["metadata"][IMAGE_KEY] = weakref.ref(scan)
        hide_results(self._viewer, scan)
        corrected.visible = False
        layer = add_layer(self._viewer, (data, attributes, kind))
        self._adapted = _Adapted(result, source, layer, corrected)
        before, after = result.mean_dice_before, result.mean_dice_after
        text = describe_adapted(before, after, result.seconds, result.spacing_mm)
        self._show(
            text=text,
            tone="good" if after > before else "warning",
            waiting=True,
            shows_after=True,
            can_start=False,
        )
        self._view.show_message("Compare before and after, then keep or discard the model.")

    def show_after(self, after: bool) -> None:
        """Show the labels of the adapted model, or those of the model before."""
        adapted = self._adapted
        if adapted is None:
            return
        result = adapted.result
        shown = result.labels_after if after else result.labels_before
        if adapted.layer in self._viewer.layers:
            adapted.layer.data = np.array(shown.array)
            adapted.layer.visible = True
        self._show(shows_after=after)

    def discard(self) -> None:
        """Forget the adapted model, and show the corrected labels again."""
        adapted, self._adapted = self._adapted, None
        if adapted is None:
            return
        if adapted.layer in self._viewer.layers:
            self._viewer.layers.remove(adapted.layer)
        if adapted.corrected in self._viewer.layers:
            adapted.corrected.visible = True
            self._viewer.layers.selection.active = adapted.corrected
        self._finish("The adapted model was discarded.")

    def keep(self) -> None:
        """Keep the adapted model as a file of the user's own, and choose it."""
        adapted = self._adapted
        if adapted is None:
            return
        self.show_after(True)
        try:
            kept = self._services.keep_model(adapted.result.model)
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        self._adapted = None
        self._library.forget(kept.name)
        self._use(kept.name)
        self._finish(f"Kept as “{kept.name}” among your models; it is chosen now.")

    def _finish(self, message: str) -> None:
        self._show(text=_WHAT, tone="plain", waiting=False)
        self.refresh()
        self._view.show_message(message, "good")

    def _show(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        self.changed.emit(self._state)
