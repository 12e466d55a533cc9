"""What the section "Correct" of the dock shows, and its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from napari_hyperspace.core.format import format_seconds, format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.gui.models.formatting import format_number
from napari_hyperspace.gui.models.view import Entries, Tone

Meaning = Literal["", "rough", "exact"]
"""What strokes mean: nothing, a rough mask, or voxels that are respected exactly."""

Place = Literal["rectangle", "view"]
"""Where a box is refined: in a rectangle that the user draws, or in what the canvas shows."""

NO_REFINER = (
    "Painting needs a class-conditional model, and none is installed. Add its file under "
    "Model ▸ Manage models…, and open this section again."
)
FIRST_HINT = (
    "“Paint structure”: paint it roughly on a slice or two, and its 3-D shape follows. "
    "“Fix labels”: brush and eraser correct a result."
)
ROUGH_HINT = (
    "Paint the structure on one or a few slices; the answer comes when you stop. "
    "Eraser (key 1) takes away, brush (key 2) adds, Ctrl+Z undoes."
)
DRAW_HINT = "Press Draw, and drag a rectangle around the part to refine."
BOX_NAMES: Mapping[Place, str] = {
    "rectangle": "in a rectangle",
    "view": "in what is shown",
}


@dataclass(frozen=True)
class PaintingState:
    """How strokes are answered now.

    Parameters
    ----------
    meaning
        What strokes mean; empty: painting is off.
    hint, tone
        What to do next, or what was done.
    possible
        Whether a model that answers is installed; `None`: it is not known yet.
    models, model
        The models that answer, and the key of the chosen one.
    finest_mm
        The wanted working spacing.
    busy
        Whether an answer is being computed.
    """

    meaning: Meaning = ""
    hint: str = FIRST_HINT
    tone: Tone = "plain"
    possible: bool | None = None
    models: Entries = ()
    model: str = ""
    finest_mm: float = 1.0
    busy: bool = False


@dataclass(frozen=True)
class BoxState:
    """What is refined in a box.

    Parameters
    ----------
    where
        In a rectangle, or in what the canvas shows.
    spacing_mm
        Working spacing.
    depth_mm
        Extent through the slices; 0: as much as the shorter side of the rectangle.
    estimate, tone
        What it will take, or why it is not possible.
    can_start
        Whether it can be started.
    """

    where: Place = "rectangle"
    spacing_mm: float = 1.0
    depth_mm: float = 0.0
    estimate: str = ""
    tone: Tone = "plain"
    can_start: bool = False


@dataclass(frozen=True)
class AdaptState:
    """An adapted model that waits for a decision.

    Parameters
    ----------
    text, tone
        Before and after; or what adapting does.
    can_start
        Whether it can be started.
    waiting
        Whether there is an adapted model to keep or discard.
    shows_after
        Whether the labels of the adapted model are shown, and not those before.
    """

    text: str = ""
    tone: Tone = "plain"
    can_start: bool = False
    waiting: bool = False
    shows_after: bool = True


def exact_hint(name: str, value: int) -> str:
    """Say which structure strokes correct, and how to correct another one."""
    which = f"{name} ({value})" if name else f"label {value}"
    return (
        f"Correcting {which}: brush (key 2) where it is missing, eraser (key 1) where it is too "
        "much. Click a row of the table, or pick with key 5, for another structure."
    )


def describe_answer(spacing_mm: Triple, seconds: float, changed: int, finest_mm: float) -> str:
    """Say what an answer took, and what to do next."""
    at = format_spacing(spacing_mm, collapse=True)
    what = f"Answered at {at} in {format_seconds(seconds)}"
    if not changed:
        return f"{what}: nothing to change."
    if min(spacing_mm) > finest_mm * 1.01:
        what += " (coarser, because it is large)"
    return f"{what}. Go on painting or erasing; Ctrl+Z brings back what you painted."


def describe_box(changed: int, volume_ml: float, spacing_mm: Triple, seconds: float) -> str:
    """Say what the refinement of a box has changed."""
    at = format_spacing(spacing_mm, collapse=True)
    if not changed:
        return f"Refined at {at} in {format_seconds(seconds)}: no voxel has changed."
    return (
        f"Refined at {at} in {format_seconds(seconds)}: {changed} voxels "
        f"({format_number(volume_ml)} ml) have changed. Ctrl+Z takes it back."
    )


def describe_adapted(before: float, after: float, seconds: float, spacing_mm: Triple) -> str:
    """Compare an adapted model with the original one on the corrected scan."""
    return (
        f"Adapted at {format_spacing(spacing_mm, collapse=True)} in {format_seconds(seconds)}. "
        f"Mean Dice with your labels: {before:.3f} before, {after:.3f} after, on this scan; "
        "less is gained on others."
    )
