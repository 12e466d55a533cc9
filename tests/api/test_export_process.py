"""Exporting a network in a process of its own: the same files, errors, and no process left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from napari_hyperspace.api import export_process as module
from napari_hyperspace.api.export_network import export_network
from napari_hyperspace.api.export_process import export_in_process_steps
from napari_hyperspace.core.errors import Cancelled, HyperspaceError
from napari_hyperspace.core.progress import run_to_end
from napari_hyperspace.nets.model_file import load_model, save_model
from tests.api.test_export_network import tiny

SPACING = (1.0, 1.0, 1.5)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[str]]:
    """The processes that were started."""
    started: list[subprocess.Popen[str]] = []
    start = subprocess.Popen

    def remember(*args, **options) -> subprocess.Popen[str]:
        started.append(start(*args, **options))
        return started[-1]

    monkeypatch.setattr(module.subprocess, "Popen", remember)
    return started


def script(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Let the process do something else."""
    monkeypatch.setattr(module, "_START", "\n".join(("import sys, time", *lines)))


@pytest.mark.slow  # two exports, and torch is imported again
def test_it_writes_the_same_files_as_in_this_process(tmp_path: Path, children) -> None:
    model = save_model(tiny(), tmp_path / "tiny.safetensors")
    steps = []
    done = run_to_end(
        export_in_process_steps(str(model), SPACING, tmp_path / "a.pt2"),
        lambda fraction, message: steps.append((fraction, message)),
    )
    expected = export_network(load_model(model), SPACING, tmp_path / "b.pt2")
    assert (done.path, done.side_path) == (tmp_path / "a.pt2", tmp_path / "a.pt2.json")
    assert {**done.to_dict(), "path": "", "side_path": ""} == {
        **expected.to_dict(),
        "path": "",
        "side_path": "",
    }
    described = [(tmp_path / f"{name}.pt2.json").read_text() for name in "ab"]
    assert described[0].replace("a.pt2", "b.pt2") == described[1]
    assert [message for _, message in steps][:2] == ["starting the export", "making the network"]
    assert "running the exported network" in [message for _, message in steps]
    assert sorted(fraction for fraction, _ in steps) == [fraction for fraction, _ in steps]
    assert all(child.poll() == 0 for child in children)


def test_its_errors_are_those_of_an_export(tmp_path: Path, children) -> None:
    with pytest.raises(HyperspaceError, match="there is no such model") as raised:
        run_to_end(export_in_process_steps("nothing", SPACING, tmp_path / "a.pt2"))
    assert raised.value.where == "nothing"
    assert "a model file" in str(raised.value.expected)
    assert [child.poll() for child in children] == [0]


def test_a_process_that_ends_early_is_an_error(tmp_path: Path, monkeypatch) -> None:
    script(monkeypatch, "sys.exit('the disk is gone')")
    with pytest.raises(HyperspaceError, match=r"ended early.*the disk is gone"):
        run_to_end(export_in_process_steps("tiny", SPACING, tmp_path / "a.pt2"))
    script(monkeypatch, "sys.exit(7)")
    with pytest.raises(HyperspaceError, match="exit status 7"):
        run_to_end(export_in_process_steps("tiny", SPACING, tmp_path / "a.pt2"))


def test_a_process_that_cannot_be_started_is_an_error(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(HyperspaceError, match="cannot be started"):
        run_to_end(export_in_process_steps("tiny", SPACING, tmp_path / "a.pt2"))


WAITING = (
    "from pathlib import Path",
    "from napari_hyperspace.api import export_process",
    "from napari_hyperspace.core.files import replacing",
    "def wait(request, report):",
    "    with replacing(Path(request['path'])) as temporary:",
    "        temporary.touch()",
    "        report(0.5, 'waiting')",
    "        while True:",
    "            time.sleep(0.01)",
    "export_process._export = wait",
    "export_process.main()",
)


def test_cancel_ends_the_process_and_removes_its_files(tmp_path, monkeypatch, children) -> None:
    script(monkeypatch, "sys.path[:] = sys.argv[1:]", *WAITING)
    stop: list[bool] = []
    steps = export_in_process_steps(
        "tiny", SPACING, tmp_path / "a.pt2", should_stop=lambda: bool(stop)
    )
    while next(steps).message != "waiting":
        pass
    assert len(list(tmp_path.iterdir())) == 1
    stop.append(True)
    with pytest.raises(Cancelled):
        next(steps)
    (child,) = children
    assert child.returncode == 0
    assert not psutil.pid_exists(child.pid)
    assert not list(tmp_path.iterdir())


def test_a_process_that_does_not_stop_is_killed(tmp_path, monkeypatch, children) -> None:
    monkeypatch.setattr(module, "_GRACE_S", 0.05)
    stubborn = [line.replace("export_process.main()", "") for line in WAITING]
    script(
        monkeypatch,
        "sys.path[:] = sys.argv[1:]",
        *stubborn,
        "export_process._interrupt_at_end_of_input = lambda: None",
        "export_process.main()",
    )
    steps = export_in_process_steps("tiny", SPACING, tmp_path / "a.pt2")
    while next(steps).message != "waiting":
        pass
    steps.close()  # as when the job is dropped
    (child,) = children
    assert child.returncode not in (0, None)
    assert not psutil.pid_exists(child.pid)
    assert not list(tmp_path.iterdir())
