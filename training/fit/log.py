"""Record steps and validations of a run in its log, in TensorBoard and on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from napari_hyperspace.core.geometry import Triple
from training.evaluation.scores import SpacingScore
from training.fit.progress import ProgressDisplay
from training.fit.run_folder import RunFolder


class TrainingLog:
    """Records the steps and validations of a run.

    Parameters
    ----------
    run
        Folder of the run.
    name, first_step, steps
        As in `ProgressDisplay`.
    enabled
        Whether to record anything: only one of several processes does.
    """

    def __init__(
        self, run: RunFolder, name: str, first_step: int, steps: int, enabled: bool
    ) -> None:
        self.run = run
        self.progress = ProgressDisplay(name, first_step, steps, enabled)
        self.writer = (
            SummaryWriter(str(run.tensorboard), purge_step=first_step + 1) if enabled else None
        )

    def __enter__(self) -> TrainingLog:
        self.progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.progress.__exit__(kind, error, traceback)
        if self.writer is not None:
            self.writer.close()

    def training(
        self,
        step: int,
        *,
        loss: float,
        learning_rate: float,
        gradient_norm: float,
        spacing_mm: Triple,
        seconds: float,
    ) -> None:
        """Record the mean loss since the last entry, and the other values of the last step."""
        if self.writer is None:
            return
        self.run.append(
            {
                "event": "training",
                "step": step,
                "loss": loss,
                "learning_rate": learning_rate,
                "gradient_norm": gradient_norm,
                "spacing_mm": [round(value, 4) for value in spacing_mm],
                "seconds": round(seconds, 2),
            }
        )
        self.writer.add_scalar("training/loss", loss, step)
        self.writer.add_scalar("training/learning rate", learning_rate, step)

    def validation(
        self,
        step: int,
        *,
        dice: float,
        best: bool,
        scores: Sequence[SpacingScore],
        seconds: float,
    ) -> None:
        """Record a validation and the time that it took."""
        if self.writer is None:
            return
        self.progress.validation(step, dice, best)
        self.run.append(
            {
                "event": "validation",
                "step": step,
                "dice": dice,
                "spacings": [score.to_dict() for score in scores],
                "seconds": round(seconds, 2),
            }
        )
        self.writer.add_scalar("validation/dice", dice, step)
        for score in scores:
            place = "x".join(f"{value:g}" for value in score.spacing_mm)
            self.writer.add_scalar(f"validation/dice at {place} mm", score.mean, step)
