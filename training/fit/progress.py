"""Progress of a run on stderr."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from napari_hyperspace.core.format import format_seconds

_PLAIN_INTERVAL_S = 30.0


class ProgressDisplay:
    """A progress bar with loss, Dice and remaining time; plain lines if stderr is not a terminal.

    Parameters
    ----------
    name
        Name of the run.
    first_step, steps
        Step to start from, and number of steps.
    enabled
        Whether to show anything: only one of several processes does.
    """

    def __init__(self, name: str, first_step: int, steps: int, enabled: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not enabled)
        self.steps = steps
        self._first_step = first_step
        self._started = time.monotonic()
        self._last_line = self._started
        self._dice = ""  # nothing is shown before the first validation
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[scores]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            disable=not (enabled and self.console.is_terminal),
        )
        self._task: TaskID = self._bar.add_task(name, total=steps, completed=first_step, scores="")

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def step(self, step: int, loss: float) -> None:
        """Show the number of steps done and the loss of the last one."""
        scores = f"loss {loss:.3f}{self._dice}"
        self._bar.update(self._task, completed=step, scores=scores)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._last_line >= _PLAIN_INTERVAL_S:
            self._last_line = now
            rate = (step - self._first_step) / (now - self._started)
            left = (self.steps - step) / rate if rate else float("inf")
            self.message(
                f"step {step}/{self.steps}  {scores}  "
                f"{rate:.2f} steps/s  {format_seconds(left)} left"
            )

    def validation(self, step: int, dice: float, best: bool) -> None:
        """Show the result of a validation."""
        self._dice = f"  Dice {dice:.4f}"
        self.message(f"step {step}: validation Dice {dice:.4f}{' (best so far)' if best else ''}")

    def message(self, text: str) -> None:
        """Show a line of text."""
        self.console.print(text, highlight=False)
