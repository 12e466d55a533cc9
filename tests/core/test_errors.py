"""Errors: what they say, and that nothing of them is lost on the way to another process."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from napari_hyperspace.core.errors import (
    Cancelled,
    HyperspaceError,
    OptionNeededError,
    SeriesChoice,
    printable,
)

PARTS = {
    "where": "a.nii",
    "field": "sform",
    "found": "0",
    "expected": "1",
    "fix": "Set it to 1",
}
TEXT = "a.nii: sform: the sform is singular (found 0, expected 1). Set it to 1"


def test_an_error_names_place_values_and_fix():
    assert str(HyperspaceError("the sform is singular", **PARTS)) == TEXT
    assert str(HyperspaceError("no more")) == "no more"
    assert str(HyperspaceError("no more", found=0)) == "no more (found 0)"


def test_texts_of_damaged_files_are_escaped_and_cut():
    """A field of a header, a tag or a name may have any characters and any length."""
    error = HyperspaceError(
        "no such\x1b[2J kind\nsecond line", where="a/" * 9999, found="x" * 10**6
    )
    text = str(error)
    assert "no such\\x1b[2J kind\nsecond line" in text and "\x1b" not in text
    assert len(text) < 6000 and text.startswith("a/a/") and "a/: no such" in text
    assert len(str(HyperspaceError("p" * 10**6))) < 5000


def test_a_path_becomes_text():
    path = Path("folder") / "a.nii"
    assert HyperspaceError("wrong", where=path).where == str(path)
    assert HyperspaceError("wrong").replace(where=path).where == str(path)


@pytest.mark.parametrize(
    "error",
    [
        HyperspaceError("the sform is singular", **PARTS),
        Cancelled(),
        Cancelled("stopped", where="a.nii"),
        OptionNeededError("several volumes", option="volume", n_volumes=7, where="a.nii"),
        OptionNeededError("several series", option="series", series=(SeriesChoice("1.2", "T1"),)),
    ],
)
def test_errors_cross_processes_whole(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert copy.args == error.args
    assert vars(copy) == vars(error)


def test_replace_makes_another_error_of_the_same_class():
    error = OptionNeededError("several volumes", option="volume", n_volumes=7, where="a.nii")
    other = error.replace(where=Path("b.nii"), fix=None)
    assert type(other) is OptionNeededError
    assert (other.where, other.option, other.n_volumes) == ("b.nii", "volume", 7)
    assert other.problem == error.problem
    assert error.where == "a.nii"


def test_replace_keeps_the_parts_that_it_is_not_given():
    error = HyperspaceError("the sform is singular", **PARTS)
    assert vars(error.replace()) == vars(error)
    assert error.replace(fix=None, expected=None).fix is None
    assert error.replace(found=3).found == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\0\r\n\x9b", r"a\x00\r\n\x9b"),
        ("a\u202egnp.nii", r"a\u202egnp.nii"),
        ("a\udcff.nii", r"a\udcff.nii"),
        ("Größe 2 × 3 µm, 脳 🧠", "Größe 2 × 3 µm, 脳 🧠"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
    error = HyperspaceError("wrong", where=text, field=text)
    assert str(error) == f"{shown}: {shown}: wrong"
    assert error.where == text


def test_values_keep_their_lines_but_no_other_control_characters():
    error = HyperspaceError("wrong", found="a\x1b\nb", expected="c\x07")
    assert str(error) == "wrong (found a\\x1b\nb, expected c\\x07)"
