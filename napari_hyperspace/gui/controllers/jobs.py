"""What the user starts and waits for: runs, files read and written, a spacing fitted to a budget.

One at a time. Each goes through a napari worker; layers are touched when it has returned.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters import viewer as viewing
from napari_hyperspace.gui.adapters.layers import IMAGE_KEY, LayerData, to_volume
from napari_hyperspace.gui.adapters.readers import open_layers, open_question
from napari_hyperspace.gui.controllers.input_layers import InputLayers
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models import formatting as texts
from napari_hyperspace.gui.models.state import Choices
from napari_hyperspace.gui.models.view import View


@dataclass(frozen=True, eq=False)
class _Outcome:
    """A finished run."""

    layer: LayerData
    predicted: Any
    result: Any
    postprocessing: tuple[Any, ...] = ()


@dataclass(frozen=True)
class _Refusal:
    """Why a file was not read."""

    error: HyperspaceError


class Jobs:
    """Starts the work, follows it, and puts what comes out where it belongs.

    Parameters
    ----------
    viewer
        napari's.
    view
        Shows how far the work is, and asks the user.
    services
        What the work is done with.
    choices
        What the user has chosen.
    chosen
        The layers to segment.
    shelf
        The models.
    """

    segmenting = Signal()  # a run begins: previews are in its way
    spacing_found = Signal(tuple)

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        choices: Choices,
        chosen: InputLayers,
        shelf: ModelLibrary,
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._services = services
        self._choices = choices
        self._chosen = chosen
        self._shelf = shelf
        self._watched: tuple[Any, ...] = ()
        self.runner = JobRunner(view)
        self.runner.finished.connect(self._unwatch)

    @property
    def running(self) -> bool:
        """Whether something is being worked on."""
        return self.runner.running

    def cancel(self) -> None:
        """Stop what is being worked on."""
        self.runner.stop("Cancelled.")

    def close(self) -> None:
        """Stop what is being worked on, and show no more of it."""
        self.runner.close()
        self._unwatch()

    # -- segmentation --------------------------------------------------------------------------

    def run(self) -> None:
        """Segment the chosen scan; does nothing while something else is being worked on."""
        choices, shelf = self._choices, self._shelf
        if self.running:
            return
        try:
            sources = self._chosen.sources()
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        key, spacing, outside = choices.model, choices.spacing_mm, choices.outside
        device = choices.device or None
        cleaning = {
            "largest_component": choices.largest_component,
            "fill_holes_mm3": choices.fill_holes_mm3,
        }

        def steps(should_stop: Callable[[], bool]) -> Steps:
            model = shelf.load(key)
            volumes = [source.volume() for source in sources]
            options = {"device": device, "outside": outside}
            predicted = self._services.estimate(volumes[0].grid, model, spacing, **options)
            result = yield from self._services.segment_steps(
                volumes, model, spacing, should_stop=should_stop, **options
            )
            labels = result.labels
            if any(cleaning.values()):
                labels = self._services.postprocess(labels, **cleaning)
            done = tuple(labels.metadata.get("postprocessing", ()))
            name = f"{model.name} {texts.spacing(result.spacing_mm)}"
            facts = {
                "model": model.name,
                "working_spacing_mm": tuple(result.spacing_mm),
                "postprocessing": done,
            }
            layer = sources[0].result_layer_data(
                labels,
                f"{name}, post-processed" if done else name,
                model.label_names,
                model.label_colors,
                facts,
            )
            return _Outcome(layer, predicted, result, done)

        self.segmenting.emit()
        self._watched = self._chosen.layers
        for layer in self._watched:
            viewing.watch(layer, self._edited)
        self.runner.start(steps, self._segmented, f"Segmenting {sources[0].name}")

    def _segmented(self, outcome: _Outcome) -> None:
        source = self._watched[0]
        data, attributes, kind = outcome.layer
        attributes["name"] = f"{source.name} · {attributes['name']}"
        attributes["metadata"][IMAGE_KEY] = weakref.ref(source)
        viewing.add_layer(self._viewer, (data, attributes, kind), above=source)
        result = outcome.result
        told = texts.comparison(outcome.predicted, result.seconds, result.peak_bytes)
        self._view.show_message(told + texts.postprocessing(outcome.postprocessing), "good")

    def _edited(self, event: Any = None) -> None:
        why = "The image was changed during the run: its result would not belong to it."
        self.runner.stop(why, "warning")

    def layers_changed(self) -> None:
        """Stop a run whose image has been taken away."""
        if any(layer not in self._viewer.layers for layer in self._watched):
            why = "The image was removed during the run, which has been stopped."
            self.runner.stop(why, "warning")

    def _unwatch(self) -> None:
        for layer in self._watched:
            viewing.unwatch(layer, self._edited)
        self._watched = ()

    # -- files ---------------------------------------------------------------------------------

    def open(self, path: str, **options: Any) -> None:
        """Read a file, or the series of a DICOM folder, into layers; what is visible is chosen.

        Where the file leaves something open (which of several volumes, its spacing, …), the user
        is asked and it is read again.
        """
        if self.running:
            return

        def steps(should_stop: Callable[[], bool]) -> Steps:
            yield from ()
            try:
                return open_layers(path, self._services, **options)
            except HyperspaceError as error:
                return _Refusal(error)  # the user may know the way out: no failure yet

        def opened(outcome: list[LayerData] | _Refusal) -> None:
            if isinstance(outcome, _Refusal):
                # A dialog runs its own event loop: not before this job is over.
                self.runner.afterwards(lambda: self._mend(path, options, outcome.error))
            else:
                layers = [viewing.add_layer(self._viewer, one) for one in outcome]
                viewing.show_scan(self._viewer, next(one for one in layers if one.visible))
                self._view.show_message(f"Opened {', '.join(one.name for one in layers)}.")

        self.runner.start(steps, opened, f"Reading {Path(path).name}")

    def _mend(self, path: str, options: dict[str, Any], error: HyperspaceError) -> None:
        """Ask for what a file leaves open and read it again, or say why it can't be read."""
        self._view.show_message(str(error), "error")
        more = self._ask_for_what_is_missing(path, error)
        if more:
            self.open(path, **options, **more)

    def _ask_for_what_is_missing(self, path: str, error: HyperspaceError) -> dict[str, Any]:
        """Return the option that lets a file be read after all; empty if there is none."""
        wanted = open_question(error)
        if wanted == "spacing_mm":
            spacing = self._view.ask_spacing(
                "Spacing of the file",
                f"{error}\n\nDistance between voxel centers along the file's own axes, in mm:",
                (1.0, 1.0, 1.0),
            )
            return {} if spacing is None else {"spacing_mm": spacing}
        if wanted == "series":
            series = [one for one in self._services.list_series(path) if one.is_image]
            chosen = self._view.ask_choice(
                "Series", "The folder holds several series:", [str(one) for one in series]
            )
            return {} if chosen is None else {"series": series[chosen].uid}
        if wanted == "volume":
            last = int((re.findall(r"\d+", error.fix or "") or ["0"])[-1])
            chosen = self._view.ask_choice(
                "Volume", error.problem, [f"volume {n}" for n in range(last + 1)]
            )
            return {} if chosen is None else {"volume": chosen}
        if wanted == "fill":
            chosen = self._view.ask_choice(
                "Voxels that are not finite", str(error), ["Replace them with 0"]
            )
            return {} if chosen is None else {"fill": 0.0}
        return {}

    def save(self) -> None:
        """Ask where to, and write the labels there on the grid of their scan."""
        layers = viewing.label_layers(self._viewer)
        if self.running or not layers:
            return
        active = self._viewer.layers.selection.active
        layer = active if active in layers else layers[0]
        try:
            volume = to_volume(*layer.as_layer_data_tuple()[:2])
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        scan = volume.metadata.get("path")
        path = self._view.ask_save_path(texts.beside(scan, layer.name, "labels.nii.gz"))
        if path is None:
            return

        def steps(should_stop: Callable[[], bool]) -> Steps:
            yield from ()
            return self._services.write(volume, path)

        def saved(receipt: Any) -> None:
            self._view.show_message(f"Saved {receipt}.", "good")

        self.runner.start(steps, saved, f"Saving {Path(path).name}")

    # -- budget --------------------------------------------------------------------------------

    def fit_budget(self, seconds: float, n_bytes: float | None) -> None:
        """Go to the finest spacing that a run within this time and memory can have.

        Parameters
        ----------
        seconds
            Time.
        n_bytes
            Memory of the device that computes, no more than is free; `None`: all that is free.
        """
        choices, shelf = self._choices, self._shelf
        if self.running or not choices.model:
            return
        try:
            grid = self._chosen.sources()[0].placement.grid
        except HyperspaceError as error:
            self._view.show_message(str(error), "error")
            return
        key, device, spacing = choices.model, choices.device or None, choices.spacing_mm

        def steps(should_stop: Callable[[], bool]) -> Steps:
            yield from ()
            model = shelf.load(key)
            free = self._services.estimate(
                grid, model, spacing, device=device, outside="extrapolate"
            ).available_bytes
            limits = [limit for limit in (n_bytes, free) if limit is not None]
            return self._services.spacing_for(
                grid, model, seconds=seconds, memory_bytes=min(limits, default=None), device=device
            )

        def found(spacing: tuple[float, float, float]) -> None:
            self.spacing_found.emit(spacing)
            self._view.show_message(
                f"{texts.spacing(spacing)} is the finest spacing within {texts.duration(seconds)}.",
                "good",
            )

        self.runner.start(steps, found, "Looking for the finest spacing")
