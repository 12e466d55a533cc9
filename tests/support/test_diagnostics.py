"""Diagnostics say what a report needs, measure nothing, and contain no names or paths."""

from __future__ import annotations

import getpass
import hashlib
import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import napari_hyperspace as hs
from napari_hyperspace.core import store
from napari_hyperspace.cost import calibrate
from napari_hyperspace.cost.rates import encode
from napari_hyperspace.inference.precision import PrecisionChoice, choice_key
from napari_hyperspace.support import diagnostics, log
from napari_hyperspace.support.diagnostics import collect_diagnostics, format_diagnostics
from tests.models import FakeModel
from tests.rates import CALIBRATION

CPU = torch.device("cpu")
NAME = "Mustermann"


@pytest.fixture(autouse=True)
def planted_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a name wherever diagnostics could meet one, and forbid measurements."""
    home = tmp_path / NAME
    for variable in ("HOME", "USERPROFILE", "XDG_CACHE_HOME", "XDG_STATE_HOME", "APPDATA"):
        monkeypatch.setenv(variable, str(home))
    for variable in ("HYPERSPACE_CACHE", "HYPERSPACE_LOG_FOLDER", "HYPERSPACE_MODELS"):
        monkeypatch.setenv(variable, str(home / variable))
    for variable in ("USER", "LOGNAME", "USERNAME", "HOSTNAME", "OMP_NUM_THREADS", "QT_API"):
        monkeypatch.setenv(variable, NAME)
    # The keys of measurements contain the host's name if the processor has none.
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "node", lambda: NAME)

    def measure(*_: object) -> None:
        raise AssertionError("diagnostics measure nothing")

    monkeypatch.setattr(calibrate, "_measured", measure)


def test_versions_machine_and_models_are_named() -> None:
    found = collect_diagnostics()
    assert found["versions"]["napari-hyperspace"] == hs.__version__
    assert found["versions"]["torch"] == version("torch")
    assert found["system"]["threads"] == str(torch.get_num_threads())
    assert "GB" in found["system"]["memory"]
    assert found["devices"]["cpu"] == "this processor"
    for name, path in hs.bundled_models().items():
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] in found["models"][name]
    assert found["log"] == {"level": "warning", "lines": "no file"}
    text = format_diagnostics(found)
    assert "versions:\n  napari-hyperspace: " in text
    assert all(line in text for line in ("rates:", "  cpu: not measured", "precisions: none"))
    json.dumps(found)


def test_stored_measurements_are_shown() -> None:
    choice = PrecisionChoice("bf16-channels-last", 0.01, {"fp32": 1.0}, (48, 48, 48))
    model = FakeModel(None, identity="0123456789abcdef0123456789abcdef")
    store.keep("precisions", choice_key(model, CPU, (1.0, 1.0, 2.0)), asdict(choice))
    store.keep("precisions", f"{NAME} | not a spacing | {NAME}", asdict(choice))
    store.keep("rates", calibrate._key(CPU), encode(CALIBRATION))
    found = collect_diagnostics()
    assert found["precisions"] == {
        "cpu, model 0123456789abcdef, about 1 × 1 × 2 mm": "bf16-channels-last"
    }
    assert found["rates"]["cpu"].startswith("stored less than a day ago: ")
    assert "fp32 100 GMAC/s" in found["rates"]["cpu"]
    assert NAME not in format_diagnostics(found)


def test_no_name_and_no_path_is_in_it(tmp_path: Path) -> None:
    log.log_error(ValueError(NAME), "testing")
    more = {"window": {"scan": "1 × 2 × 3 voxels"}}
    text = format_diagnostics(collect_diagnostics(more)) + json.dumps(collect_diagnostics(more))
    for planted in (NAME, str(tmp_path), str(Path.home()), getpass.getuser()):
        assert planted not in text
    assert "HYPERSPACE_CACHE: set" in text and "OMP_NUM_THREADS: set" in text
    assert "  lines: 1" in text and "window:\n  scan: 1 × 2 × 3 voxels" in text


def test_a_container_and_a_library_that_is_missing_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnostics, "container_limit_bytes", lambda: 2_000_000_000)
    monkeypatch.setattr(diagnostics, "_LIBRARIES", ("napari", "no-such-library"))

    def nothing(name: str) -> str:
        raise diagnostics.PackageNotFoundError(name)

    monkeypatch.setattr(diagnostics, "version", nothing)
    found = collect_diagnostics()
    assert found["system"]["memory limit of the container"] == "2.0 GB"
    assert found["versions"]["napari"] == "not installed"
    assert "no-such-library" not in found["versions"]
