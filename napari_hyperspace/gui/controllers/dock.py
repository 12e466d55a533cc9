"""Assembles the controllers of the dock, and connects them. Main thread only."""

from __future__ import annotations

from typing import Any

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.viewer import camera_of
from napari_hyperspace.gui.controllers.about import AboutController
from napari_hyperspace.gui.controllers.budget import BudgetController
from napari_hyperspace.gui.controllers.corrections.section import CorrectionController
from napari_hyperspace.gui.controllers.files import FileController
from napari_hyperspace.gui.controllers.guidance import GuidanceController
from napari_hyperspace.gui.controllers.live import LiveController
from napari_hyperspace.gui.controllers.manager import ManagerController
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.controllers.planes import PlanesController
from napari_hyperspace.gui.controllers.results.batch import BatchController
from napari_hyperspace.gui.controllers.results.comparison import ComparisonController
from napari_hyperspace.gui.controllers.results.export_network import ExportNetworkController
from napari_hyperspace.gui.controllers.results.postprocessing import PostprocessingController
from napari_hyperspace.gui.controllers.results.reproduce import ReproduceController
from napari_hyperspace.gui.controllers.results.structures import StructuresController
from napari_hyperspace.gui.controllers.results.sweep import SweepController
from napari_hyperspace.gui.controllers.scan import ScanController
from napari_hyperspace.gui.controllers.segmentation import SegmentationController
from napari_hyperspace.gui.controllers.spacing import SpacingController
from napari_hyperspace.gui.jobs.later import later
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.view import StructuresView, View


class DockController:
    """The controllers of the dock, one per task of the user.

    Parameters
    ----------
    viewer
        napari's viewer; its image layers can be segmented.
    view
        Shows the state and asks the user.
    structures_view
        Shows the structures of the labels.
    services
        Do the work; the package's own functions by default.
    choices
        Initial settings.

    Attributes
    ----------
    scan, models, guidance, spacing, live, segmentation, files, budget, structures, comparison,
    about, planes, sweep, reproduce, networks, manager, batch, corrections
        What the user can do.
    choices, layers
        The settings, and the layers to segment.
    """

    def __init__(
        self,
        viewer: Any,
        view: View,
        structures_view: StructuresView,
        services: Services | None = None,
        choices: Choices | None = None,
    ) -> None:
        services, choices = services or Services(), choices or Choices()
        library = ModelLibrary(services)
        runner = JobRunner(view)
        layers = InputLayers(viewer)
        self.viewer = viewer
        self._view = view
        self._runner = runner
        self._paused = False
        self._view_has_moved = False
        self.closed = False
        self.choices = choices
        self.layers = layers
        view.show_choices(choices)
        self.models = ModelController(view, library, choices)
        self.guidance = GuidanceController(viewer, view, self.models, library)
        self.scan = ScanController(viewer, view, layers, self.models)
        self.spacing = SpacingController(view, choices, layers, self.models)
        self.live = LiveController(
            viewer, view, services, choices, layers, self.models, self.spacing, runner
        )
        self.segmentation = SegmentationController(
            viewer, view, services, choices, layers, library, runner
        )
        self.files = FileController(viewer, view, services, layers, runner)
        self.budget = BudgetController(
            view, services, choices, layers, library, self.models, self.spacing, runner
        )
        self.manager = ManagerController(services, library, self.models, choices)
        self.batch = BatchController(viewer, view, services, choices, library, runner)
        self.about = AboutController(viewer, services, choices, layers)
        self.structures = StructuresController(viewer, structures_view, view.show_message)
        self.planes = PlanesController(viewer, view, layers)
        self.sweep = SweepController(viewer, view, services, library, choices, layers, runner)
        self.reproduce = ReproduceController(viewer, view, services, lambda: self.structures.layer)
        self.networks = ExportNetworkController(
            view, services, choices, library, runner, lambda: self.structures.layer
        )
        self.postprocessing = PostprocessingController(
            viewer, view, services, choices, runner, lambda: self.structures.layer
        )
        self.comparison = ComparisonController(viewer, view, self.structures, choices, self._run_at)
        self.corrections = CorrectionController(
            viewer,
            view,
            services,
            library,
            choices,
            layers,
            runner,
            self.structures,
            self.models.refresh,
        )
        self._connect()
        self._scan_changed(True)
        self.layers.follow()
        self.models.unload()

    def _connect(self) -> None:
        self.layers.changed.connect(self._scan_changed)
        self.layers.listed.connect(self._layers_listed)
        self.layers.opened.connect(self._scan_opened)
        self.models.chosen.connect(self._model_chosen)
        self.models.loaded.connect(self._model_loaded)
        self.guidance.changed.connect(self._query)
        events = self.choices.events
        asked = (events.spacing_mm, events.device, events.preview_ms, events.outside, events.best)
        for event in asked:
            event.connect(self._query)
        events.live.connect(self._live_switched)
        self.segmentation.started.connect(self._run_started)
        self.sweep.started.connect(self.live.stop)
        self.sweep.spacingChosen.connect(self.spacing.request)
        self._runner.started.connect(self._refresh_buttons)
        self._runner.finished.connect(self._job_finished)
        self._runner.finished.connect(self.comparison.run_ended)
        self.segmentation.added.connect(self.comparison.added)
        # The panes beside each other are of one plane.
        self.comparison.arranging.connect(self._show_one_plane)
        self.planes.opening.connect(self.comparison.leave_panes)
        self._moves = (self.viewer.dims.events.point, camera_of(self.viewer).events.center)
        for emitter in self._moves:
            emitter.connect(self._view_moved)
        self.viewer.layers.selection.events.active.connect(self._refresh_buttons)
        self.corrections.painting.started.connect(self._stop_previews)

    @property
    def running(self) -> bool:
        """Whether a job is running."""
        return self._runner.running

    def close(self) -> None:
        """Stop all work and disconnect from the viewer; the view is not used any more."""
        if self.closed:
            return
        self.closed = True
        self._runner.close()
        self.manager.close()
        self.segmentation.close()
        self.guidance.close()
        self.live.close()
        for emitter in self._moves:
            emitter.disconnect(self._view_moved)
        self.viewer.layers.selection.events.active.disconnect(self._refresh_buttons)
        self.layers.close()
        self.comparison.close()
        self.planes.close()
        self.sweep.close()
        self.corrections.close()
        self.structures.close()

    def show_choices(self) -> None:
        """Show choices that were changed elsewhere, such as in napari's preferences."""
        self.models.show()
        self.spacing.prefer_lock()
        self._view.show_choices(self.choices)

    def set_paused(self, paused: bool) -> None:
        """Stop all work while the dock is not shown, or continue."""
        if paused == self._paused or self.closed:
            return
        self._paused = paused
        if paused:
            self.corrections.painting.stop()
            self._runner.stop_for_panel()
            self.live.pause()
        else:
            self.live.resume()

    def _show_one_plane(self) -> None:
        self.planes.show(False)

    def _stop_previews(self) -> None:
        """Turn previews off: they would cover what the user paints."""
        self.choices.live = False
        self._view.show_choices(self.choices)

    def _run_at(self, spacing_mm: Triple) -> bool:
        """Run at another spacing, and show it in the dock; return whether a run was started."""
        if self.running:
            self._view.show_message("Another job is running: wait for it, or cancel it.", "warning")
            return False
        self.spacing.request(spacing_mm)
        self.segmentation.run()
        return self.running

    def _query(self) -> None:
        self.live.query()

    def _scan_opened(self, layer: Any) -> None:
        later(lambda: self.scan.show_opened(layer))  # napari is still adding it

    def _scan_changed(self, another: bool) -> None:
        if another:
            if not self.running:
                self._view.show_message("")  # it was about another scan
            self.structures.follow_scan(next(iter(self.layers.layers), None))
        self.live.remove_preview()
        self.scan.show()
        self.spacing.refresh(another_scan=another)
        self.sweep.scan_changed(another)
        self.live.query()

    def _layers_listed(self) -> None:
        self.scan.show_layers()
        self.guidance.refresh()
        self.segmentation.stop_if_removed()
        self.sweep.stop_if_removed()
        self.sweep.refresh()
        self.corrections.refresh()
        self._refresh_buttons()

    def _model_chosen(self) -> None:
        self.guidance.model_changed()
        self.live.remove_preview()  # it has the names and colors of the previous model
        self.live.show_nothing()
        self.sweep.set_model(None)
        self._refresh_buttons()
        self.live.query()

    def _model_loaded(self) -> None:
        model = self.models.model
        if model is not None:
            self.layers.set_channels(model.image_channels)
        self.guidance.model_changed()
        self.sweep.set_model(model)
        self.spacing.refresh()
        self.corrections.refresh()
        self._refresh_buttons()
        self.live.query()

    def _view_moved(self, event: Any = None) -> None:
        # napari moves the view also while it removes layers: query once that is done.
        if self.choices.live and not self._view_has_moved:
            self._view_has_moved = True
            later(self._query_moved)

    def _query_moved(self) -> None:
        self._view_has_moved = False
        self.live.query()

    def _live_switched(self, live: bool) -> None:
        if not live:
            self.live.remove_preview()
        self.live.query()

    def _run_started(self) -> None:
        self.live.stop()
        self.live.query(preview=False)  # the estimate of the last choices may be on its way

    def _job_finished(self) -> None:
        # A preview would cover the labels; it comes with the next change of a choice.
        self.live.forget_costs()
        self._refresh_buttons()
        self.live.query(preview=False)

    def _refresh_buttons(self, event: Any = None) -> None:
        """Enable the buttons that can be used now."""
        running = self.running
        self._view.show_ready(
            run=not running and bool(self.layers.layers) and bool(self.choices.model),
            cancel=running,
            save=not running and self.files.labels_to_save() is not None,
        )
