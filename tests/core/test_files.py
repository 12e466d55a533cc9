"""Atomic writing: a file is replaced completely or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from napari_hyperspace.core import files
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import (
    create_folder,
    read_json,
    remove_stale,
    replacing,
    resolved,
    stem_of,
    suffix_of,
    write_bytes,
    write_text,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"{", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"9" * 5000, "not valid JSON"),
        (b'["\\ud800"]', "not valid JSON"),
    ],
)
def test_json_that_cannot_be_read_is_a_declared_error(tmp_path, content, words):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(HyperspaceError, match=words) as caught:
        read_json(path, "split")
    assert caught.value.where == str(path)
    with pytest.raises(HyperspaceError, match="the split cannot be read"):
        read_json(tmp_path / "b.json", "split")
    path.write_text('{"ä": [1]}', encoding="utf-8")
    assert read_json(path) == {"ä": [1]}


def test_text_is_written_as_it_is(tmp_path):
    path = tmp_path / "a.csv"
    write_text(path, "α\r\nb\n")
    assert path.read_bytes() == "α\r\nb\n".encode()
    write_bytes(path, b"\0\r\n")
    assert path.read_bytes() == b"\0\r\n"
    assert names(tmp_path) == ["a.csv"]


class UnexpectedError(Exception):
    pass


@pytest.mark.parametrize("former", [None, "former"])
def test_after_a_failure_the_folder_is_unchanged(tmp_path, former):
    path = tmp_path / "a.txt"
    if former is not None:
        path.write_text(former)
    with pytest.raises(UnexpectedError), replacing(path) as temporary:
        temporary.write_text("half")
        raise UnexpectedError
    assert names(tmp_path) == ([] if former is None else ["a.txt"])
    assert former is None or path.read_text() == former


def test_errors_of_the_system_name_the_file(tmp_path):
    path = tmp_path / "missing" / "a.txt"
    with pytest.raises(HyperspaceError, match="cannot be written") as caught:
        write_text(path, "text")
    assert caught.value.where == str(path)
    with pytest.raises(HyperspaceError, match="cannot be written"), replacing(tmp_path / "b"):
        pass  # nothing was written
    assert names(tmp_path) == []


def test_folders_and_devices_are_not_replaced(tmp_path):
    folder, pipe = tmp_path / "folder", tmp_path / "pipe"
    folder.mkdir()
    targets = [folder]
    if hasattr(os, "mkfifo"):
        os.mkfifo(pipe)
        targets.append(pipe)
    before = names(tmp_path)
    for target in targets:
        with pytest.raises(HyperspaceError, match="regular file") as caught:
            write_text(target, "text")
        assert caught.value.where == str(target)
    assert names(tmp_path) == before
    assert not pipe.is_file()


def test_the_file_is_synchronized_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    sync, rename = files._sync, os.replace
    monkeypatch.setattr(files, "_sync", lambda path: (calls.append("sync"), sync(path)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("rename"), rename(*paths)))
    write_text(tmp_path / "a.txt", "text")
    # The folder follows: only then the new name is on the disk, too.
    assert calls == ["sync", "rename", "sync"][: 3 if os.name == "posix" else 2]


def test_the_temporary_file_is_hidden_beside_the_target_with_its_extension(tmp_path):
    target = tmp_path / "scan.nii.gz"
    with replacing(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".") and temporary.name.endswith(".nii.gz")
        temporary.touch()


def test_the_clean_up_does_not_hide_the_error(tmp_path, monkeypatch):
    """On a file system that is read-only, the temporary file cannot be removed, either."""

    def read_only(*args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", read_only)
    monkeypatch.setattr(Path, "write_bytes", read_only)
    with pytest.raises(HyperspaceError, match=r"cannot be written.*Read-only file system"):
        write_bytes(tmp_path / "a.txt", b"text")


@pytest.mark.parametrize("name", ["a\0b.txt", "x" * 300, "a." + "x" * 300, "\ud800.txt"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(HyperspaceError) as caught:
        write_text(tmp_path / name, "text")
    assert "\0" not in str(caught.value)
    if os.name == "posix":
        assert names(tmp_path) == []


def test_the_longest_names_can_be_written(tmp_path):
    for name in ("x" * 251 + ".txt", "a." + "x" * 253):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such links or permissions")
def test_links_in_a_circle_are_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.symlink_to(path)
    with pytest.raises(HyperspaceError):
        write_text(path, "text")
    assert path.is_symlink()
    with pytest.raises(HyperspaceError, match="not valid") as caught:
        resolved("a\0b")
    assert caught.value.where == "a\0b"


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such permissions")
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_overwriting_keeps_the_permissions(tmp_path, mode):
    path = tmp_path / "a.txt"
    write_text(path, "former")
    usual = path.stat().st_mode
    path.chmod(mode)
    write_text(path, "text")
    assert path.stat().st_mode & 0o777 == mode
    assert path.read_text() == "text"
    write_text(tmp_path / "b.txt", "text")
    assert (tmp_path / "b.txt").stat().st_mode == usual


_KILLED = """
import os, sys
from pathlib import Path
from napari_hyperspace.core.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print(temporary.name, flush=True)
    sys.stdin.read() if len(sys.argv) > 2 else os._exit(1)
"""


def killed_writer(path: Path, *arguments: str) -> str:
    """Start to write a file in a process that ends in the middle; return the temporary name."""
    command = [sys.executable, "-c", _KILLED, str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.parametrize("name", ["a.txt", "ä " + "x" * 200 + ".nii.gz"])
def test_the_next_write_removes_what_a_killed_process_left(tmp_path, name):
    left = killed_writer(tmp_path / name)
    other = killed_writer(tmp_path / "other.txt")
    assert names(tmp_path) == sorted([left, other])
    write_text(tmp_path / name, "text")
    assert names(tmp_path) == sorted([name, other])
    remove_stale(tmp_path / "other.txt")
    assert names(tmp_path) == [name]


def test_the_temporary_file_of_a_running_process_stays(tmp_path):
    path = tmp_path / "a.txt"
    command = [sys.executable, "-c", _KILLED, str(path), "wait"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as other:
        left = other.stdout.readline().strip()
        with replacing(path) as mine:
            mine.write_text("mine")
            write_text(path, "text")  # another thread of this process might do so
            assert names(tmp_path) == sorted([left, mine.name, "a.txt"])
        assert names(tmp_path) == sorted([left, "a.txt"])
        other.stdin.close()
    assert path.read_text() == "half"
    assert names(tmp_path) == ["a.txt"]


def test_files_of_other_computers_and_programs_stay(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    monkeypatch.setattr(files, "_host", lambda: "00000000")
    own = files._temporary(path)
    left = own.with_name(own.name.replace(f"-{os.getpid()}-", "-4000000000-"))
    left.write_text("half")
    foreign = tmp_path / ".hyperspace-notes.txt"
    foreign.write_text("notes")
    folder = own.with_name(left.name + "x")
    folder.mkdir()
    monkeypatch.undo()
    remove_stale(path)
    assert left.exists()
    day_before_yesterday = time.time() - 2 * 24 * 3600
    os.utime(left, (day_before_yesterday, day_before_yesterday))
    os.utime(folder, (day_before_yesterday, day_before_yesterday))
    remove_stale(path)
    assert names(tmp_path) == sorted([foreign.name, folder.name])


def test_a_process_number_given_again_is_another_process(tmp_path):
    path = tmp_path / "a.txt"
    left = files._temporary(path)  # of this process, but from before it was started
    left.write_text("half")
    started = files.psutil.Process().create_time()
    os.utime(left, (started - 3600, started - 3600))
    remove_stale(path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "stem", "suffix"),
    [
        ("a.nii.gz", "a", ".nii.gz"),
        ("a.b.NII.GZ", "a.b", ".nii.gz"),
        ("a.seg.nrrd", "a", ".seg.nrrd"),
        ("a.tar.gz", "a.tar", ".gz"),
        ("a.mha", "a", ".mha"),
        ("a", "a", ""),
        (".nii.gz", ".nii.gz", ".nii.gz"),
    ],
)
def test_double_extensions_are_one(name, stem, suffix):
    assert (stem_of(Path(name)), suffix_of(Path(name))) == (stem, suffix)


def test_a_folder_that_cannot_be_created_is_a_declared_error(tmp_path: Path) -> None:
    create_folder(tmp_path / "a" / "b")
    create_folder(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "inside", tmp_path / "\0"):
        with pytest.raises(HyperspaceError, match="folder cannot be created"):
            create_folder(path)
