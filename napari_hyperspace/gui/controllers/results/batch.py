"""The user segments all scans of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from napari_hyperspace.core.errors import HyperspaceError, ShouldStop
from napari_hyperspace.core.format import format_seconds, format_spacing, parse_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import Progress
from napari_hyperspace.gui.adapters.layers import LayerData, to_layer_data
from napari_hyperspace.gui.adapters.viewer import add_layer, show_opened_layer
from napari_hyperspace.gui.jobs.model_library import ModelLibrary
from napari_hyperspace.gui.jobs.runner import JobRunner, Steps
from napari_hyperspace.gui.jobs.services import Services
from napari_hyperspace.gui.models.choices import Choices
from napari_hyperspace.gui.models.view import Tone, View

if TYPE_CHECKING:
    from napari_hyperspace.api.predict import Prediction

PolicyKind = Literal["native", "fixed", "budget"]
"""Each scan's own spacing, one spacing for all, or the finest within a budget."""

_GIGABYTE = 1e9
_OPACITY = 0.4  # of labels over their scan


@dataclass(frozen=True)
class BatchRequest:
    """What to segment, and how.

    Parameters
    ----------
    source, target
        Folder of the scans, and folder for the labels.
    kind
        Which working spacing each scan gets.
    spacing
        Text of the spacing for all: "2" or "1,1,3".
    seconds, gigabytes
        The budget per scan; 0 gigabytes: no limit of memory.
    """

    source: str
    target: str
    kind: PolicyKind = "native"
    spacing: str = ""
    seconds: float = 30.0
    gigabytes: float = 0.0

    def spacing_mm(self) -> Triple | None:
        """Return the spacing for all scans; `None`: each scan has its own.

        Raises
        ------
        HyperspaceError
            If the text is no spacing.
        """
        return parse_spacing(self.spacing) if self.kind == "fixed" else None

    def limits(self) -> tuple[float, int | None] | None:
        """Return seconds and bytes of the budget; `None`: there is no budget."""
        if self.kind != "budget":
            return None
        return self.seconds, int(self.gigabytes * _GIGABYTE) if self.gigabytes else None


@dataclass(frozen=True)
class BatchRow:
    """A scan in the table.

    Parameters
    ----------
    name
        File name of the scan.
    state
        What is being done, or what came out.
    spacing, time
        Working spacing and time, once it is segmented.
    tone
        How the state is colored.
    """

    name: str
    state: str = "waiting"
    spacing: str = ""
    time: str = ""
    tone: Tone = "plain"


class BatchView(Protocol):
    """The window of a batch."""

    def show_rows(self, rows: Sequence[BatchRow]) -> None:
        """List the scans."""

    def show_row(self, index: int, row: BatchRow) -> None:
        """Show another state of a scan."""

    def show_state(self, text: str, tone: Tone, fraction: float | None) -> None:
        """Show a message, and how much of the batch is done; `None`: no batch is running."""


@dataclass(frozen=True)
class _RowProgress(Progress):
    """Progress of the whole batch, with the row that has changed."""

    index: int = 0
    row: BatchRow | None = None
    finished: Prediction | None = None


class BatchController:
    """Segments the scans of a folder with model, device and post-processing of the dock.

    Parameters
    ----------
    viewer
        napari's viewer.
    view
        Shows messages of the dock.
    services
        Segment, read and write.
    choices, library
        The settings, and the models.
    runner
        Runs the batch; no other job runs meanwhile.
    """

    def __init__(
        self,
        viewer: Any,
        view: View,
        services: Services,
        choices: Choices,
        library: ModelLibrary,
        runner: JobRunner,
    ) -> None:
        self._viewer = viewer
        self._dock = view
        self._services = services
        self._choices = choices
        self._library = library
        self._runner = runner
        self._window: BatchView | None = None
        self._rows: list[BatchRow] = []
        self._done: dict[int, Prediction] = {}
        self._running = self._cancelled = False
        runner.progressed.connect(self._progressed)
        runner.finished.connect(self._finished)

    def open(self, window: BatchView) -> None:
        """Show the batch in a window from now on."""
        self._window = window
        window.show_rows(self._rows)
        if self._running:
            window.show_state("", "plain", 0.0)
        else:
            self._say(self._summary() if self._rows else "")

    def close(self) -> None:
        """No longer use the window. A running batch continues; the dock shows its progress."""
        self._window = None

    def describe(self) -> str:
        """Return with what the scans are segmented: what is chosen in the dock."""
        choices = self._choices
        parts = [f"Model {Path(choices.model).stem or 'none'}"]
        parts.append(f"device {choices.device or 'default'}")
        cleaning = []
        if choices.largest_component:
            cleaning.append("largest component")
        if choices.fill_holes_mm3:
            cleaning.append(f"holes up to {choices.fill_holes_mm3:g} mm³ filled")
        if choices.split_sides:
            cleaning.append("left and right divided")
        parts.append(f"post-processing: {', '.join(cleaning) or 'none'}")
        return " · ".join(parts)

    def run(self, request: BatchRequest) -> None:
        """Segment all scans of a folder, unless a job is running."""
        if self._runner.running:
            self._say("Another job is running: start the batch once it is done.", "warning")
            return
        if not request.source or not request.target:  # an empty path means the working folder
            self._say("Name the folder of the scans and a folder for the labels.", "error")
            return
        if not self._choices.model:
            self._say("Choose a model in the panel first.", "error")
            return
        try:
            fixed = request.spacing_mm()
            pairs = self._services.list_scans(request.source, request.target)
        except HyperspaceError as error:
            self._say(str(error), "error")
            return
        self._rows = [BatchRow(source.name) for source, _ in pairs]
        self._done = {}
        if self._window is not None:
            self._window.show_rows(self._rows)
        choices = replace(self._choices)  # the user may change them meanwhile
        sources = [source for source, _ in pairs]

        def steps(should_stop: ShouldStop) -> Steps[None]:
            model = self._library.load_to_run(choices.model)
            each_step = self._services.predict_all_steps(
                pairs,
                model,
                spacing_mm=fixed,
                limits=request.limits(),
                options=choices.inference_options(),
                postprocessing=choices.postprocessing(),
                should_stop=should_stop,
            )
            for step in each_step:
                index = sources.index(step.source)
                row = BatchRow(step.source.name, step.message)
                if step.finished is not None:
                    row = _finished_row(step.finished)
                fraction = (index + step.fraction) / len(sources)
                message = f"scan {index + 1} of {len(sources)}"
                yield _RowProgress(fraction, message, index=index, row=row, finished=step.finished)

        self._running, self._cancelled = True, False
        self._runner.start(steps, lambda _: None, f"Segmenting {len(pairs)} scans")
        self._say("…")

    def cancel(self) -> None:
        """Stop the batch; labels that were written are kept."""
        if self._running:
            self._cancelled = True
            self._runner.stop("Cancelled.")

    def open_result(self, index: int) -> None:
        """Open a scan and its labels in the viewer."""
        done = self._done.get(index)
        if done is None or done.error:
            return
        if self._runner.running:
            self._dock.show_message("Open it again once this is done.", "warning")
            return

        def steps(should_stop: ShouldStop) -> Steps[tuple[LayerData, LayerData]]:
            yield Progress(0.0, "reading the scan")
            scan = self._services.read(str(done.source))
            yield Progress(0.5, "reading the labels")
            labels = self._services.read(str(done.target))
            return to_layer_data(scan), to_layer_data(labels, "labels")

        def opened(layers: tuple[LayerData, LayerData]) -> None:
            scan, labels = (add_layer(self._viewer, one) for one in layers)
            show_opened_layer(self._viewer, scan)
            labels.opacity, labels.name = _OPACITY, f"labels · {scan.name}"
            self._dock.show_message(f"Opened {scan.name} with its labels.")

        self._runner.start(steps, opened, f"Reading {done.source.name}")

    def export(self, path: str) -> None:
        """Write the results as a table (CSV)."""
        done = [self._done[index] for index in sorted(self._done)]
        target = Path(path)
        if target.suffix.lower() != ".csv":  # nothing but a table is replaced
            target = target.with_name(f"{target.name}.csv")
        try:
            self._services.write_batch_table(done, str(target))
        except HyperspaceError as error:
            self._say(str(error), "error")
        else:
            self._say(f"Saved {target.name}.", "good")

    def _progressed(self, step: Progress) -> None:
        if not isinstance(step, _RowProgress) or step.row is None:
            return
        self._rows[step.index] = step.row
        if step.finished is not None:
            self._done[step.index] = step.finished
        if self._window is not None:
            self._window.show_row(step.index, step.row)
            self._window.show_state(f"{step.message}…", "plain", step.fraction)

    def _finished(self) -> None:
        if not self._running:
            return
        self._running = False
        for index, row in enumerate(self._rows):
            if index not in self._done:
                self._rows[index] = replace(row, state="not segmented")
                if self._window is not None:
                    self._window.show_row(index, self._rows[index])
        if not self._done and not self._cancelled:  # the dock shows why
            self._say("Nothing was segmented; the panel shows why.", "error")
            return
        text, failed = self._summary(), self._failed()
        whole = len(self._done) == len(self._rows)
        tone: Tone = "good" if whole and not failed else "warning"
        self._say(text, tone)
        self._dock.show_message(text, tone)

    def _failed(self) -> int:
        return sum(bool(each.error) for each in self._done.values())

    def _summary(self) -> str:
        """Say how many scans were segmented, failed, and are left."""
        failed, done = self._failed(), len(self._done)
        parts = [f"{done - failed} of {len(self._rows)} scans segmented"]
        if failed:
            parts.append(f"{failed} failed")
        if done < len(self._rows):
            parts.append(f"{len(self._rows) - done} left")
        return ", ".join(parts) + "."

    def _say(self, text: str, tone: Tone = "plain") -> None:
        if self._window is not None:
            self._window.show_state(text, tone, 0.0 if self._running else None)


def _finished_row(done: Prediction) -> BatchRow:
    name = done.source.name
    if done.error:
        why = done.error.removeprefix(f"{done.source}: ")
        return BatchRow(name, f"failed: {why}", tone="error")
    return BatchRow(
        name,
        f"labels in {done.target.name}",
        format_spacing(done.spacing_mm, collapse=True, digits=3),
        format_seconds(done.seconds),
        "good",
    )
