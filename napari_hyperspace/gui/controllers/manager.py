"""The user looks through the models, adds some and removes some."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.gui.controllers.model import ModelController
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.jobs.worker import Stop, start_job
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.view import Tone

if TYPE_CHECKING:
    from napari_hyperspace.nets.locations import InstalledModel

_ORIGINS = {"own": "added", "folder": "in a folder that was added"}


@dataclass(frozen=True)
class ModelRow:
    """A model in the list.

    Parameters
    ----------
    key
        What the model is chosen by.
    name, origin, purpose
        Its name, where it is from, and what it is for.
    removable
        Whether it was added and can be removed.
    """

    key: str
    name: str
    origin: str
    purpose: str
    removable: bool


class ManagerView(Protocol):
    """The window of the models."""

    def show_rows(self, rows: Sequence[ModelRow], current: str) -> None:
        """List the models and select one of them."""

    def show_card(self, text: str) -> None:
        """Show the card of the selected model."""

    def show_state(self, text: str, tone: Tone, fraction: float | None) -> None:
        """Show a message, and how much of a running job is done; `None`: no job is running."""


class ManagerController:
    """Lists, adds and removes models; one job at a time.

    Parameters
    ----------
    services
        Know, load and download models.
    library
        The models of the dock.
    models
        Chooses the model of the dock.
    choices
        The settings.
    """

    def __init__(
        self,
        services: Services,
        library: ModelLibrary,
        models: ModelController,
        choices: Choices,
    ) -> None:
        self._services = services
        self._library = library
        self._models = models
        self._choices = choices
        self._view: ManagerView | None = None
        self._stop: Stop | None = None

    @property
    def running(self) -> bool:
        """Whether a model is being added."""
        return self._stop is not None

    def open(self, view: ManagerView) -> None:
        """Show the models in a window from now on."""
        self._view = view
        view.show_state("", "plain", 0.0 if self.running else None)
        self._list(self._choices.model)

    def close(self) -> None:
        """Stop what is running, and no longer use the window."""
        self._view = None
        self.cancel()

    def select(self, key: str) -> None:
        """Show the card of a model."""
        from napari_hyperspace.nets.summary import card_text

        try:
            text = card_text(self._services.read_card(key))
        except HyperspaceError as error:
            text = str(error)
        if self._view is not None:
            self._view.show_card(text)

    def use(self, key: str) -> None:
        """Choose a model in the dock."""
        self._models.refresh(key)

    def add_file(self, path: str) -> None:
        """Add a model file."""

        def steps(should_stop: ShouldStop) -> Generator[Progress, None, Sequence[InstalledModel]]:
            yield Progress(0.0, "Checking the model")
            return [self._services.add_model(path)]

        self._start(steps)

    def add_folder(self, path: str) -> None:
        """Add the models of a folder."""

        def steps(should_stop: ShouldStop) -> Generator[Progress, None, Sequence[InstalledModel]]:
            yield Progress(0.0, "Looking through the folder")
            return self._services.add_models_of_folder(path)

        self._start(steps)

    def add_from_web(self, url: str, sha256: str, name: str) -> None:
        """Download a model; checksum and name may be empty."""

        def steps(should_stop: ShouldStop) -> Generator[Progress, None, Sequence[InstalledModel]]:
            added = yield from self._services.add_model_from_web_steps(
                url, sha256 or None, name or None, should_stop
            )
            return [added]

        self._start(steps)

    def cancel(self) -> None:
        """Stop adding; what was downloaded is kept for another try."""
        if self._stop is not None:
            self._stop.set()

    def remove(self, key: str) -> None:
        """Remove a model that was added, or the folder that it is in."""
        model = self._services.added_models().get(key)
        if model is None or self.running:
            return
        try:
            self._services.remove_model(model)
        except HyperspaceError as error:
            self._say(str(error), "error")
            return
        self._library.forget(key)
        self._models.refresh()
        self._list(self._choices.model)
        what = model.name if model.origin == "own" else "The folder"
        self._say(f"{what} was removed from the list.")

    def _start(
        self,
        steps: Callable[[ShouldStop], Generator[Progress, None, Sequence[InstalledModel]]],
    ) -> None:
        if self.running:
            return
        stop = self._stop = Stop()
        self._say("…")
        start_job(
            steps,
            stop=stop,
            yielded=lambda step: self._say(f"{step.message}…", fraction=step.fraction),
            returned=self._added,
            errored=lambda error: self._finish(str(error), "error"),
            finished=lambda: self._ended(stop),
        )

    def _added(self, added: Sequence[InstalledModel]) -> None:
        for each in added:
            self._library.forget(each.name)
        self._models.refresh()
        names = ", ".join(each.name for each in added)
        if added:
            self._list(added[0].name)
        self._finish(f"Added: {names or 'no model with a new name'}.", "good")

    def _finish(self, text: str, tone: Tone) -> None:
        """Say what came out of the job."""
        self._stop = None
        self._say(text, tone)

    def _ended(self, stop: Stop) -> None:
        """Every job ends here, also one that was stopped.

        An error can come after this: napari processes events while it shows the error.
        """
        if self._stop is stop:
            self._finish("Stopped." if stop() else "", "plain")

    def _say(self, text: str, tone: Tone = "plain", fraction: float = 0.0) -> None:
        if self._view is not None:
            self._view.show_state(text, tone, fraction if self.running else None)

    def _list(self, current: str) -> None:
        if self._view is None:
            return
        purposes, added = self._library.purposes(), self._services.added_models()
        bundled = self._services.bundled_models()
        rows = []
        for key, name in self._library.entries():
            if key in added:
                origin = _ORIGINS[added[key].origin]
            else:
                origin = "bundled" if key in bundled else "opened file"
            rows.append(ModelRow(key, name, origin, purposes.get(key, ""), key in added))
        self._view.show_rows(rows, current)
