"""Plug-in and command line give the same labels for the same scan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


def _run(*command: str, cwd: Path) -> None:
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_plugin_and_command_line_give_the_same_labels(tmp_path):
    pytest.importorskip("nilearn", reason="nilearn has the sample image")
    if not os.environ.get("DISPLAY"):
        pytest.skip("no display: install Xvfb, and pytest-xvfb starts one")
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
