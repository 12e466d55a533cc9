"""What README and guide show is run as it stands; plug-in and command line give the same labels."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]


def _blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _run(*command: str, cwd: Path) -> str:
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def folder_with_scan(tmp_path):
    """Return a folder with a real scan in it, named as in the documents."""
    if not os.environ.get("HYPERSPACE_DATA"):
        pytest.skip("HYPERSPACE_DATA is not set: no real scan")
    images = Path(os.environ["HYPERSPACE_DATA"], "hippocampus", "imagesTr")
    source = min(images.glob("[!.]*.nii.gz"))
    (tmp_path / "scan.nii.gz").write_bytes(source.read_bytes())
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_python_examples_run(document, folder_with_scan):
    (example,) = _blocks(document, "python")
    _run(sys.executable, "-W", "error", "-c", example, cwd=folder_with_scan)
    scan, labels = (nib.load(folder_with_scan / f"{name}.nii.gz") for name in ("scan", "labels"))
    assert labels.shape == scan.shape
    assert labels.affine.tobytes() == scan.affine.tobytes()
    assert set(np.unique(np.asarray(labels.dataobj))) == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("document", ["README.md", "docs/guide.md"])
def test_commands_that_need_no_training_run(document, folder_with_scan):
    lines = "".join(_blocks(document, "bash")).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if "-m training" in line]
    harmless = [words for words in commands if words[3] in {"predict", "estimate", "info"}]
    assert harmless
    for python, *arguments in harmless:
        assert python == "python"
        _run(sys.executable, *arguments, cwd=folder_with_scan)


@pytest.mark.slow
def test_plugin_and_command_line_give_the_same_labels(tmp_path):
    for module in ("napari", "nilearn"):
        pytest.importorskip(module, reason="a whole viewer and its sample image are needed")
    if not os.environ.get("DISPLAY"):
        pytest.skip("no display: pytest-xvfb starts one where Xvfb is installed")
    demo = [str(ROOT / "docs/scripts/demo.py"), "--model", "hippocampus", "--output", "."]
    _run(sys.executable, *demo, cwd=tmp_path)
    timings = json.loads((tmp_path / "timings.json").read_text())
    assert timings["click_to_labels_seconds"] > 0

    predict = [*("-m", "training", "predict", "scan.nii.gz", "again.nii.gz"), "--model"]
    _run(sys.executable, *predict, "hippocampus", cwd=tmp_path)
    seen, again = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("segmentation", "again"))
    assert seen.affine.tobytes() == again.affine.tobytes()
    np.testing.assert_array_equal(np.asarray(seen.dataobj), np.asarray(again.dataobj))
    assert set(timings["voxels"]) == {"0", "1", "2"}
