"""The contrast that the name of a scan says."""

from __future__ import annotations

import pytest

from napari_hyperspace.nets.accuracy import contrast_in_name


@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("sub-01_T1w", "t1"),
        ("study1_T1W.nii.gz", "t1"),
        ("t1_mprage_sag", "t1"),
        ("AX T2 FLAIR", "flair"),
        ("tse-t2w", "t2"),
        ("PDw", "pd"),
        ("image", None),
        ("t10", None),
        ("ct2", None),
        ("", None),
    ],
)
def test_contrast_in_name(name: str, contrast: str | None) -> None:
    assert contrast_in_name(name) == contrast
