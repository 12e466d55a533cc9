"""Atomic writing: a file is replaced completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_hyperspace.core import files
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import replacing, stem_of, suffix_of, write_bytes, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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
