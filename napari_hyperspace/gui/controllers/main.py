"""Between the user and the work: choices in, answers out, layers added. Main thread only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.adapters import viewer as viewing
from napari_hyperspace.gui.controllers.input_layers import InputLayers
from napari_hyperspace.gui.controllers.jobs import Jobs
from napari_hyperspace.gui.jobs import preview as explore
from napari_hyperspace.gui.jobs.model_library import Devices, Loaded, ModelLibrary
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models import formatting as texts
from napari_hyperspace.gui.models import state
from napari_hyperspace.gui.models.accuracy import accuracy_at
from napari_hyperspace.gui.models.state import Choices
from napari_hyperspace.gui.models.view import Accuracy, View

_WORTH_A_NOTE = 0.2  # part of the time


class Controller:
    """Keeps viewer, view and work together.

    Parameters
    ----------
    viewer
        napari's; its image layers are what can be chosen.
    view
        Shows the state and asks the user.
    services
        What the work is done with.
    choices
        What to begin with.
    """

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services | None = None,
        choices: Choices | None = None,
    ) -> None:
        self.viewer = viewer
        self.view = view
        self.services = services or Services()
        self.choices = choices or Choices()
        self.shelf = ModelLibrary(self.services)
        self.model: Any = None  # the chosen one, once it is loaded
        self._preview = viewing.PreviewLayer(viewer)
        self._users_spacing: Triple | None = None  # if the user has set one for this scan
        self._scales = state.make_scales(None, None)
        self._lane = Lane()
        self._explorer = explore.PreviewEngine(self.services)
        self.closed = False
        self._resting = False
        self._weights = ""  # how long they took, to be shown once there is an estimate too
        self.chosen = InputLayers(viewer, self._scan_changed, self._list_layers)
        self.jobs = Jobs(viewer, view, self.services, self.choices, self.chosen, self.shelf)
        if not self.choices.model:
            self.choices.model = self.shelf.default()
        self.view.show_choices(self.choices)
        self.view.show_devices([("cpu", "CPU")], "cpu")
        self.view.show_models(self.shelf.entries(), self.choices.model)
        self._scan_changed(True)
        self.chosen.follow()
        self._connect()
        self._choose_model()

    def _connect(self) -> None:
        events = self.choices.events
        for event in (events.spacing_mm, events.device, events.preview_ms):
            event.connect(self._ask)
        events.model.connect(self._choose_model)
        events.live.connect(self._switch_live)
        self.jobs.segmenting.connect(self._make_way)
        self.jobs.runner.started.connect(self._refresh_buttons)
        self.jobs.runner.finished.connect(self._job_finished)
        self.jobs.spacing_found.connect(self._spacing_found)
        self._moves = (self.viewer.dims.events.point, viewing.camera(self.viewer).events.center)
        for emitter in self._moves:
            emitter.connect(self._view_moved)

    def close(self) -> None:
        """Stop all work and let go of the viewer; the view may be gone already."""
        if self.closed:
            return
        self.closed = True
        self.jobs.close()
        self._lane.close()
        for emitter in self._moves:
            emitter.disconnect(self._view_moved)
        self.chosen.close()

    def rest(self, resting: bool) -> None:
        """Stop all work while nobody can see what it gives, or go on."""
        if resting == self._resting or self.closed:
            return
        self._resting = resting
        if resting:
            self.jobs.cancel()
            self._make_way()
        else:
            self._ask()

    # -- what the user chooses -----------------------------------------------------------------

    def set_spacing(self, spacing_mm: Triple) -> None:
        """Take the spacing that the user has set."""
        self._users_spacing = spacing_mm
        self.choices.spacing_mm = self._for_model(spacing_mm)

    def use_native_spacing(self) -> None:
        """Go to the scan's own spacing, brought into the trained range."""
        self._users_spacing = None
        self._propose_spacing()

    def choose_layer(self, key: str, channel: int = 0) -> None:
        """Take the layer chosen for an input channel."""
        self.chosen.choose(key, channel)

    def set_postprocessing(self, largest_component: bool, fill_holes_mm3: float) -> None:
        """Take what is to be done to the labels of the runs to come."""
        self.choices.largest_component = largest_component
        self.choices.fill_holes_mm3 = fill_holes_mm3

    def add_model_file(self, path: str) -> None:
        """Choose a model file of the user's own, as it is now."""
        key = self.shelf.add(path)
        self.view.show_models(self.shelf.entries(), key)
        with self.choices.events.model.blocked():  # silent where the key is the same
            self.choices.model = key
        self._choose_model()

    def override_spacing(self) -> None:
        """Ask for the spacing that the scan really has, and give it to its layers."""
        source = self.chosen.first()
        if source is None:
            return
        spacing = self.view.ask_spacing(
            "Spacing of the scan",
            f"Distance between voxel centers of “{source.name}”, in mm. Give it where the file's "
            "own is missing or wrong: the layer is rescaled, and results are saved with it.",
            source.placement.layer_grid.spacing_mm,
        )
        if spacing is not None:
            for layer in self.chosen.layers:
                viewing.respace(layer, spacing)

    def _spacing_found(self, spacing_mm: Triple) -> None:
        """Take a spacing that was found for the user."""
        self._users_spacing = spacing_mm
        self._propose_spacing()

    # -- the scan ------------------------------------------------------------------------------

    def _list_layers(self) -> None:
        names = self.model.card.channel_names if self.model is not None else ("image",)
        self.view.show_layers(self.chosen.candidates(), self.chosen.keys, names)
        self.jobs.layers_changed()
        self._refresh_buttons()

    def _scan_changed(self, another: bool) -> None:
        self._preview.remove()  # of what was there before
        if another:
            self._users_spacing = None
        source = self.chosen.first()
        self.view.show_scan("" if source is None else texts.scan(source.placement))
        if source is not None and source.placement.note:
            self.view.show_message(source.placement.note, "warning")
        self._show_scales()
        self._propose_spacing()
        self._ask()

    def _view_moved(self, event: Any = None) -> None:
        if self.choices.live:
            self._ask()

    # -- spacing -------------------------------------------------------------------------------

    def _native(self) -> Triple | None:
        source = self.chosen.first()
        return None if source is None else source.placement.grid.canonical().spacing_mm

    def _trained(self) -> Any:
        return None if self.model is None else self.model.trained_range_mm

    def _show_scales(self) -> None:
        self._scales = state.make_scales(self._trained(), self._native())
        self.view.show_scales(self._scales)

    def _propose_spacing(self) -> None:
        native, wanted = self._native(), self._users_spacing
        if native is None:
            return
        spacing = self._for_model(wanted or state.first_spacing(self._trained(), native))
        kept = self.choices.locked and len(set(spacing)) == 1
        self.choices.locked = kept if wanted else state.is_isotropic(spacing)
        self.choices.spacing_mm = spacing
        self.view.show_choices(self.choices)

    def _for_model(self, spacing_mm: Triple) -> Triple:
        """A 2-D model works in the planes of the scan: along z there is nothing to choose."""
        native = self._native()
        if self.model is None or self.model.n_dim == 3 or native is None:
            return spacing_mm
        return (native[0], spacing_mm[1], spacing_mm[2])

    # -- questions and answers -----------------------------------------------------------------

    def _choose_model(self, _: Any = None) -> None:
        self.model = None
        self._preview.remove()  # in the names and colors of another model
        self.view.show_model("loading…" if self.choices.model else "No model yet: open one.", "")
        self._show_nothing()
        self._refresh_buttons()
        self._ask()

    def _ask(self, _: Any = None, *, preview: bool = True) -> None:
        """Ask what the current choices would cost and give; the newest question wins."""
        key = self.choices.model
        if self.closed or self._resting or not key:
            return
        if self.model is None:
            self._lane.submit(lambda stop: self.shelf.steps(key), self._answered, self._failed)
            return
        question = self._question(preview)
        if question is None:
            self._show_nothing()
            return

        def steps(stop: Stop) -> Iterator[Any]:
            return self._explorer.answer(question, stop)

        self._lane.submit(steps, self._answered, self._failed)

    def _question(self, preview: bool) -> explore.Question | None:
        source = self.chosen.first()
        if source is None or len(self.chosen.layers) != self.model.in_channels:
            return None
        choices, wish = self.choices, None
        if preview and choices.live and not self.jobs.running:
            z, y, x = source.world_to_index(viewing.view_position(self.viewer)).tolist()
            wish = explore.PreviewWish((z, y, x), choices.preview_ms / 1000, choices.rest_ms / 1000)
        return explore.Question(
            self.chosen.sources(),
            self.model,
            choices.spacing_mm,
            choices.device or None,
            choices.outside,
            self._scales.together,
            wish,
        )

    def _answered(self, answer: Any) -> None:
        match answer:
            case explore.Baked(seconds):
                first = not self._weights
                self._weights = f"weights in {texts.duration(seconds)}"
                # The first estimate measures the machine: that takes seconds, once.
                self.view.show_bake("measuring this machine…" if first else self._weights)
            case explore.Cost(estimate):
                self._show_cost(estimate)
            case explore.Curve():
                self.view.show_curve(answer, self._scales.together.trained)
            case explore.Preview():
                self._show_preview(answer)
            case Devices(entries):
                if not self.choices.device:
                    with self.choices.events.device.blocked():
                        self.choices.device = entries[0][0]
                self.view.show_devices(entries, self.choices.device)
            case Loaded():
                self._take_model(answer.model)

    def _failed(self, error: Exception) -> None:
        if self.model is None:
            self.view.show_model("could not be loaded", "")
        self._show_nothing()
        self.view.show_message(str(error), "error")

    def _show_nothing(self) -> None:
        self.view.show_bake("")
        self.view.show_cost("", True, ())
        self.view.show_accuracy(Accuracy())
        self.view.show_curve(None, None)

    def _take_model(self, model: Any) -> None:
        self.model = model
        self.view.show_model(texts.model(model), texts.card(model))
        self.chosen.want(model.in_channels)
        self._show_scales()
        self._propose_spacing()
        self._refresh_buttons()
        self._ask()

    def _show_cost(self, estimate: Any) -> None:
        self.view.show_bake(self._weights)
        native = self._native()
        if native is None:
            return
        spacing = self.choices.spacing_mm
        notes = state.advice(spacing, native, self._trained(), self.choices.outside)
        if estimate.probe_seconds > _WORTH_A_NOTE * estimate.seconds:
            notes = [*notes, texts.probe(estimate.probe_seconds)]
        self.view.show_cost(texts.cost(estimate), bool(estimate.fits), notes)
        steady = estimate.seconds - estimate.probe_seconds
        self.view.show_point(state.mean_spacing(spacing), steady)
        self.view.show_accuracy(accuracy_at(self.model, spacing, self.choices.outside))

    # -- preview -------------------------------------------------------------------------------

    def _switch_live(self, live: bool) -> None:
        if not live:
            self._preview.remove()
        self._ask()

    def _show_preview(self, preview: explore.Preview) -> None:
        if not self.choices.live or self.jobs.running:
            return
        data = self.chosen.sources()[0].block_layer_data(
            preview.labels,
            preview.start,
            viewing.PREVIEW_NAME,
            self.model.label_names,
            self.model.label_colors,
        )
        self._preview.show(data, above=self.chosen.layers[0], sharp=preview.sharp)

    # -- jobs ----------------------------------------------------------------------------------

    def _make_way(self) -> None:
        """Stop previewing: a run wants the machine, and its result takes the preview's place."""
        self._lane.cancel()
        self._preview.remove()

    def _job_finished(self) -> None:
        """Go on answering; a preview would hide the result, and waits for the next move."""
        self._explorer.forget_costs()
        self._refresh_buttons()
        self._ask(preview=False)

    def _refresh_buttons(self) -> None:
        """Enable the buttons that can be used now."""
        busy = self.jobs.running
        self.view.show_ready(
            run=not busy and bool(self.chosen.layers) and bool(self.choices.model),
            cancel=busy,
            save=not busy and bool(viewing.label_layers(self.viewer)),
        )
