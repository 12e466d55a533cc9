"""Errors of a run that was started: where they occurred and what the user can do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.distributed import DistBackendError

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple


class NotFiniteError(HyperspaceError):
    """The loss or the gradient of a step is NaN or infinite.

    Parameters
    ----------
    step
        Number of the step, from 0.
    spacing_mm
        Its working spacing (z, y, x).
    cases
        Cases of the samples that cause it.
    loss
        The loss.
    """

    def __init__(self, step: int, spacing_mm: Triple, cases: Sequence[str], loss: float) -> None:
        self.step, self.spacing_mm, self.cases, self.loss = step, spacing_mm, tuple(cases), loss
        super().__init__(
            f"loss or gradient is not finite at step {step}; the weights were not changed",
            field="cases",
            found=f"loss {loss} at {format_spacing(spacing_mm)}, cases {', '.join(cases)}",
            fix="Check these cases, or lower optimizer.learning_rate; "
            "the last checkpoint is not affected",
        )


class WorkerDiedError(HyperspaceError):
    """A process that prepares batches was killed.

    Parameters
    ----------
    step
        The step that was about to be computed, from 0.
    cases
        Cases of the batches in preparation.
    reason
        The error that it caused in this process.
    """

    def __init__(self, step: int, cases: Sequence[str], reason: Exception) -> None:
        self.step, self.cases = step, tuple(cases)
        text = " ".join(str(reason).split()) or type(reason).__name__
        super().__init__(
            f"a process that prepares batches died near step {step}",
            field="cases",
            found=f"{', '.join(cases)}: {text}",
            fix="Continue with --resume; if memory is short, with --set compute.workers=0",
        )


class ProcessLostError(HyperspaceError):
    """One of several training processes ended before the run did.

    Parameters
    ----------
    run
        Folder of the run.
    """

    def __init__(self, run: Path) -> None:
        super().__init__(
            "another process of the run ended early",
            where=run,
            fix="Continue with --resume; the steps since the last checkpoint are repeated",
        )


def is_process_loss(error: RuntimeError) -> bool:
    """Whether torch raised this error because another process of the run ended."""
    # For the backend gloo, torch raises a plain RuntimeError.
    return isinstance(error, DistBackendError) or "gloo" in str(error)
