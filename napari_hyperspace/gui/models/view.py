"""What the controller needs of whatever shows it: the dock widget, or a mock in tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.models.state import Choices, Range, Scales

Entries = Sequence[tuple[str, str]]  # (key, what the user reads)
Tone = Literal["plain", "good", "warning", "error"]


@dataclass(frozen=True)
class Accuracy:
    """What Dice to expect at the current spacing.

    Parameters
    ----------
    text
        In words.
    measured
        (spacing, Dice) of the measurements in the proportions of the spacing.
    joined
        Whether what lies between them is known too.
    current
        (spacing, Dice) now, if known.
    """

    text: str = ""
    measured: tuple[tuple[float, float], ...] = ()
    joined: bool = False
    current: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Curve:
    """What it would take at other spacings: geometric means, and an estimate for each."""

    spacings_mm: tuple[float, ...]
    estimates: tuple[Any, ...]


@dataclass(frozen=True)
class StructureRow:
    """A row of the table of structures; see `measures.Structure`.

    Parameters
    ----------
    color
        Of its first value, "#rrggbb".
    visible
        Whether it is drawn.
    """

    values: tuple[int, ...]
    name: str
    color: str
    visible: bool
    voxels: int
    volume_ml: float
    mean: float


class StructuresView(Protocol):
    """Shows the structures of a Labels layer."""

    def show_structures(self, rows: Sequence[StructureRow], layer: str, sides: bool) -> None:
        """List the structures of a layer; say whether there are sides to add up."""

    def show_in_3d(self, shown: bool) -> None:
        """Say whether the viewer shows three dimensions."""


class View(Protocol):
    """Shows what it is told; asks the user what it is told to ask."""

    def show_models(self, entries: Entries, current: str) -> None:
        """Fill the chooser of models."""

    def show_devices(self, entries: Entries, current: str) -> None:
        """Fill the chooser of devices."""

    def show_layers(
        self, entries: Entries, current: Sequence[str], channels: Sequence[str]
    ) -> None:
        """Fill the choosers of layers: one for each input channel of the model."""

    def show_scan(self, text: str) -> None:
        """Describe the chosen layer."""

    def show_model(self, text: str, details: str) -> None:
        """Describe the chosen model, in short and at length."""

    def show_choices(self, choices: Choices) -> None:
        """Show what is chosen, without saying that the user chose it."""

    def show_scales(self, scales: Scales) -> None:
        """Draw the scales of the spacing sliders."""

    def show_cost(self, text: str, fits: bool, notes: Sequence[str]) -> None:
        """Show what a run at the current spacing would take, and what to know of it."""

    def show_bake(self, text: str) -> None:
        """Show how long making the weights took."""

    def show_curve(self, curve: Curve | None, trained: Range | None) -> None:
        """Show the cost over spacings."""

    def show_accuracy(self, accuracy: Accuracy) -> None:
        """Show what Dice to expect at the current spacing, and where it was measured."""

    def show_point(self, spacing_mm: float, seconds: float) -> None:
        """Show where the current spacing lies on the curve."""

    def show_message(self, text: str, tone: Tone = "plain") -> None:
        """Tell the user something; plain text."""

    def show_progress(self, fraction: float | None) -> None:
        """Show how far the work is; `None`: none is being done."""

    def show_ready(self, *, run: bool, cancel: bool, save: bool) -> None:
        """Enable and disable the buttons."""

    def ask_choice(self, title: str, question: str, options: Sequence[str]) -> int | None:
        """Ask for one of several; `None` if the user declines."""

    def ask_spacing(self, title: str, question: str, spacing_mm: Triple) -> Triple | None:
        """Ask for a spacing; `None` if the user declines."""

    def ask_save_path(self, suggestion: str) -> str | None:
        """Ask where to save; `None` if the user declines."""
