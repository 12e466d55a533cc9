"""The measurements of a comparison's runs, and their pooling over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from napari_hyperspace.core.progress import ReportProgress
from training.comparison.config import Comparison, TableSection
from training.comparison.runs import ComparedRun
from training.data.base import DataSet
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.measure import Settings
from training.evaluation.plan import Group
from training.evaluation.record import dice_records, write_card


@dataclass(frozen=True)
class Results:
    """The measurements of all finished runs.

    Parameters
    ----------
    comparison
        The comparison.
    evaluations
        By trained method and seed; each also has the rows of the methods that use its networks.
    """

    comparison: Comparison
    evaluations: Mapping[tuple[str, int], Evaluation]

    @property
    def data(self) -> str:
        """Name of the data set."""
        return self._any.data

    @property
    def n_cases(self) -> int:
        """Number of cases."""
        return len(self._any.cases)

    @property
    def _any(self) -> Evaluation:
        return next(iter(self.evaluations.values()))

    def seeds(self, table: TableSection) -> dict[str, list[int]]:
        """Return the methods of a table that have finished runs, each with the seeds of these."""
        section = self.comparison.section
        there = {
            method: [
                seed
                for seed in section.seeds(table, method)
                if (section.owner(method), seed) in self.evaluations
            ]
            for method in table.methods
        }
        return {method: seeds for method, seeds in there.items() if seeds}

    def pool(self, seeds: Mapping[str, Iterable[int]]) -> Evaluation:
        """Return the measurements of methods, each over some seeds; rows get a column ``seed``.

        A sample is then the mean over labels and seeds.
        """
        section = self.comparison.section
        parts = {
            (method, seed): self.evaluations[section.owner(method), seed]
            for method, own in seeds.items()
            for seed in own
        }
        rows = [
            part.rows[part.rows["model"] == method].assign(seed=seed)
            for (method, seed), part in parts.items()
        ]
        known = {method.label: method for part in parts.values() for method in part.methods}
        return replace(
            self._any,
            methods=[known[name] for name in seeds],
            models={label: m for part in parts.values() for label, m in part.models.items()},
            rows=pd.concat(rows, ignore_index=True),
        )


def measure(
    comparison: Comparison,
    run: ComparedRun,
    dataset: DataSet,
    cases: Sequence[str],
    groups: Sequence[Group],
    settings: Settings,
    *,
    processes: int = 1,
    show: ReportProgress = lambda fraction, message: None,
) -> Evaluation:
    """Measure a run by all methods that use it; earlier measurements in its folder are kept.

    The Dice at fixed spacings is stored in the card of its model file.

    Parameters
    ----------
    comparison
        The comparison.
    run
        The run.
    dataset, cases, groups, settings, processes, show
        As in `training.evaluation.evaluate.evaluate`.
    """
    methods = comparison.used(run.method, run.folder.model)
    found = evaluate(
        methods,
        dataset,
        cases,
        groups,
        settings=settings,
        rows_file=rows_file(run),
        processes=processes,
        show=lambda fraction, message: show(fraction, f"{run.label}: {message}"),
    )
    records = dice_records(found, methods[0])
    if records and methods[0].load().card.dice != records:
        write_card(found, methods[0])
    return found


def rows_file(run: ComparedRun) -> Path:
    """Return the file of a run's measurements."""
    return run.folder.path / "evaluation" / "rows.csv"
