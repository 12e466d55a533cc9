"""The interface that the controllers show their state through: the dock, or a mock in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.scales import Scales

if TYPE_CHECKING:
    from napari_hyperspace.api.estimate import Estimate

Entries = Sequence[tuple[str, str]]
"""Entries of a chooser: (key, name shown to the user)."""

Tone = Literal["plain", "good", "warning", "error"]
"""How a message is colored."""


@dataclass(frozen=True)
class Accuracy:
    """The Dice to expect at the current spacing.

    Parameters
    ----------
    text
        A sentence for the user.
    measured
        (spacing, Dice) of the measurements with the proportions of the current spacing.
    joined
        Whether to connect the measurements by a line: Dice is interpolated between them.
    current
        (spacing, expected Dice) at the current spacing, if known.
    """

    text: str = ""
    measured: tuple[tuple[float, float], ...] = ()
    joined: bool = False
    current: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class CostOverSpacing:
    """The estimated cost over the range of spacings.

    Parameters
    ----------
    spacings_mm
        Geometric mean of each spacing.
    estimates
        The estimate at each of them.
    """

    spacings_mm: tuple[float, ...]
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True)
class StructureRow:
    """A row of the table of structures; see `napari_hyperspace.core.structures.Structure`.

    Parameters
    ----------
    color
        Color of its first label value, "#rrggbb".
    visible
        Whether the viewer shows it.
    compared_ml, dice
        Its volume in the result that this one is compared with, and the Dice of the two; `None`
        without a comparison, NaN if only one of the results can have the structure.
    """

    values: tuple[int, ...]
    name: str
    color: str
    visible: bool
    voxels: int
    volume_ml: float
    mean: float
    compared_ml: float | None = None
    dice: float | None = None


class StructuresView(Protocol):
    """Shows the structures of a Labels layer."""

    def show_structures(self, rows: Sequence[StructureRow], layer: str, sides: bool) -> None:
        """List the structures of a layer.

        Parameters
        ----------
        rows
            The structures.
        layer
            Name of the layer; empty if there is none.
        sides
            Whether there are left and right structures that can be summed.
        """

    def show_in_3d(self, shown: bool) -> None:
        """Show whether the viewer is in 3-D mode."""


class View(Protocol):
    """Shows the state and asks the user questions."""

    def show_models(self, entries: Entries, current: str) -> None:
        """Fill the chooser of models."""

    def show_model_purposes(self, lines: Mapping[str, str]) -> None:
        """Show what the models in the chooser are for: one line by key."""

    def show_devices(self, entries: Entries, current: str) -> None:
        """Fill the chooser of devices."""

    def show_layers(
        self, entries: Entries, current: Sequence[str], channels: Sequence[str]
    ) -> None:
        """Fill the choosers of layers: one per input channel of the model."""

    def show_guidance(
        self, entries: Entries | None, current: str, spacing_mm: float | None
    ) -> None:
        """Show what can guide the model, and the spacing of a coarse pass; `None`: nothing."""

    def show_scan(self, text: str, hint: str = "") -> None:
        """Describe the chosen layer; if there is none, ``hint`` says why, or what to do."""

    def show_model(self, text: str, details: str) -> None:
        """Describe the chosen model: on one line, and at length."""

    def show_choices(self, choices: Choices) -> None:
        """Show the current settings, without emitting that the user changed them."""

    def show_scales(self, scales: Scales) -> None:
        """Draw the scales of the spacing sliders."""

    def show_cost(self, text: str, fits: bool, notes: Sequence[str]) -> None:
        """Show the estimated cost of a run at the current spacing, and notes about the spacing."""

    def show_estimating(self, text: str) -> None:
        """Show that the cost shown is of other choices, until `show_cost`."""

    def show_bake(self, text: str) -> None:
        """Show how long making the network's weights took."""

    def show_curve(self, curve: CostOverSpacing | None, trained: Range | None) -> None:
        """Show the cost over the range of spacings."""

    def show_preview(self, text: str, tone: Tone = "plain") -> None:
        """Show what the preview is of, or why there is none; empty: previews are off."""

    def show_accuracy(self, accuracy: Accuracy) -> None:
        """Show the Dice to expect at the current spacing, and the measurements."""

    def show_point(self, spacing_mm: float, seconds: float) -> None:
        """Mark the current spacing on the curve."""

    def show_message(self, text: str, tone: Tone = "plain") -> None:
        """Show a message in plain text."""

    def show_progress(self, fraction: float | None, text: str = "") -> None:
        """Show progress, stage and time left of the running job; `None`: no job is running."""

    def show_ready(self, *, run: bool, cancel: bool, save: bool) -> None:
        """Enable and disable the buttons."""

    def ask_choice(self, title: str, question: str, options: Sequence[str]) -> int | None:
        """Let the user choose one option and return its index; `None` if they decline."""

    def ask_spacing(
        self, title: str, question: str, spacing_mm: Triple, reset_mm: Triple | None = None
    ) -> Triple | None:
        """Ask for a spacing; `None` if the user declines.

        Parameters
        ----------
        title, question
            What is asked.
        spacing_mm
            The initial numbers; those that the user leaves alone are returned bit for bit.
        reset_mm
            What the user can go back to, such as the spacing that a file states.
        """

    def ask_save_path(self, suggestion: str) -> str | None:
        """Ask for a path to save to; `None` if the user declines."""
