"""Sample images: the MNI152 T1-weighted template, whole and cropped around a hippocampus."""

from __future__ import annotations

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.gui.adapters.layers import LayerData, to_layer_data

# Center of the right hippocampus in RAS+ mm of MNI space, and the shape of the crop around it in
# canonical order: that of the crops that the hippocampus model was trained on.
_HIPPOCAMPUS_CENTER_MM = (27.0, -22.0, -14.0)
_HIPPOCAMPUS_SHAPE = (36, 51, 35)


def mni152() -> list[LayerData]:
    """Return the MNI152 T1 template at 1 mm."""
    return [to_layer_data(mni152_volume())]


def mni152_hippocampus() -> list[LayerData]:
    """Return the MNI152 T1 template at 1 mm, cropped around the right hippocampus."""
    return [to_layer_data(crop_hippocampus(mni152_volume().canonical()))]


def mni152_volume() -> Volume:
    """Return the MNI152 T1 template at 1 mm, which is included in nilearn.

    Raises
    ------
    HyperspaceError
        If nilearn is not installed.
    """
    try:
        from nilearn.datasets import load_mni152_template
    except ImportError as error:
        raise HyperspaceError(
            "the sample images are part of nilearn, which is not installed",
            fix='Run: pip install "napari-hyperspace[all]"',
        ) from error
    image = load_mni152_template(resolution=1)
    array = np.asarray(image.dataobj)
    return Volume(array, Grid(array.shape, image.affine), "MNI152 T1")


def crop_hippocampus(volume: Volume) -> Volume:
    """Crop a canonical volume in MNI space to the block around the right hippocampus."""
    center = np.round(volume.grid.mm_to_index(_HIPPOCAMPUS_CENTER_MM)).astype(int)
    start = center - np.array(_HIPPOCAMPUS_SHAPE) // 2
    block = tuple(slice(a, a + n) for a, n in zip(start, _HIPPOCAMPUS_SHAPE, strict=True))
    return Volume(
        volume.array[block],
        volume.grid.crop(start.tolist(), _HIPPOCAMPUS_SHAPE),
        f"{volume.name} hippocampus",
    )
