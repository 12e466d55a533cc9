"""What the children of the kill harness run; the process that they are forked from imports it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

# Imported once, by the process that all children are forked from.
import training.cli
import training.comparison.study
import training.fit.trainer
from napari_hyperspace.core import store
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import write
from napari_hyperspace.nets.model_file import save_model
from tests.fuzz.models import prepare_rates, tiny_model

_FILE_EVENTS = frozenset(
    ("open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.truncate")
)
SIZE = (48, 40, 44)
KEYS = 12


def volume(seed: int) -> Volume:
    """Return a label map with random voxels."""
    labels = np.random.default_rng(seed).integers(0, 3, SIZE).astype(np.uint8)
    return Volume(labels, Grid.from_spacing(SIZE, (1.0, 1.5, 2.0)), name="labels")


def write_volume(path: str, seed: int) -> None:
    """Write a label map."""
    write(volume(seed), path)


def write_model(path: str, seed: int) -> None:
    """Write a model file of about 1 MB."""
    factory = {"kind": "hypernetwork", "rank": 200, "hidden": [3], "range_mm": [[0.5, 5.0]] * 3}
    save_model(tiny_model(factory, description=f"model {seed}"), path)


def write_in_place(path: str, seed: int) -> None:
    """Write a file that is incomplete for a while."""
    with open(path, "wb") as file:
        for part in range(200):
            file.write(bytes([seed]) * 100)
            file.flush()
            Path(path).with_name(f"progress-{part}").touch()


def write_measurements(folder: str, first: int) -> None:
    """Store some values, one after the other, beside those that are there."""
    os.environ[store.CACHE_VARIABLE] = folder
    for number in range(first, first + KEYS):
        store.keep("trace", f"key {number}", {"number": number, "filler": "x" * 2000})


def hyperspace(*arguments: str) -> None:
    """Run the command line."""
    sys.argv = ["hyperspace", *arguments]
    training.cli.main()


def hyperspace_with_failure(*arguments: str) -> None:
    """Run a command of which a part fails: its exit status is 1."""
    try:
        hyperspace(*arguments)
    except SystemExit as end:
        if end.code != 1:
            raise
    else:
        raise RuntimeError("the command does not report the failure")


def rates() -> None:
    """Store rates of this machine, so that no command measures."""
    prepare_rates()


_ACTIONS = {
    each.__name__: each
    for each in (
        *(write_volume, write_model, write_in_place, write_measurements),
        *(hyperspace, hyperspace_with_failure),
    )
}


def main(
    parent: Connection, folder: str, call: tuple[object, ...], event: int | None, number: int
) -> None:
    """Run an action, and die at a file operation in its folder if one is given.

    Parameters
    ----------
    parent
        Gets ``"started"``, and at the end the number of file operations and the seconds.
    folder
        Folder of the case.
    call
        Name of the action and its arguments.
    event
        Number of the file operation to die before; `None`: the action ends by itself.
    number
        The signal.
    """
    count = 0

    def watch(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if name not in _FILE_EVENTS or not isinstance(arguments[0], str | os.PathLike):
            return
        if not os.fspath(arguments[0]).startswith(folder):
            return
        count += 1
        if count == event:
            os.kill(os.getpid(), number)

    os.chdir(folder)
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the harness
    rates()
    parent.send("started")
    sys.addaudithook(watch)
    begin = time.monotonic()
    name, *arguments = call
    try:
        _ACTIONS[str(name)](*arguments)
    except SystemExit as end:
        if end.code:
            raise
    parent.send((count, time.monotonic() - begin))


def stored(folder: Path) -> dict[str, object]:
    """Return the measurements in a cache folder; an error if the file is not whole."""
    path = folder / "measured-trace.json"
    values = json.loads(path.read_text("utf-8")) if path.exists() else {}
    assert isinstance(values, dict)
    return values
