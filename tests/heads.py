"""Label maps of a head whose two halves are known, as a model without sides would make them."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Laterality, Record, Volume

# Label, center and half axes in mm (RAS) of ellipsoids; those off the middle exist on both sides.
HEAD = (
    (1, (20, 0, 10), (44, 66, 46)),
    (2, (24, 5, 8), (30, 50, 34)),
    (9, (8, 8, 14), (4, 24, 9)),
    (10, (0, -12, -34), (12, 12, 26)),
    (11, (27, -14, -8), (6, 20, 8)),
)
PAIRED = (1, 2, 11)
NAMES = {1: "cortex", 2: "white matter", 9: "ventricles", 10: "brain stem", 11: "hippocampus"}
SIDES = {value: Laterality(None, name, value in PAIRED) for value, name in NAMES.items()}
COLORS = {1: "#cd3e4e", 2: "#f5f5f5", 9: "#781286", 10: "#779fb0", 11: "#dcd814"}
RECORD = Record(
    model="m", model_digest="", spacing_mm=(1, 1, 1), precision="fp32", device="cpu", overlap=0.25
)


RAS = np.eye(3)
LIA = np.array([[-1, 0, 0], [0, 0, 1], [0, -1, 0]])


def head_on(grid: Grid, *, tilt_deg=(0, 0, 0), center_mm=(0, 0, 0)) -> tuple[Volume, np.ndarray]:
    """Return the labels of a head on a grid, and which of its voxels are in its right half."""
    index = np.stack(np.indices(grid.shape), axis=-1)
    turned = Rotation.from_euler("xyz", tilt_deg, degrees=True)
    own = turned.inv().apply((grid.index_to_mm(index) - center_mm).reshape(-1, 3))
    labels = np.zeros(len(own), np.uint8)
    for value, center, half in HEAD:
        for side in (-1, 1):
            inside = np.square((own - np.multiply(center, (side, 1, 1))) / half).sum(axis=1) <= 1
            labels[inside] = value
    # A dent at the front on one side and one at the back on the other: heads are not symmetric.
    labels[(own[:, 1] > 58) & (own[:, 0] < 0) | (own[:, 1] < -60) & (own[:, 0] > 0)] = 0
    metadata = {"label_names": NAMES, "label_sides": SIDES, "label_colors": COLORS}
    volume = Volume(labels.reshape(grid.shape), grid, "head", {**metadata, "record": RECORD})
    return volume, (own[:, 0] > 0).reshape(grid.shape)


def around(spacing_mm, *, rotation_deg=(0, 0, 0), axes=RAS, extent_mm=(190, 190, 190)):
    """Return a grid around the origin: array axes are columns of `axes`, and then rotated."""
    matrix = Rotation.from_euler("xyz", rotation_deg, degrees=True).as_matrix() @ axes
    shape = tuple(int(length / step) for length, step in zip(extent_mm, spacing_mm, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.array(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


ISOTROPIC = around((4, 4, 4))
