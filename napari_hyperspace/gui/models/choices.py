"""What the user has set in the dock widget."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from psygnal import SignalGroupDescriptor

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.volume import PostprocessingOptions

if TYPE_CHECKING:
    from napari_hyperspace.inference.options import InferenceOptions

Outside = Literal["extrapolate", "clamp"]
"""What to do with a spacing outside the trained range."""


@dataclass
class Choices:
    """The settings of the dock widget; ``events`` has one psygnal signal per field.

    Parameters
    ----------
    model
        Key of the model: a bundled name or the path of a file.
    device
        ``"cpu"``, ``"cuda:0"``, …; empty: the best one available.
    spacing_mm
        Working spacing in canonical order (z, y, x).
    locked
        Whether one slider sets all three axes.
    live
        Whether to show previews.
    preview_ms
        Longest time that a preview may take.
    rest_ms
        Time without a change of the spacing before the sharp preview starts.
    outside
        What to do with a spacing outside the trained range.
    budget_s, budget_gb
        Time and memory that the button "Fit to budget" allows; 0 GB: the free memory.
    lock_preferred
        Whether the user wants one slider for all axes, where the scan's spacing permits it.
    best, uncertainty
        Whether a run averages several networks, and adds a layer of how uncertain they are; see
        `napari_hyperspace.inference.options.InferenceOptions`. Previews, sweeps, batches and
        corrections use one network.
    largest_component, fill_holes_mm3, split_sides
        Post-processing of the labels; see `napari_hyperspace.postprocess`.
    """

    model: str = ""
    device: str = ""
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    locked: bool = True
    live: bool = False
    preview_ms: int = 300
    rest_ms: int = 150
    outside: Outside = "extrapolate"
    budget_s: float = 30.0
    budget_gb: float = 0.0
    lock_preferred: bool = True
    best: bool = False
    uncertainty: bool = False
    largest_component: bool = False
    fill_holes_mm3: float = 0.0
    split_sides: bool = False
    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def postprocessing(self) -> PostprocessingOptions:
        """Return the options of the post-processing."""
        return PostprocessingOptions(
            largest_component=self.largest_component,
            fill_holes_mm3=self.fill_holes_mm3,
            split_sides=self.split_sides,
        )

    def inference_options(self) -> InferenceOptions:
        """Return the options of work with one network. Imports torch: not for the main thread
        before a model is loaded.
        """
        from napari_hyperspace.inference.options import InferenceOptions

        return InferenceOptions(device=self.device or None, outside=self.outside)

    def run_options(self) -> InferenceOptions:
        """Return the options of a run, and of its estimate; imports torch, too."""
        return replace(
            self.inference_options(), best=self.best, uncertainty=self.best and self.uncertainty
        )
