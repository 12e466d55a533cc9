"""The user chooses the model and the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_hyperspace.core.spacing import Range
from napari_hyperspace.gui.jobs.guidance import GuidanceChoice
from napari_hyperspace.gui.jobs.model_library import (
    AvailableDevices,
    LoadedModel,
    ModelLibrary,
    ModelPurposes,
)
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.formatting import describe_card, describe_model
from napari_hyperspace.gui.models.view import Entries, View

if TYPE_CHECKING:
    from napari_hyperspace.inference.protocols import SpacingModel
    from napari_hyperspace.nets.model import Model


class ModelController:
    """Chooses a model and a device. Models are loaded by whoever runs `load_steps`.

    Parameters
    ----------
    view
        Shows the models, the chosen one and the devices.
    library
        The models.
    choices
        The settings; a model is chosen if they name none, or one that is no longer there.
    """

    chosen = Signal()
    """Another model was chosen, and is not loaded yet."""
    loaded = Signal()
    """The chosen model was loaded."""

    def __init__(self, view: View, library: ModelLibrary, choices: Choices) -> None:
        self._view = view
        self._library = library
        self._choices = choices
        self.model: Model | None = None
        self.coarse_models: Entries = ()
        choices.model = library.find(choices.model)
        self._devices: Entries = [("cpu", "CPU")]  # until all of them are known
        view.show_devices(self._devices, "cpu")
        view.show_models(library.entries(), choices.model)
        choices.events.model.connect(self.unload)

    @property
    def channel_names(self) -> Sequence[str]:
        """Names of the images that the model wants; of one until a model is loaded."""
        if self.model is None:
            return ("image",)
        return self.model.channel_names[: self.model.image_channels]

    @property
    def trained_range_mm(self) -> tuple[Range, ...] | None:
        """The trained range of the loaded model, if there is one."""
        return None if self.model is None else self.model.trained_range_mm

    def choose(self, key: str) -> None:
        """Choose a model by its key."""
        self._choices.model = key

    def choose_device(self, key: str) -> None:
        """Choose a device by its key."""
        self._choices.device = key

    def add_file(self, path: str) -> None:
        """Choose a model file. It is read again even if it was read before."""
        key = self._library.add(path)
        self._view.show_models(self._library.entries(), key)
        with self._choices.events.model.blocked():  # it does not emit if the key is the same
            self._choices.model = key
        self.unload()

    def show(self) -> None:
        """Show the models and the devices with those that are chosen."""
        if self._choices.device and self._choices.device not in [key for key, _ in self._devices]:
            self._choices.device = self._devices[0][0]
        self._view.show_models(self._library.entries(), self._choices.model)
        self._view.show_devices(self._devices, self._choices.device)

    def unload(self) -> None:
        """Have the chosen model loaded again."""
        self.model = None
        self._view.show_model("loading…" if self._choices.model else "No model yet: open one.", "")
        self.chosen.emit()

    def refresh(self, chosen: str = "") -> None:
        """List the models again, after some were added or removed.

        Parameters
        ----------
        chosen
            The model to choose; empty: the present one, or the default if it was removed.
        """
        keys = [key for key, _ in self._library.entries()]
        present = self._choices.model
        key = chosen or (present if present in keys else self._library.default())
        self._view.show_models(self._library.entries(), key)
        self._view.show_model_purposes(self._library.purposes())
        if key != present:
            self._choices.model = key

    def load_steps(self, key: str) -> Iterator[AvailableDevices | ModelPurposes | LoadedModel]:
        """List the devices and load a model, off the main thread; `take` takes each of them."""
        return self._library.load_steps(key)

    def take(self, answer: AvailableDevices | ModelPurposes | LoadedModel) -> None:
        """Show the devices or what models are for, or take a model that was loaded."""
        if isinstance(answer, ModelPurposes):
            self._view.show_model_purposes(answer.lines)
            return
        if isinstance(answer, LoadedModel):
            self.model, self.coarse_models = answer.model, answer.coarse
            self._view.show_model(describe_model(answer.model), describe_card(answer.model))
            self.loaded.emit()
            return
        self._devices = answer.entries
        if self._choices.device not in [key for key, _ in answer.entries]:
            with self._choices.events.device.blocked():  # the default is no change
                self._choices.device = answer.entries[0][0]
        self._view.show_devices(answer.entries, self._choices.device)

    @property
    def guidance(self) -> GuidanceChoice | None:
        """What guides the loaded model."""
        return self._library.guidance

    def bind(self, model: Model) -> SpacingModel:
        """Return a loaded model with its guidance; see `ModelLibrary.bind`."""
        return self._library.bind(model)

    def show_failure(self) -> None:
        """Show that the chosen model could not be loaded."""
        self._view.show_model("could not be loaded", "")
