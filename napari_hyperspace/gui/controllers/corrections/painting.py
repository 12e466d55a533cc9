"""The user paints, and structures are segmented around the strokes. Main thread only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.adapters.label_attributes import label_names
from napari_hyperspace.gui.adapters.layers import take
from napari_hyperspace.gui.adapters.painting.hints import Hints
from napari_hyperspace.gui.adapters.painting.layers import (
    depth_axis,
    painting_layer,
    put_down_brush,
    scan_under,
    take_up_brush,
)
from napari_hyperspace.gui.adapters.painting.strokes import PaintedLayer, Stroke
from napari_hyperspace.gui.adapters.viewer import label_layers
from napari_hyperspace.gui.jobs.answers import Answer, AnswerEngine, Prepared, Refiners
from napari_hyperspace.gui.jobs.later import later
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.worker import Lane, Stop
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.correction import (
    FIRST_HINT,
    NO_REFINER,
    ROUGH_HINT,
    Meaning,
    PaintingState,
    describe_answer,
    exact_hint,
)
from napari_hyperspace.gui.models.view import Tone, View

if TYPE_CHECKING:
    from napari.layers import Labels

REST_S = 0.3
"""Time without a stroke before it is answered."""


class PaintingController:
    """Answers to strokes on a Labels layer; each answer is one step of its own undo.

    A newer stroke cancels the answer that is being computed.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    services
        Segment.
    choices
        The device.
    layers
        The scan that a new layer is painted for.
    labels
        Returns the labels in the table of structures. A click on a row selects its label.
    rest_s
        Time without a stroke before it is answered.
    """

    started = Signal()
    """Painting begins: previews would cover it."""
    changed = Signal(object)
    """What the section shows, a `PaintingState`."""

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        choices: Choices,
        layers: InputLayers,
        labels: Callable[[], Any],
        rest_s: float = REST_S,
    ) -> None:
        self._viewer = viewer
        self._view = view
        self._choices = choices
        self._layers = layers
        self._labels = labels
        self._rest_s = rest_s
        self._engine = AnswerEngine(services)
        self._lane = Lane()
        self._state = PaintingState()
        self._painted: PaintedLayer | None = None
        self._hints = Hints()
        self._pending: list[Stroke] = []  # not yet answered
        self._pressed = False
        self._prepared = ""  # key of the model that is ready
        self._wanted: Meaning = ""  # what the user chose before the models were known
        viewer.layers.events.removed.connect(self._removed)

    def close(self) -> None:
        """Stop, and disconnect from the viewer."""
        self._viewer.layers.events.removed.disconnect(self._removed)
        self._leave()
        self._lane.close()

    @property
    def is_idle(self) -> bool:
        """Whether no answer is being computed."""
        return self._lane.is_idle

    @property
    def state(self) -> PaintingState:
        """What the section shows."""
        return self._state

    @property
    def layer(self) -> Labels | None:
        """The layer that is painted on."""
        return None if self._painted is None else self._painted.layer

    # -- what the user chooses -----------------------------------------------------------------

    def set_active(self, active: bool) -> None:
        """Look for models when the section is expanded; stop when it is collapsed."""
        if not active:
            self.stop()
        elif not self._state.possible:  # one may have been added meanwhile
            self._find()

    def choose_model(self, key: str) -> None:
        """Choose the model that answers."""
        self._set(model=key)
        if self._painted is not None:
            self._prepare()

    def set_spacing(self, finest_mm: float) -> None:
        """Set the wanted working spacing."""
        self._set(finest_mm=finest_mm)

    def start(self, meaning: Meaning) -> None:
        """Take up the brush; the same meaning again puts it down."""
        if meaning == self._state.meaning:
            self.stop()
            return
        if self._state.possible is None:
            self._wanted = meaning
            self._find()
            return
        if not self._state.possible:
            self._set(meaning="", hint=NO_REFINER, tone="warning")
            return
        self._leave()
        try:
            layer = self._target(meaning)
            scan_under(self._viewer, layer)
        except HyperspaceError as error:
            self._set(meaning="", hint=str(error), tone="warning")
            return
        self.started.emit()
        self._hints = Hints(rough=meaning == "rough")
        self._painted = PaintedLayer(
            layer,
            stroked=self._stroked,
            pressed=self._press,
            released=self._release,
            undone=self._undone,
        )
        layer.events.selected_label.connect(self._show_hint)
        take_up_brush(self._viewer, layer)
        self._set(meaning=meaning)
        self._show_hint()
        self._prepare()

    def stop(self) -> None:
        """Put down the brush."""
        self._wanted = ""
        if self._state.meaning:
            self._leave()
            self._set(meaning="", hint=FIRST_HINT, tone="plain")

    def _target(self, meaning: Meaning) -> Labels:
        """Return the layer to paint on."""
        if meaning == "rough":
            if not self._layers.layers:
                raise HyperspaceError("there is no scan to paint on", fix="Open one first")
            return painting_layer(self._viewer, self._layers.layers[0])
        active = self._viewer.layers.selection.active
        layer: Labels | None = active if active in label_layers(self._viewer) else self._labels()
        if layer is None:
            raise HyperspaceError("there are no labels to correct", fix="Run a segmentation first")
        return layer

    def _leave(self) -> None:
        self._lane.cancel()
        painted, self._painted = self._painted, None
        self._pending, self._pressed = [], False
        if painted is not None:
            painted.layer.events.selected_label.disconnect(self._show_hint)
            painted.close()
            put_down_brush(painted.layer)

    # -- models --------------------------------------------------------------------------------

    def _find(self) -> None:
        def steps(stop: Stop) -> Iterator[Refiners]:
            yield self._engine.find()

        self._set(hint="Looking for models…")
        self._lane.submit(steps, self._found, self._fail)

    def _found(self, found: Refiners) -> None:
        keys = [key for key, _ in found.entries]
        model = self._state.model if self._state.model in keys else next(iter(keys), "")
        hint, tone = (FIRST_HINT, "plain") if keys else (NO_REFINER, "warning")
        self._set(possible=bool(keys), models=tuple(found.entries), model=model)
        self._say(hint, "plain" if tone == "plain" else "warning")
        wanted, self._wanted = self._wanted, ""
        if wanted:
            self.start(wanted)

    def _prepare(self) -> None:
        """Load the model and make its network while the user paints."""
        layer = self.layer
        if layer is None or self._pending or self._prepared == self._state.model:
            return
        scan = take(scan_under(self._viewer, layer))
        key, finest, device = self._state.model, self._state.finest_mm, self._choices.device

        def steps(stop: Stop) -> Iterator[Prepared]:
            yield self._engine.prepare(key, scan, finest, device, stop)

        def done(prepared: Prepared) -> None:
            self._prepared = key

        self._lane.submit(steps, done, self._fail)

    # -- strokes -------------------------------------------------------------------------------

    def _press(self) -> None:
        """Cancel the running answer: it would be written into the middle of a stroke."""
        self._pressed = True
        self._lane.cancel()

    def _release(self) -> None:
        self._pressed = False
        self._ask()

    def _stroked(self, stroke: Stroke) -> None:
        painted = self._painted
        assert painted is not None
        if self._hints.rough:
            self._hints.outline(stroke, painted.layer.data, depth_axis(self._viewer))
        self._pending.append(stroke)
        if not self._pressed:
            later(self._ask)  # napari reports some edits before it makes them

    def _undone(self) -> None:
        """Forget what was undone; an answer is computed for the next stroke only."""
        self._lane.cancel()
        self._pending = []
        self._set(busy=False)
        self._show_hint()

    def _ask(self) -> None:
        """Answer to the strokes that are not answered yet."""
        painted = self._painted
        if painted is None or not self._pending:
            return
        try:
            scan = take(scan_under(self._viewer, painted.layer))
            part = self._hints.part(
                scan.placement.layer_grid,
                painted.layer.data,
                painted.strokes,
                self._pending,
                bool(painted.layer.preserve_labels),
            )
        except HyperspaceError as error:
            self._fail(error)
            return
        key, finest, device = self._state.model, self._state.finest_mm, self._choices.device

        def steps(stop: Stop) -> Iterator[Answer]:
            stop.rest(self._rest_s)
            yield self._engine.answer(key, scan, part, finest, device, stop)

        self._set(busy=True)
        self._say("Segmenting around your strokes…")
        self._lane.submit(steps, self._take, self._fail)

    def _take(self, answer: Answer) -> None:
        painted = self._painted
        if painted is None:
            return
        self._pending = []
        changed = painted.write(answer.box, answer.labels)
        self._set(busy=False)
        finest = self._state.finest_mm
        text = describe_answer(answer.spacing_mm, answer.seconds, changed, finest)
        self._say(text, "good")
        self._prepare()  # the first stroke may have interrupted it

    def _fail(self, error: Exception) -> None:
        self._pending = []
        self._set(busy=False)
        self._say(str(error), "error")

    # -- what is shown -------------------------------------------------------------------------

    def _removed(self, event: Any = None) -> None:
        if self._painted is not None and event is not None and event.value is self._painted.layer:
            self.stop()

    def _show_hint(self, event: Any = None) -> None:
        layer = self.layer
        if layer is None:
            return
        if self._hints.rough:
            self._say(ROUGH_HINT)
        else:
            value = int(layer.selected_label)
            self._say(exact_hint(label_names(layer).get(value, ""), value))

    def _say(self, hint: str, tone: Tone = "plain") -> None:
        self._set(hint=hint, tone=tone)

    def _set(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        self.changed.emit(self._state)
