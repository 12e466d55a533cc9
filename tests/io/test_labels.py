from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import check_labels, check_pair

GRID = Grid((2, 3, 4), np.diag([1.0, 2.0, 4.0, 1.0]))


def labels(*values: Any, dtype: str = "int16") -> Volume:
    array = np.zeros((2, 3, 4), dtype)
    array.flat[: len(values)] = values
    return Volume(array, GRID, "labels", {"path": "labels.nii", "label_names": {1: "one"}})


@pytest.mark.parametrize(
    ("values", "given", "wanted"),
    [
        ((1, 2), "int64", "uint8"),
        ((255,), "float64", "uint8"),
        ((256,), "float32", "uint16"),
        ((65536,), "int32", "uint32"),
        ((2**40,), "int64", "uint64"),
        ((1,), "bool", "uint8"),
    ],
)
def test_ids_get_the_smallest_type_that_holds_them(
    values: tuple[int, ...], given: str, wanted: str
) -> None:
    """Fault 32 of the list of bad inputs."""
    before = labels(*values, dtype=given)
    after = check_labels(before)
    assert after.dtype == np.dtype(wanted)
    np.testing.assert_array_equal(after.array, before.array)
    assert after.grid == GRID and after.metadata["label_names"] == {1: "one"}


def test_fractional_ids_are_listed() -> None:
    """Fault 28 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="whole numbers") as caught:
        check_labels(labels(0.5, 0.5, 1, 2.25, np.inf, dtype="float32"))
    assert caught.value.found == "0.5 (2 voxels), 2.25 (1 voxels), inf (1 voxels)"
    assert caught.value.where == "labels.nii"


def test_unknown_and_negative_ids_are_listed_with_counts() -> None:
    """Fault 29 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="unknown or negative") as caught:
        check_labels(labels(1, 2, 7, 7, 7, -1), {1, 2})
    assert caught.value.found == "-1 (1 voxels), 7 (3 voxels)"
    assert caught.value.expected == "0, 1, 2"
    with pytest.raises(HyperspaceError, match="negative"):
        check_labels(labels(-3))
    assert check_labels(labels(1, 2), [1, 2, 3]).array.max() == 2


def test_long_lists_of_unknown_ids_are_shortened() -> None:
    """Fault 29 of the list of bad inputs."""
    with pytest.raises(HyperspaceError, match="and 3 more"):
        check_labels(labels(*range(1, 24)), [0])


def test_all_background_warns() -> None:
    """Fault 31 of the list of bad inputs."""
    with pytest.warns(HyperspaceWarning, match=r"labels\.nii: .*all background"):
        assert check_labels(labels()).dtype == np.uint8


def test_grids_must_agree() -> None:
    """Fault 30 of the list of bad inputs."""
    image = Volume(np.zeros((2, 3, 4)), GRID, "image", {"path": "image.nii"})
    check_pair(image, labels())
    moved = GRID.affine.copy()
    moved[0, 3] += 5e-4
    check_pair(image, Volume(np.zeros((2, 3, 4)), Grid((2, 3, 4), moved)))
    moved[1, 3] += 3
    with pytest.raises(HyperspaceError, match=r"not on the grid of image\.nii") as caught:
        check_pair(image, Volume(np.zeros((2, 3, 4)), Grid((2, 3, 4), moved), "labels"))
    assert caught.value.found == "corners up to 3 mm apart"
    with pytest.raises(HyperspaceError, match="shape") as caught:
        check_pair(image, Volume(np.zeros((2, 3, 5)), Grid((2, 3, 5), GRID.affine)))
    assert (caught.value.found, caught.value.expected) == ((2, 3, 5), (2, 3, 4))
