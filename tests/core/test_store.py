"""The cache of measurements: kept between processes, and never in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from napari_hyperspace.core import store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a cache folder that does not exist yet, in what is like a new process."""
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(store, "_MEMORY", {})
    return tmp_path / "cache"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do as a new process does."""
    monkeypatch.setattr(store, "_MEMORY", {})


def test_values_are_there_in_the_next_process(folder, monkeypatch):
    assert store.recall("rates", "a") is None
    store.keep("rates", "a", {"x": [1, 2.5]})
    store.keep("rates", "b", 3)
    assert store.recall("rates", "a") == {"x": [1, 2.5]}
    forget(monkeypatch)
    assert store.recall("rates", "a") == {"x": [1, 2.5]}
    assert store.recall("rates", "b") == 3
    assert store.recall("other", "a") is None
    assert {path.name for path in folder.iterdir()} <= {"measured-rates.json", ".lock"}


def test_what_another_process_stored_meanwhile_is_kept(folder):
    store.keep("rates", "a", 1)
    path = store.store_path("rates")
    path.write_text(json.dumps({"a": 1, "theirs": 2}), encoding="utf-8")
    store.keep("rates", "b", 3)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 1, "theirs": 2, "b": 3}


def test_a_newer_value_of_another_process_is_kept(folder):
    store.keep("rates", "a", 1)
    path = store.store_path("rates")
    path.write_text(json.dumps({"a": 2}), encoding="utf-8")
    store.keep("rates", "b", 3)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 2, "b": 3}
    assert store.recall("rates", "a") == 2


def test_processes_that_write_at_once_lose_nothing(folder):
    code = (
        "import sys; from napari_hyperspace.core import store\n"
        "for i in range(50): store.keep('rates', f'{sys.argv[1]} {i}', i)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    known = json.loads(store.store_path("rates").read_text(encoding="utf-8"))
    assert known == {f"{name} {i}": i for name in "ab" for i in range(50)}


def test_a_file_system_without_locks_still_stores(folder, monkeypatch):
    def refuse(self, *arguments, **options):
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    store.keep("rates", "a", 1)
    forget(monkeypatch)
    assert store.recall("rates", "a") == 1


def test_a_lock_that_another_process_keeps_stops_nothing(folder, monkeypatch):
    monkeypatch.setattr(store, "_LOCK_TIMEOUT_S", 0.1)
    folder.mkdir()
    with FileLock(folder / ".lock"):
        store.keep("rates", "a", 1)
    assert store.recall("rates", "a") == 1
    store.keep("rates", "b", 2)
    forget(monkeypatch)
    assert store.recall("rates", "a") == 1


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "\xff", "null", "[" * 100_000, "9" * 5000])
def test_a_damaged_file_counts_as_empty(folder, content):
    folder.mkdir()
    store.store_path("rates").write_bytes(content.encode("latin-1"))
    assert store.recall("rates", "a") is None
    store.keep("rates", "a", 1)
    assert json.loads(store.store_path("rates").read_text(encoding="utf-8")) == {"a": 1}


def test_without_a_folder_values_last_as_long_as_the_process(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path / "file"))
    monkeypatch.setattr(store, "_MEMORY", {})
    store.keep("rates", "a", 1)
    assert store.recall("rates", "a") == 1
    forget(monkeypatch)
    assert store.recall("rates", "a") is None


def test_the_folder_is_the_users_unless_named(monkeypatch, tmp_path):
    monkeypatch.setenv(store.CACHE_VARIABLE, str(tmp_path))
    assert store.cache_folder() == tmp_path
    monkeypatch.delenv(store.CACHE_VARIABLE)
    assert store.cache_folder().name == "napari-hyperspace"


def test_a_value_is_updated_from_what_another_process_stored(folder):
    def with_one(stored: object) -> object:
        return [*(stored if isinstance(stored, list) else []), 1]

    store.update("runs", "a", with_one)
    assert store.recall("runs", "a") == [1]
    store.store_path("runs").write_text(json.dumps({"a": [1, 2]}), encoding="utf-8")
    store.update("runs", "a", with_one)
    assert store.recall("runs", "a") == [1, 2, 1]
    assert json.loads(store.store_path("runs").read_text(encoding="utf-8")) == {"a": [1, 2, 1]}
