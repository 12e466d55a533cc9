"""Affine transforms of ITK against SimpleITK, and labels brought through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from training.evaluation.real.transform import UNKNOWN, bring_labels, read_affine

NUMBERS = [0.9, 0.2, -0.1, 0.05, 1.1, 0.3, -0.2, 0.1, 0.8, 4.0, -7.0, 2.5]
CENTER = [10.0, -20.0, 5.0]


def _written(path: Path, name: str = "AffineTransform_double_3_3") -> Path:
    path.write_text(
        f"#Insight Transform File V1.0\n#Transform 0\nTransform: {name}\n"
        f"Parameters: {' '.join(map(str, NUMBERS))}\nFixedParameters: "
        f"{' '.join(map(str, CENTER))}\n"
    )
    return path


@pytest.mark.parametrize(
    "name", ["AffineTransform_double_3_3", "MatrixOffsetTransformBase_double_3_3"]
)
def test_points_are_mapped_as_by_itk(name: str, tmp_path: Path) -> None:
    affine = read_affine(_written(tmp_path / "a.txt", name))
    itk = SimpleITK.ReadTransform(str(_written(tmp_path / "b.txt")))
    for point in np.random.default_rng(3).uniform(-90, 90, (5, 3)):
        x, y, z = point
        a, b, c = itk.TransformPoint((-x, -y, z))
        np.testing.assert_allclose((affine @ [*point, 1])[:3], (-a, -b, c), atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("AffineTransform", "BSplineTransform"),
        ("0.9 0.2", "x 0.2"),
        ("0.9 0.2", "nan 0.2"),
        ("FixedParameters", "Other"),
        ("Parameters: 0.9", "Parameters: 1 0.9"),
        ("#Transform 0\n", "Transform: AffineTransform_double_3_3\n"),
        (" ".join(map(str, NUMBERS[:9])), "1 0 0 1 0 0 0 0 1"),
    ],
)
def test_what_is_no_affine_transform_is_refused(old: str, new: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "a.txt")
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(HyperspaceError, match="not an affine transform"):
        read_affine(path)
    with pytest.raises(HyperspaceError, match="cannot be read"):
        read_affine(tmp_path / "missing.txt")


def test_labels_are_taken_where_the_transform_says() -> None:
    rng = np.random.default_rng(5)
    labels = Volume(rng.integers(0, 9, (9, 8, 7)), Grid((9, 8, 7), np.diag([2.0, 1.5, 3.0, 1])))
    # A grid of which each voxel lies on one of the label map, two further along the first axis.
    shift = np.eye(4)
    shift[0, 3] = 4.0
    brought = bring_labels(labels, labels.grid, shift)
    np.testing.assert_array_equal(brought[:-2], labels.array[2:])
    assert (brought[-2:] == UNKNOWN).all()
    turned = Grid((8, 9, 7), np.array([[0, 2, 0, 0], [1.5, 0, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]]))
    brought = bring_labels(labels, turned, np.eye(4))
    np.testing.assert_array_equal(brought, labels.array.swapaxes(0, 1))
