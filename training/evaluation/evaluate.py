"""Evaluating models on a data set: measure what is missing, keep what was measured before."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import pandas as pd
import torch
from filelock import FileLock, Timeout

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, read_json, write_text
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.core.spacing import Range
from napari_hyperspace.inference.options import Outside
from napari_hyperspace.inference.plan import working_spacing
from napari_hyperspace.nets.card import ModelCard
from training.data.base import DataSet, digest
from training.evaluation.measure import Measurer, Settings
from training.evaluation.methods import Method, check_fit
from training.evaluation.plan import Group
from training.evaluation.rows import (
    KEY,
    SPACING,
    Row,
    append_rows,
    read_rows,
    to_csv,
    to_frame,
    write_rows,
)


class EvaluatedModel(TypedDict):
    """What is known of the model of a method."""

    identity: str
    outside: Outside
    trained_range_mm: tuple[Range, ...] | None
    applied: dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """The measurements of an evaluation, and what was measured.

    Parameters
    ----------
    data
        Name of the data set.
    label_names
        Name of each label value.
    methods
        In the order of the table's columns.
    models
        What is known of the model of each method, by the method's label.
    cases
        Own spacing (z, y, x) of each case, by its name.
    groups
        In the order of the table's rows.
    rows
        The measurements, one row per case, spacing, method and label; columns as in `Row`.
    settings
        The settings that all measurements share.
    """

    data: str
    label_names: Mapping[int, str]
    methods: Sequence[Method]
    models: Mapping[str, EvaluatedModel]
    cases: Mapping[str, Triple]
    groups: Sequence[Group]
    rows: pd.DataFrame
    settings: Settings

    def at(self, method: Method, case: str, spacing_mm: Triple) -> pd.DataFrame:
        """Return the rows of a method for a case at a working spacing, one per label."""
        key = [method.label, case, *spacing_mm]
        return self.rows[(self.rows[KEY] == key).all(axis=1)]


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
        The settings that all measurements share.
    rows_file
        CSV file whose rows are kept and completed. What the rows belong to is written to
        ``evaluation.json`` beside it. `None`: nothing is written.
    processes
        Number of processes that measure at the same time. Rows do not depend on it, but times and
        memory do, because the processes compete.
    show
        Called with the fraction done and the next measurement.

    Raises
    ------
    HyperspaceError
        If model and data set do not fit, a spacing lies outside a trained range and the method
        refuses it, or the rows in the file belong to other models, data or settings.
    """
    settings = settings or Settings()
    measurer = Measurer(dataset, settings)
    models: dict[str, EvaluatedModel] = {}
    for method in methods:
        model = measurer.model(method)
        check_fit(model, dataset)
        models[method.label] = {
            "identity": model.identity,
            "outside": method.outside,
            "trained_range_mm": model.trained_range_mm,
            "applied": _applied(model.card, settings),
        }
    native, digests = {}, {}
    units: list[_Unit] = []
    for i, name in enumerate(names):
        show(0.0, f"reading case {i + 1} of {len(names)}: {name}")
        case = measurer.case(name)
        native[name], digests[name] = case.spacing_mm, digest([case])
        for spacing in dict.fromkeys(s for group in groups for s in group.of_case(case.spacing_mm)):
            for method in methods:
                working_spacing(case.grid, measurer.model(method), spacing, method.outside)
            units.append((name, spacing))
    about = {
        "data": dataset.name,
        "labels": {str(value): name for value, name in sorted(dataset.label_names.items())},
        "settings": settings.to_dict(),
        "models": {
            label: {
                "identity": model["identity"],
                "outside": model["outside"],
                "applied": model["applied"],
            }
            for label, model in models.items()
        },
        "cases": digests,
    }
    path = Path(rows_file) if rows_file is not None else None
    with _kept(path, about, len(dataset.label_names)) as kept:
        parts = [kept]
        there = set(kept[KEY].itertuples(index=False, name=None))
        jobs = []
        for name, spacing in units:
            left = [m for m in methods if (m.label, name, *spacing) not in there]
            if left:
                jobs.append((name, spacing, left))
        done = len(units) - len(jobs)
        for name, spacing, measured in _measured(measurer, dataset, settings, jobs, processes):
            done += 1
            show(done / len(units), f"{name} at {format_spacing(spacing)}")
            parts.append(to_frame(measured))
            if path is not None:
                append_rows(path, parts[-1])
        rows, wanted = _ordered(pd.concat(parts, ignore_index=True), units, methods)
        if path is not None:
            write_rows(path, rows)
    show(1.0, "done")
    return Evaluation(
        dataset.name, dataset.label_names, methods, models, native, groups, wanted, settings
    )


def _applied(card: ModelCard, settings: Settings) -> dict[str, Any]:
    """Return those parts of a model's card that change its labels, besides its weights."""
    keys = {"normalization", "localization"}
    if settings.tile_shape is None:
        keys |= {"tile_shape", "tile_mm"}
    return card.model_dump(mode="json", include=keys)


_Unit = tuple[str, Triple]
"""Name of a case, and a working spacing (mm; z, y, x)."""


def _ordered(
    rows: pd.DataFrame, units: Sequence[_Unit], methods: Sequence[Method]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all rows in the order of units, methods and labels, and those that are asked for.

    Rows of other units and methods come last.
    """
    places = {(name, *spacing): i for i, (name, spacing) in enumerate(units)}
    columns = {method.label: i for i, method in enumerate(methods)}
    keys = rows[["case", *SPACING]].itertuples(index=False, name=None)
    order = pd.DataFrame(
        {
            **{name: rows[name] for name in KEY},
            "label": rows["label"],
            "place": [places.get(key, len(places)) for key in keys],
            "column": [columns.get(model, len(columns)) for model in rows["model"]],
        }
    ).sort_values(["place", "case", *SPACING, "column", "model", "label"])
    asked_for = (order["place"] < len(places)) & (order["column"] < len(columns))
    wanted = order.index[asked_for]
    return rows.loc[order.index].reset_index(drop=True), rows.loc[wanted].reset_index(drop=True)


_Job = tuple[str, Triple, list[Method]]


def _measured(
    measurer: Measurer, dataset: DataSet, settings: Settings, jobs: Sequence[_Job], processes: int
) -> Iterator[tuple[str, Triple, list[Row]]]:
    """Measure in this process or in several, and yield the rows in the order of completion."""
    if processes == 1 or len(jobs) < 2:
        for name, spacing, methods in jobs:
            yield name, spacing, measurer.measure(name, spacing, methods)
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
            "a process was killed, probably because memory ran out",
            field="--processes",
            fix="Run the command again with fewer processes; with --out, finished measurements are "
            "kept",
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
def _kept(path: Path | None, about: dict[str, Any], n_labels: int) -> Iterator[pd.DataFrame]:
    """Lock the file of rows; yield its rows if they belong to this evaluation."""
    if path is None:
        yield to_frame([])
        return
    create_folder(path.parent)
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
        if len(rows) and not known.exists():
            raise HyperspaceError(
                "the folder has rows, but no file that says what they belong to",
                where=known,
                fix="Choose another folder with --out",
            )
        _remember(known, about)
        write_text(path, to_csv(rows))
        yield rows
    finally:
        lock.release()


def _remember(path: Path, about: dict[str, Any]) -> None:
    """Compare what is evaluated with what was before, and store both."""
    before = _current(_stored(path)) if path.exists() else {}
    for key in ("data", "labels", "settings"):
        _same(path, key, before.get(key, about[key]), about[key])
    for key in ("models", "cases"):
        for name, known in before.get(key, {}).items():
            _same(path, f"{key}.{name}", known, about[key].get(name, known))
        about = {**about, key: {**before.get(key, {}), **about[key]}}
    write_text(path, json.dumps(about, indent=1, ensure_ascii=False) + "\n")


def _stored(path: Path) -> dict[str, Any]:
    """Read an ``evaluation.json``; raise an error unless its parts are mappings."""
    values = read_json(path, "description of the evaluation")
    parts = [values]
    if isinstance(values, dict):
        models = values.get("models", {})
        parts += [models, values.get("cases", {}), values.get("settings", {})]
        for model in models.values() if isinstance(models, dict) else ():
            parts += [model, model.get("applied") if isinstance(model, dict) else None]
    if not isinstance(values, dict) or not all(isinstance(part, dict) for part in parts):
        raise HyperspaceError(
            "the file does not describe an evaluation",
            where=path,
            fix="Choose another folder with --out",
        )
    return values


_FORMER_SETTINGS = {"form": "precision"}
_FORMER_APPLIED = {"normalisation": "normalization", "search": "localization"}


def _current(about: dict[str, Any]) -> dict[str, Any]:
    """Return the content of an ``evaluation.json`` with former keys replaced by today's."""
    about = {**about}
    if "settings" in about:
        about["settings"] = _renamed(about["settings"], _FORMER_SETTINGS)
    about["models"] = {
        label: {**model, "applied": _renamed(model["applied"], _FORMER_APPLIED)}
        for label, model in about.get("models", {}).items()
    }
    return about


def _renamed(values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in values.items()}


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
