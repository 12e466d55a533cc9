"""A peer is a script: it is run once per image, and what it writes is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from training.evaluation.real.peer import Peer

SCRIPT = """import sys, nibabel, numpy
image = nibabel.load(sys.argv[1])
labels = (image.get_fdata() > 5).astype("uint8") * 3
nibabel.save(nibabel.Nifti1Image(labels, image.affine), sys.argv[2])
"""


@pytest.fixture
def scan() -> Volume:
    array = np.random.default_rng(0).uniform(0, 10, (6, 5, 4)).astype(np.float32)
    return Volume(array, Grid((6, 5, 4), np.diag([-2.0, 2.0, 3.0, 1])), "a scan")


def test_a_peer_is_run_once_per_image(scan: Volume, tmp_path: Path) -> None:
    script = tmp_path / "peer.py"
    script.write_text(SCRIPT)
    peer = Peer.parse(f"other={script}", tmp_path / "kept")
    assert peer.name == "other"
    labels = peer.segment(scan)
    np.testing.assert_array_equal(labels.array, np.where(scan.array > 5, 3, 0))
    assert labels.grid.is_close(scan.grid)
    (file,) = (tmp_path / "kept").iterdir()
    before = file.stat().st_mtime_ns
    np.testing.assert_array_equal(peer.segment(scan).array, labels.array)
    assert file.stat().st_mtime_ns == before
    # Another image, and another version of the script, are other results.
    assert peer.segment_finely(scan).spacing_mm == (1, 1, 1)
    script.write_text(SCRIPT.replace("* 3", "* 4"))
    assert peer.segment(scan).array.max() == 4
    assert len(list((tmp_path / "kept").iterdir())) == 3


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("> 5", "> 5 / 0", "division by zero"),
        ("labels, image.affine", "labels[1:], image.affine", "not usable"),
        ("* 3", "* 255", "not usable"),
        ("nibabel.save", "print", "exit status 0"),
    ],
)
def test_a_peer_that_fails_is_refused(
    old: str, new: str, problem: str, scan: Volume, tmp_path: Path
) -> None:
    script = tmp_path / "peer.py"
    script.write_text(SCRIPT.replace(old, new))
    with pytest.raises(HyperspaceError, match=problem):
        Peer.parse(f"other={script}").segment(scan)


def test_a_peer_needs_a_name_and_a_script(tmp_path: Path) -> None:
    for text in ("other", f"={tmp_path}", "other=missing.py"):
        with pytest.raises(HyperspaceError, match="not a peer"):
            Peer.parse(text)
