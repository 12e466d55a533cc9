"""The log holds words of the program only, is rotated, and never disturbs."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import napari_hyperspace as hs
from napari_hyperspace.api.predict import predict_all
from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.support import log
from tests.models import FakeModel, local_network
from tests.scans import scan

NAME = "Mustermann"


def raised(source: Path) -> HyperspaceError:
    with pytest.raises(HyperspaceError) as caught:
        hs.read(source)
    return caught.value


def test_an_error_is_logged_with_its_sentence_and_place_but_without_names(tmp_path, own_log):
    folder = tmp_path / f"{NAME} Erika"
    folder.mkdir()
    error = raised(folder / f"{NAME}.nii.gz")
    assert NAME in str(error)
    log.log_error(error, "predict")
    text = own_log.read_text("utf-8")
    assert NAME not in text and "Erika" not in text and str(tmp_path) not in text
    assert f" ERROR {hs.__version__} predict: HyperspaceError: {error.problem}" in text
    assert "io.api:" in text


def test_filled_in_parts_of_a_message_are_left_out():
    known = {"the file ", " has no spacing", "cannot be read", "a", "Erika M"}
    text = f"the file {NAME} has no spacing"
    assert log.own_words(text, known | {" has no "}) == "the file … has no spacing"
    assert log.own_words("cannot be read", known) == "cannot be read"
    assert log.own_words("a name", known) == "…"
    assert log.own_words(f"{NAME} cannot be read:\nbad", known) == "…cannot be read…"


def test_foreign_errors_are_logged_by_class_and_place(own_log):
    def fail() -> None:
        try:
            Path(f"/no/{NAME}").read_bytes()
        except OSError as error:
            raise ValueError(f"what {NAME} said") from error

    with pytest.raises(ValueError) as caught:
        fail()
    log.log_error(caught.value, "segmenting")
    text = own_log.read_text("utf-8")
    assert "segmenting: ValueError, caused by FileNotFoundError (ENOENT)" in text
    assert NAME not in text


def test_a_scan_that_fails_is_logged(tmp_path, own_log):
    sound, damaged = tmp_path / f"{NAME}.nii", tmp_path / f"{NAME}-2.nii"
    hs.write(scan(), sound)
    damaged.write_bytes(b"x" * 400)
    pairs = [(path, tmp_path / f"out-{path.name}") for path in (sound, damaged)]
    done = predict_all(pairs, FakeModel(lambda spacing: local_network()))
    assert [bool(one.error) for one in done] == [False, True]
    (line,) = own_log.read_text("utf-8").splitlines()
    assert "io." in line and NAME not in line


def test_warnings_are_logged_and_events_only_if_asked_for(own_log, monkeypatch):
    log.log_event("nothing yet")
    assert log.log_lines() is None and not own_log.exists()
    log.log_warning(HyperspaceWarning(f"{NAME} is odd"), "reading")
    assert "reading: HyperspaceWarning" in own_log.read_text("utf-8")
    assert NAME not in own_log.read_text("utf-8")
    monkeypatch.setenv("HYPERSPACE_LOG", "info")
    log.log_event("one run has finished")
    monkeypatch.setenv("HYPERSPACE_LOG", "error")
    log.log_warning("left out", "reading")
    monkeypatch.setenv("HYPERSPACE_LOG", "off")
    log.log_error(ValueError("left out"), "reading")
    assert log.log_lines() == 2
    assert "one run has finished" in own_log.read_text("utf-8")


def test_runs_are_logged_on_request_without_names(own_log, monkeypatch):
    monkeypatch.setenv("HYPERSPACE_LOG", "info")
    named = scan().with_array(scan().array)
    object.__setattr__(named, "name", NAME)
    hs.segment(named, FakeModel(lambda spacing: local_network()), (2, 2, 2), precision="fp32")
    (line,) = own_log.read_text("utf-8").splitlines()
    assert " INFO " in line and "at 2 × 2 × 2 mm" in line and "fp32 on cpu" in line
    assert NAME not in line


def test_the_log_is_rotated(own_log, monkeypatch):
    monkeypatch.setattr(log, "_FILE_BYTES", 300)
    monkeypatch.setenv("HYPERSPACE_LOG_FOLDER", str(own_log.parent / "other"))
    for number in range(20):
        log.log_error(ValueError(str(number)), "counting")
    files = sorted(path.name for path in (own_log.parent / "other").iterdir())
    assert files == ["hyperspace.log", "hyperspace.log.1", "hyperspace.log.2"]
    assert log.log_lines() < 20


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_a_log_that_cannot_be_written_disturbs_nothing(tmp_path, monkeypatch, capfd, obstacle):
    blocked = tmp_path / "blocked"
    if obstacle == "file":  # where the folder should be
        blocked.write_text("")
    else:  # where the file should be
        (blocked / "hyperspace.log").mkdir(parents=True)
    monkeypatch.setenv("HYPERSPACE_LOG_FOLDER", str(blocked))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log.log_error(ValueError("x"), "testing")
    assert capfd.readouterr() == ("", "")
    assert log.log_lines() is None


def test_texts_that_cannot_be_made_disturb_nothing(own_log):
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    log.log_error(Broken(), "testing")
    assert not own_log.exists()
