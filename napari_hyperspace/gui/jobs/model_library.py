"""The models that the user can choose: bundled ones and their own files, each loaded once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_hyperspace._resources import DEFAULT_MODEL, REFINE_MODEL
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.gui.jobs.guidance import GuidanceChoice
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.view import Entries

if TYPE_CHECKING:
    from napari_hyperspace.inference.protocols import SpacingModel
    from napari_hyperspace.nets.model import Model


@dataclass(frozen=True)
class AvailableDevices:
    """The devices that can compute: (key, name), the fastest first."""

    entries: Entries


@dataclass(frozen=True)
class ModelPurposes:
    """What the models are for: one line by key."""

    lines: dict[str, str]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that was loaded, its key, and the models that can make a coarse pass for it."""

    key: str
    model: Model
    coarse: Entries = ()


class _Slot:
    """Holds a model once it is loaded. Its own lock keeps one load from blocking another."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.model: Model | None = None


class ModelLibrary:
    """Models by key: the name of an installed one, or the path of a file. Thread-safe.

    Parameters
    ----------
    services
        Loads the models.

    Attributes
    ----------
    guidance
        What guides a guided model. Set on the main thread.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self.guidance: GuidanceChoice | None = None
        self._own: dict[str, str] = {}
        self._purposes: dict[str, str] = {}
        self._slots: dict[str, _Slot] = {}

    def entries(self) -> list[tuple[str, str]]:
        """Return (key, name to show) of every model, bundled ones first.

        That of the section "Correct" is left out: it does not segment by itself.
        """
        bundled = [name for name in self._services.bundled_models() if name != REFINE_MODEL]
        installed = [*bundled, *self._services.added_models()]
        return [*((name, name) for name in installed), *self._own.items()]

    def default(self) -> str:
        """Return the key of the initial model; empty if there is none."""
        keys = [key for key, _ in self.entries()]
        return DEFAULT_MODEL if DEFAULT_MODEL in keys else next(iter(keys), "")

    def find(self, key: str) -> str:
        """Return the key of a model that was used before, or else of the initial one."""
        if key in [known for known, _ in self.entries()]:
            return key
        is_file = Path(key).is_absolute() and Path(key).is_file()
        return self.add(key) if is_file else self.default()

    def add(self, path: str) -> str:
        """Add a model file and return its key.

        The file is read when the model is next loaded, even if it was read before: it may have
        changed.
        """
        key = str(Path(path).resolve())
        self._own[key] = Path(path).stem
        self._slots[key] = _Slot()
        return key

    def forget(self, key: str) -> None:
        """Forget what is known of a model: its file was added or removed."""
        self._slots[key] = _Slot()
        self._purposes.pop(key, None)

    def purposes(self) -> dict[str, str]:
        """Return what each model is for, by key; read from the files, which imports torch."""
        from napari_hyperspace.nets.summary import one_line

        for key, _ in self.entries():
            if key not in self._purposes:
                try:
                    self._purposes[key] = one_line(self._services.read_card(key))
                except HyperspaceError as error:  # said again when the model is chosen
                    self._purposes[key] = f"not readable: {error.problem}"
        return dict(self._purposes)

    def load(self, key: str) -> Model:
        """Return a model; its file is read the first time after it was added.

        Raises
        ------
        HyperspaceError
            If the file is not a valid model, or its model does not segment by itself.
        """
        slot = self._slots.setdefault(key, _Slot())
        with slot.lock:
            if slot.model is None:
                model = self._services.load_model(key)
                if model.head != "labels":
                    raise HyperspaceError(
                        "this model refines labels that are given, and cannot be used here",
                        where=model.name,
                        fix="Use it in the section Correct or with `hyperspace refine`",
                    )
                slot.model = model
            return slot.model

    def load_to_run(self, key: str) -> SpacingModel:
        """Return a model with its guidance, if it is a guided one; not for the main thread.

        Raises
        ------
        HyperspaceError
            As `load`; or the model needs guidance, and there is none.
        """
        return self.bind(self.load(key))

    def bind(self, model: Model) -> SpacingModel:
        """Return a loaded model with its guidance, if it is a guided one; see `load_to_run`."""
        guidance = self.guidance
        if model.guidance is None:
            return model
        if guidance is None:
            raise HyperspaceError(
                "this model needs guidance: labels of its structures",
                where=model.name,
                fix="Open or paint labels, or open a model of the same structures for a coarse "
                "pass",
            )
        return guidance.bind(model, self.load)

    def coarse_models(self, key: str, model: Model) -> Entries:
        """Return the models that segment the structures of a guided one, for a coarse pass.

        The guided model itself comes last: it was not made for that.
        """
        if model.guidance is None:
            return ()
        names = {name.casefold() for name in model.label_names.values()}
        found = []
        for other, text in self.entries():
            try:
                card = self._services.read_card(other)
            except HyperspaceError:  # said when it is chosen
                continue
            fits = {label.name.casefold() for label in card.labels} <= names
            same_images = len(card.channel_names) == model.image_channels
            if other != key and card.head == "labels" and not card.guidance and fits:
                found += [(other, text)] if same_images else []
        if model.guidance.optional:
            found.append((key, model.name))
        return tuple(found)

    def load_steps(self, key: str) -> Iterator[AvailableDevices | ModelPurposes | LoadedModel]:
        """List the devices, read what the models are for, and load a model.

        All of it imports torch, which takes seconds.
        """
        yield AvailableDevices(tuple(self._services.devices()))
        yield ModelPurposes(self.purposes())
        model = self.load(key)
        yield LoadedModel(key, model, self.coarse_models(key, model))
