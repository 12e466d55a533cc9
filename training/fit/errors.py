"""What went wrong in a run, in words: the cases behind it, and the way out."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.distributed import DistBackendError

from napari_hyperspace.core.errors import HyperspaceError
from training.sampling.batches import Batch, TrainingBatches


def not_finite(
    batches: TrainingBatches, batch: Batch, logits: Tensor, loss: float
) -> HyperspaceError:
    """Return the error for a loss or gradient that is NaN or infinite.

    Parameters
    ----------
    batches
        The run's batches.
    batch, logits, loss
        The step: samples with bad logits are named, or else all of the step.
    """
    sound = torch.isfinite(logits.detach()).flatten(1).all(dim=1).tolist()
    guilty = [name for name, good in zip(batch.names, sound, strict=True) if not good]
    spacing = " × ".join(f"{step:.2f}" for step in batch.spacing_mm)
    names = ", ".join(guilty or batches.names(batch.step))
    return HyperspaceError(
        f"loss or gradient is not finite at step {batch.step}; the step was not made",
        field="cases",
        found=f"loss {loss} at {spacing} mm, cases {names}",
        fix="Look at these cases, or lower optimizer.learning_rate; the checkpoint is good",
    )


def worker_died(
    batches: TrainingBatches, step: int, workers: int, error: Exception
) -> HyperspaceError:
    """Return the error for a process that was killed while it prepared batches about a step."""
    ahead = range(step, min(step + 1 + workers, len(batches)))
    names = sorted({name for s in ahead for name in batches.names(s)})
    return HyperspaceError(
        f"a process that prepares batches died about step {step}",
        field="cases",
        found=f"{', '.join(names)}: {' '.join(str(error).split()) or type(error).__name__}",
        fix="Go on with --resume; if memory is short, with --set compute.workers=0",
    )


def is_process_loss(error: RuntimeError) -> bool:
    """Whether torch raised this error because another process of the run is gone."""
    return isinstance(error, DistBackendError) or "gloo" in str(error)


def process_lost(run: Path) -> HyperspaceError:
    """Return the error for a run that lost one of its processes."""
    return HyperspaceError(
        "another process of the run ended before its time",
        where=run,
        fix="Go on with --resume: only the steps since the last checkpoint are done again",
    )
