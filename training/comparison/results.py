"""What the runs of a comparison reach: measured run by run, pooled over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from training.comparison.config import Comparison, TableSection
from training.comparison.runs import ComparedRun
from training.data.base import DataSet
from training.evaluation.evaluate import Evaluation, evaluate
from training.evaluation.measure import Settings
from training.evaluation.plan import Group
from training.evaluation.record import dice_records, write_card


@dataclass(frozen=True)
class Results:
    """The measurements of all runs that are done.

    Parameters
    ----------
    comparison
        What is compared.
    evaluations
        By method that is trained and seed; each also holds the methods that take its networks.
    """

    comparison: Comparison
    evaluations: Mapping[tuple[str, int], Evaluation]

    def seeds(self, table: TableSection) -> dict[str, list[int]]:
        """Return the methods of a table that are there, each with the seeds of its runs."""
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
        """Return the measurements of methods, each over some seeds.

        A sample is then the mean over labels and seeds.
        """
        section = self.comparison.section
        runs = dict.fromkeys((section.owner(m), seed) for m, own in seeds.items() for seed in own)
        parts = [self.evaluations[run] for run in runs]
        known = {method.label: method for part in parts for method in part.methods}
        return replace(
            parts[0],
            methods=[known[name] for name in seeds],
            models={label: model for part in parts for label, model in part.models.items()},
            rows=[row for part in parts for row in part.rows],
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
    show: Callable[[float, str], None] = lambda fraction, message: None,
) -> Evaluation:
    """Measure a run in all the ways it is used; what was measured before is kept in its folder.

    The Dice at fixed spacings goes into the card of its model file.
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
