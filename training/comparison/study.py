"""The command `compare`: train missing runs, measure all of them, write one report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.progress import ReportProgress
from training.comparison.config import load_comparison
from training.comparison.page import check_page
from training.comparison.report import write_report
from training.comparison.results import Results, measure
from training.comparison.runs import State, compared_runs, train
from training.config.paths import resolve_path
from training.data import open_dataset
from training.data.splits import read_split
from training.evaluation.measure import Settings


class Study:
    """A comparison with its runs and its report.

    Parameters
    ----------
    path
        Configuration with a section ``comparison``.
    out
        Folder of the runs; ``runs/NAME`` if not given.
    page
        Report; the configuration's if not given, else ``report.md`` in the folder of the runs.

    Raises
    ------
    HyperspaceError
        If the configuration is invalid, a folder has a run of another one, or the report would
        replace another file.
    """

    def __init__(
        self, path: str | os.PathLike[str], out: Path | None = None, page: Path | None = None
    ) -> None:
        self.comparison = load_comparison(path)
        self.section, self.shared = self.comparison.section, self.comparison.shared()
        self.out = out or Path("runs") / self.shared.name
        if page is None and self.section.report is not None:
            page = resolve_path(self.section.report, Path.cwd(), field="comparison.report")
        self.page = page or self.out / "report.md"
        check_page(self.page)
        self.runs = compared_runs(self.comparison, self.out)
        self.states = {run.label: run.state() for run in self.runs}

    def train(self, only: Sequence[str] = ()) -> None:
        """Train missing runs, and resume unfinished ones.

        Parameters
        ----------
        only
            Methods to train; all if empty.
        """
        unknown = sorted(set(only) - set(self.section.methods))
        if unknown:
            raise HyperspaceError(
                "no such method",
                field="--only",
                found=", ".join(unknown),
                expected=", ".join(self.section.methods),
            )
        wanted = {self.section.owner(method) for method in only or self.section.methods}
        for run in self.runs:
            if run.method in wanted and self.states[run.label] is not State.done:
                train(run, self.comparison.base)
                self.states[run.label] = run.state()

    def report(
        self,
        *,
        device: str | None = None,
        processes: int = 1,
        show: ReportProgress = lambda fraction, message: None,
    ) -> dict[str, Any]:
        """Measure the finished runs, write the report, and return its numbers.

        Parameters
        ----------
        device, processes
            As in `training.evaluation.evaluate.evaluate`.
        show
            Called with the fraction measured and the next step.

        Raises
        ------
        HyperspaceError
            If no run is finished, or one was trained on other cases than those of the split.
        """
        done = [run for run in self.runs if self.states[run.label] is State.done]
        if not done:
            raise HyperspaceError(
                "none of the runs is done", where=self.out, fix="Train them: omit --no-train"
            )
        base = self.comparison.base
        dataset = open_dataset(self.shared.data, base)
        assert self.shared.data.split is not None  # checked by `load_comparison`
        split = read_split(resolve_path(self.shared.data.split, base, field="data.split"))
        for run in done:
            run.check_split(split)
        groups = self.section.groups()
        evaluations = {}
        for number, run in enumerate(done):

            def shown(fraction: float, message: str, number: int = number) -> None:
                show((number + fraction) / len(done), message)

            evaluations[run.method, run.seed] = measure(
                self.comparison,
                run,
                dataset,
                split.validation,
                groups,
                Settings(
                    device,
                    tile_shape=self.section.tile_shape,
                    guidance_mm=self.section.guidance_mm,
                ),
                processes=processes,
                show=shown,
            )
        show(1.0, "writing the report")
        results = Results(self.comparison, evaluations)
        return write_report(self.page, results, self.runs, self.states)
