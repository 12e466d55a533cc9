from __future__ import annotations

import numpy as np
import pytest

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume


def volume() -> Volume:
    affine = np.array([[0, 0, 2.0, 0], [3.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    return Volume(array, Grid((2, 3, 4), affine), "scan", {"format": "nifti"})


def test_a_volume_cannot_be_changed():
    scan = volume()
    with pytest.raises(ValueError, match="read-only"):
        scan.array[0, 0, 0] = 1
    with pytest.raises(TypeError):
        scan.metadata["format"] = "nrrd"
    with pytest.raises(AttributeError):
        scan.name = "other"


def test_the_callers_array_stays_writable():
    array = np.zeros((2, 3, 4))
    Volume(array, Grid.from_spacing((2, 3, 4), (1, 1, 1)))
    array[0, 0, 0] = 1


def test_canonical_is_a_view_in_place():
    scan = volume()
    turned = scan.canonical()
    assert np.shares_memory(turned.array, scan.array)
    assert turned.spacing_mm == pytest.approx((4, 3, 2))
    assert turned.shape == (3, 2, 4)
    # Canonical axes run to Inferior, Posterior, Left: the last voxel of the array comes first.
    assert turned.array[0, 0, 0] == scan.array[-1, -1, -1]
    assert "format" not in turned.metadata


def test_with_array_keeps_the_grid():
    scan = volume()
    labels = scan.with_array(np.ones(scan.shape, np.uint8), name="labels")
    assert labels.grid == scan.grid
    assert (labels.name, labels.metadata["format"]) == ("labels", "nifti")
    with pytest.raises(HyperspaceError, match="differ in shape"):
        scan.with_array(np.ones((3, 3, 3)))
