"""Evaluating models on a data set: what is missing is measured, what is there is kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import write_text
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.inference.plan import working_spacing
from napari_hyperspace.nets.card import ModelCard
from training.data.base import DataSet, digest
from training.evaluation.measure import Measurer, Settings
from training.evaluation.methods import Method, check_fit
from training.evaluation.plan import Group
from training.evaluation.rows import (
    Key,
    Row,
    append_rows,
    read_rows,
    to_csv,
    write_rows,
)

ReportProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated, and its rows.

    Parameters
    ----------
    data
        Name of the data set.
    label_names
        Name of each label value.
    methods
        In the order of the table's columns.
    models
        Identity and trained range of each method, by its label.
    cases
        Own spacing (z, y, x) of each case, by its name.
    groups
        In the order of the table's rows.
    rows
        By case, spacing, method and label.
    settings
        What all measurements shared.
    """

    data: str
    label_names: Mapping[int, str]
    methods: Sequence[Method]
    models: Mapping[str, dict[str, Any]]
    cases: Mapping[str, Triple]
    groups: Sequence[Group]
    rows: Sequence[Row]
    settings: Settings
    _index: dict[Key, list[Row]] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for row in self.rows:
            self._index.setdefault(row.key, []).append(row)

    def at(self, method: Method, case: str, spacing_mm: Triple) -> list[Row]:
        """Return the rows of a method's labels for a case at a working spacing."""
        return self._index[method.label, case, spacing_mm]


def evaluate(
    methods: Sequence[Method],
    dataset: DataSet,
    names: Sequence[str],
    groups: Sequence[Group],
    *,
    settings: Settings | None = None,
    rows_file: str | os.PathLike[str] | None = None,
    processes: int = 1,
    show: ReportProgress = lambda fraction, message: None,
) -> Evaluation:
    """Measure every case at every spacing by every method.

    Parameters
    ----------
    methods
        Models, and how to use them.
    dataset, names
        The cases.
    groups
        The spacings.
    settings
        What all measurements share.
    rows_file
        CSV file whose rows are kept and completed, with what they belong to in the file
        ``evaluation.json`` beside it; `None`: nothing is written.
    processes
        How many measure at once. Rows do not depend on it, times and memory do: they compete.
    show
        Called with the fraction done and what comes next.

    Raises
    ------
    HyperspaceError
        If model and data set do not fit, a spacing lies outside of a trained range and the method
        refuses it, or the rows there belong to other models, data or settings.
    """
    settings = settings or Settings()
    meter = Measurer(dataset, settings)
    models = {}
    for method in methods:
        model = meter.model(method)
        check_fit(model, dataset)
        models[method.label] = {
            "identity": model.identity,
            "outside": method.outside,
            "trained_range_mm": model.trained_range_mm,
            "applied": _applied(model.card, settings),
        }
    native, digests = {}, {}
    for i, name in enumerate(names):
        show(0.0, f"reading case {i + 1} of {len(names)}: {name}")
        case = meter.case(name)
        native[name], digests[name] = case.spacing_mm, digest([case])
        for spacing in _spacings(groups, case.spacing_mm):
            for method in methods:
                working_spacing(case.grid, meter.model(method), spacing, method.outside)
    about = {
        "data": dataset.name,
        "labels": {str(value): name for value, name in sorted(dataset.label_names.items())},
        "settings": settings.to_dict(),
        "models": {
            label: {key: model[key] for key in ("identity", "outside", "applied")}
            for label, model in models.items()
        },
        "cases": digests,
    }
    units = [(name, s) for name in names for s in _spacings(groups, native[name])]
    path = Path(rows_file) if rows_file is not None else None
    with _kept(path, about, len(dataset.label_names)) as kept:
        rows = list(kept)
        there = {row.key for row in rows}
        jobs = []
        for name, spacing in units:
            left = [m for m in methods if (m.label, name, spacing) not in there]
            if left:
                jobs.append((name, spacing, left))
        done = len(units) - len(jobs)
        for name, spacing, new in _measured(meter, dataset, settings, jobs, processes):
            done += 1
            show(done / len(units), f"{name} at {' × '.join(f'{s:g}' for s in spacing)} mm")
            rows += new
            if path is not None:
                append_rows(path, new)
        places = {unit: i for i, unit in enumerate(units)}
        columns = {method.label: i for i, method in enumerate(methods)}
        rows.sort(
            key=lambda row: (
                places.get((row.case, row.spacing_mm), len(places)),
                row.case,
                row.spacing_mm,
                columns.get(row.model, len(columns)),
                row.model,
                row.label,
            )
        )
        if path is not None:
            write_rows(path, rows)
    show(1.0, "done")
    wanted = [r for r in rows if r.model in columns and (r.case, r.spacing_mm) in places]
    return Evaluation(
        dataset.name, dataset.label_names, methods, models, native, groups, wanted, settings
    )


def _applied(card: ModelCard, settings: Settings) -> dict[str, Any]:
    """Return what of a model's card changes its labels; its weights are told by its identity."""
    keys = {"normalization", "localization"}
    if settings.tile_shape is None:
        keys |= {"tile_shape", "tile_mm"}
    return card.model_dump(mode="json", include=keys)


def _spacings(groups: Sequence[Group], native_mm: Triple) -> list[Triple]:
    return list(dict.fromkeys(s for group in groups for s in group.of_case(native_mm)))


Job = tuple[str, Triple, list[Method]]


def _measured(
    meter: Measurer, dataset: DataSet, settings: Settings, jobs: Sequence[Job], processes: int
) -> Iterator[tuple[str, Triple, list[Row]]]:
    """Do jobs, here or in processes of their own, and yield their rows as they come."""
    if processes == 1 or len(jobs) < 2:
        for name, spacing, methods in jobs:
            yield name, spacing, meter.measure(name, spacing, methods)
        return
    threads = max(1, torch.get_num_threads() // processes)
    pool = ProcessPoolExecutor(
        min(processes, len(jobs)),
        multiprocessing.get_context("spawn"),  # a forked child would inherit torch's locks
        _start_worker,
        (dataset, settings, threads),
    )
    try:
        futures = {pool.submit(_work, *job): job for job in jobs}
        for future in as_completed(futures):
            name, spacing, _ = futures[future]
            yield name, spacing, future.result()
    except BrokenProcessPool as error:
        raise HyperspaceError(
            "a process was ended from outside, probably because memory is short",
            field="--processes",
            fix="Run the same command with fewer; what is measured is kept where --out was given",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_worker: Measurer | None = None


def _start_worker(dataset: DataSet, settings: Settings, threads: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides
    torch.set_num_threads(threads)
    _worker = Measurer(dataset, settings)


def _work(name: str, spacing_mm: Triple, methods: list[Method]) -> list[Row]:
    assert _worker is not None
    return _worker.measure(name, spacing_mm, methods)


@contextmanager
def _kept(path: Path | None, about: dict[str, Any], n_labels: int) -> Iterator[list[Row]]:
    """Hold the file of rows; give the rows that are there, if they belong to this evaluation."""
    if path is None:
        yield []
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise HyperspaceError(
            "another process is evaluating into this folder",
            where=path.parent,
            fix="Wait for it, or choose another folder with --out",
        ) from None
    try:
        rows = read_rows(path, n_labels)
        known = path.parent / "evaluation.json"
        if rows and not known.exists():
            raise HyperspaceError(
                "nothing tells what the rows in this folder belong to",
                where=known,
                fix="Choose another folder with --out",
            )
        _remember(known, about)
        write_text(path, to_csv(rows))
        yield rows
    finally:
        lock.release()


def _remember(path: Path, about: dict[str, Any]) -> None:
    """Compare what is evaluated with what was before, and keep both."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for key in ("data", "labels", "settings"):
        _same(path, key, before.get(key, about[key]), about[key])
    for key in ("models", "cases"):
        for name, known in before.get(key, {}).items():
            _same(path, f"{key}.{name}", known, about[key].get(name, known))
        about = {**about, key: {**before.get(key, {}), **about[key]}}
    write_text(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def _same(path: Path, key: str, before: object, now: object) -> None:
    if before != now:
        raise HyperspaceError(
            "the rows in this folder belong to another evaluation",
            where=path,
            field=key,
            found=now,
            expected=before,
            fix="Choose another folder with --out",
        )
