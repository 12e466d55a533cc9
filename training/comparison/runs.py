"""The runs of a comparison, and their state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import read_json
from training.comparison.config import Comparison
from training.config.fit import FitConfig
from training.data.splits import Split, read_split
from training.fit.preflight import changed_keys
from training.fit.run_folder import RunFolder


class State(StrEnum):
    """State of a run."""

    missing = "missing"
    unfinished = "unfinished"
    done = "done"


@dataclass(frozen=True)
class ComparedRun:
    """A run that a comparison needs.

    Parameters
    ----------
    method
        Trained method.
    seed
        Its seed.
    config
        Configuration of the run.
    folder
        Folder of the run.
    """

    method: str
    seed: int
    config: FitConfig
    folder: RunFolder

    @property
    def label(self) -> str:
        """Method and seed; also the name of the folder."""
        return f"{self.method}-{self.seed}"

    def _stored(self) -> dict[str, Any]:
        fix = "Move the folder away to train again"
        try:
            stored = read_json(self.folder.config, "configuration of the run")
        except HyperspaceError as error:
            raise error.replace(fix=fix) from error
        if not isinstance(stored, dict):
            raise HyperspaceError("a mapping is expected", where=self.folder.config, fix=fix)
        return stored

    def check_split(self, split: Split) -> None:
        """Check that the run was trained and validated on the cases of a split.

        Raises
        ------
        HyperspaceError
            If it was not: cases that it is measured on may be among its training cases.
        """
        own = read_split(self.folder.split)
        if own != split:
            moved = sorted(set(own.training) & set(split.validation))
            raise HyperspaceError(
                "the run was trained on other cases than those of the comparison's split",
                where=self.folder.split,
                field="data.split",
                found=f"{len(moved)} of the validation cases among its training cases",
                fix="Move the folder away to train again, or undo the change of the split",
            )

    def state(self) -> State:
        """Return the state of the run.

        Raises
        ------
        HyperspaceError
            If the folder has a run of another configuration.
        """
        if not self.folder.config.exists():
            return State.missing
        changed = changed_keys(self._stored(), self.config)
        if changed:
            raise HyperspaceError(
                "the configuration of the run in this folder differs from the comparison's",
                where=self.folder.path,
                field=", ".join(changed),
                fix="Move the folder away to train again, or undo the change of the configuration",
            )
        # The report is the last thing that a run writes.
        done = self.folder.model.exists() and self.folder.report.exists()
        return State.done if done else State.unfinished


def compared_runs(comparison: Comparison, out: Path) -> list[ComparedRun]:
    """Return the runs that a comparison needs, in folders ``OUT/METHOD-SEED``."""
    return [
        ComparedRun(
            method, seed, comparison.config(method, seed), RunFolder(out / f"{method}-{seed}")
        )
        for method, seed in comparison.runs()
    ]


def train(run: ComparedRun, base: Path) -> None:
    """Train a run until it is done, starting from its last checkpoint if it has one."""
    from training.fit.trainer import fit

    run.state()  # raises if the folder has a run of another configuration
    # A run that was stopped before its first checkpoint starts again.
    fit(run.config, base, run.folder.path, resume=run.folder.last.exists())
