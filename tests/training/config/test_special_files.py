"""Pipes in place of files that configurations consist of are refused; opening one would wait."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

if not hasattr(os, "mkfifo"):
    pytest.skip("the system has no named pipes", allow_module_level=True)

_READ = """
import sys
from pathlib import Path
from napari_hyperspace import HyperspaceError
from napari_hyperspace.core.files import read_json
from napari_hyperspace.nets.model_file import check_model_target, load_model, read_card
from training.comparison.page import check_page
from training.config.base import read_yaml
from training.data.description import read_description
from training.data.pairs import read_table
from training.data.splits import read_split

pipe = Path(sys.argv[1])
for read in (
    read_yaml, read_split, read_table, read_json, check_model_target, load_model, read_card,
    check_page, lambda path: read_description(path.parent),
):
    try:
        read(pipe)
    except HyperspaceError as error:
        print(str(error).replace(str(pipe), ""))
    else:
        raise SystemExit(f"{read} accepts a pipe")
"""


def test_pipes_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pipe = tmp_path / "pipe.md.safetensors"
    os.mkfifo(pipe)
    os.mkfifo(tmp_path / "dataset.json")
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(pipe)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 9


def test_a_pipe_is_named_as_such(tmp_path: Path) -> None:
    from napari_hyperspace.core.errors import HyperspaceError
    from training.config.base import read_yaml

    os.mkfifo(tmp_path / "run.yaml")
    with pytest.raises(HyperspaceError, match="a pipe or a device"):
        read_yaml(tmp_path / "run.yaml")


def test_a_configuration_may_be_a_link(tmp_path: Path) -> None:
    from training.config.base import read_yaml

    (tmp_path / "run.yaml").write_text("name: run\n")
    (tmp_path / "link.yaml").symlink_to(tmp_path / "run.yaml")
    assert read_yaml(tmp_path / "link.yaml") == {"name": "run"}
