"""The scans that were opened last."""

from __future__ import annotations

import pytest

from napari_hyperspace.core.store import cache_folder
from napari_hyperspace.gui.models.recent import forget_scans, recent_scans, remember_scan


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HYPERSPACE_CACHE", str(tmp_path / "cache"))


def test_the_last_scan_comes_first_and_none_twice(tmp_path):
    paths = [tmp_path / f"{i}.nii" for i in range(10)]
    for path in [*paths, paths[3]]:
        path.touch()
        remember_scan(str(path))
    expected = [3, 9, 8, 7, 6, 5, 4, 2]
    assert recent_scans() == [str(tmp_path / f"{i}.nii") for i in expected]
    paths[9].unlink()
    assert str(paths[9]) not in recent_scans()  # it cannot be opened any more
    forget_scans()
    assert recent_scans() == []
    assert list(cache_folder().glob("recent*")) == []


@pytest.mark.parametrize("content", ["", "{", "3", '{"a": 1}', '[1, null, {"a": 2}]', "[[]]"])
def test_a_damaged_list_is_an_empty_one(content, tmp_path):
    cache_folder().mkdir()
    (cache_folder() / "recent-scans.json").write_text(content)
    assert recent_scans() == []
    (tmp_path / "a.nii").touch()
    remember_scan(str(tmp_path / "a.nii"))
    assert recent_scans() == [str(tmp_path / "a.nii")]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "cache").touch()  # a file in place of the folder
    remember_scan(str(tmp_path / "a.nii"))
    forget_scans()
    assert recent_scans() == []
