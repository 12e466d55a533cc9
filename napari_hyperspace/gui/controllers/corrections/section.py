"""What the section "Correct" of the dock does: painting, boxes, adapting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_hyperspace.gui.adapters.input_layers import InputLayers
from napari_hyperspace.gui.controllers.corrections.adapt import AdaptController
from napari_hyperspace.gui.controllers.corrections.box import BoxController
from napari_hyperspace.gui.controllers.corrections.painting import PaintingController
from napari_hyperspace.gui.controllers.results.structures import StructuresController
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.view import View


class CorrectionController:
    """The controllers of the section.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages.
    services, library
        Do the work, with which models.
    choices, layers
        The settings, and the scan.
    runner
        Runs the jobs.
    structures
        The table of structures: its labels are corrected.
    use
        Chooses a model in the dock, by its key.

    Attributes
    ----------
    painting, box, adapt
        What the user can do.
    """

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        library: ModelLibrary,
        choices: Choices,
        layers: InputLayers,
        runner: JobRunner,
        structures: StructuresController,
        use: Callable[[str], None],
    ) -> None:
        self.painting = PaintingController(
            viewer,
            view,
            services,
            choices,
            layers,
            lambda: structures.layer,
        )
        self.box = BoxController(
            viewer,
            view,
            services,
            library,
            choices,
            layers,
            runner,
            lambda: structures.layer,
        )
        self.adapt = AdaptController(
            viewer,
            view,
            services,
            library,
            choices,
            layers,
            runner,
            lambda: structures.layer,
            use,
        )

    def set_active(self, active: bool) -> None:
        """Follow whether the section is expanded."""
        self.painting.set_active(active)
        self.box.set_active(active)
        self.adapt.refresh()

    def refresh(self) -> None:
        """Show what is possible now: layers or models have changed."""
        self.box.refresh()
        self.adapt.refresh()

    def close(self) -> None:
        """Stop all work, and disconnect from the viewer."""
        self.painting.close()
        self.box.close()
