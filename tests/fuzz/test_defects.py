"""Every known defect of a file is refused, in words that name it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

pytest.importorskip("lightning_fabric")
pytest.importorskip("monai")

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from tests.fuzz.defects import DEFECTS, Defect, run
from tests.fuzz.dicom import dicom_file
from tests.fuzz.limits import LONGEST_MESSAGE


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name.replace(" ", "-"))
def test_a_known_defect_is_refused(defect: Defect, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (tmp_path / "canary.raw").write_bytes(bytes(1000))
    with warnings.catch_warnings(), pytest.raises(HyperspaceError) as caught:
        warnings.simplefilter("ignore", HyperspaceWarning)
        run(defect, folder)
    # The folder has the name of the test: it must not match.
    text = str(caught.value.replace(where=None))
    assert re.search(defect.words, text), text
    assert len(str(caught.value)) < LONGEST_MESSAGE
    assert [path.name for path in folder.iterdir()] == list(defect.files())


def test_defects_have_small_files_that_are_the_same_every_time() -> None:
    names = [defect.name for defect in DEFECTS]
    assert len(set(names)) == len(names)
    for defect in DEFECTS:
        files = defect.files()
        assert sum(map(len, files.values())) < 3_000_000
        assert defect.files() == files


def test_bytes_behind_the_pixels_of_dicom_are_a_warning(tmp_path: Path) -> None:
    from napari_hyperspace.io import read

    (tmp_path / "scan.dcm").write_bytes(dicom_file(PixelData=bytes(40)))
    with pytest.warns(HyperspaceWarning, match="16 bytes after the pixels"):
        read(tmp_path / "scan.dcm")
