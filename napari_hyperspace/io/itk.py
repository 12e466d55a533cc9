"""Writing NRRD and MetaImage through SimpleITK."""

from __future__ import annotations

import string
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from SimpleITK import GetImageFromArray, WriteImage

from napari_hyperspace.core.volume import Volume, VolumeMetadata
from napari_hyperspace.io.base.decoded import turned
from napari_hyperspace.io.metaimage import MetaHeader
from napari_hyperspace.io.record import DESCRIPTION_KEY, describe_labels

# NRRD escapes backslashes; without any, every reader returns what was written.
_PLAIN = "".join(sorted(set(string.punctuation) - set("%\\")))

_TINY = float(np.finfo(np.float64).tiny)  # the smallest normal number


def encode(volume: Volume, path: Path) -> None:
    """Write a volume, compressed, in the format of the extension.

    Parameters
    ----------
    volume
        Of a type that SimpleITK supports.
    path
        Ends in ``.nrrd`` or ``.mha``.
    """
    affine = turned(volume.affine)
    is_nrrd = path.suffix.lower() == ".nrrd"
    # NRRD stores spacing × direction: unit spacings make that product exact.
    spacing, directions = ((1.0,) * 3, affine[:3, :3]) if is_nrrd else _factors(volume, affine)
    image = GetImageFromArray(volume.array.T)  # ITK's arrays are (k, j, i)
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(spacing)
    # ITK's decomposition of the matrix fails on subnormal numbers, with a message on stderr.
    image.SetDirection(np.where(np.abs(directions) < _TINY, 0, directions).ravel().tolist())
    if is_nrrd:
        pairs = _segments(volume)
        if volume.metadata.get("record") is not None:
            pairs[DESCRIPTION_KEY] = quote(describe_labels(_made(volume.metadata)), safe=_PLAIN)
        for key, value in pairs.items():
            image.SetMetaData(key, value)
    WriteImage(image, str(path), True)


def _factors(
    volume: Volume, affine: NDArray[np.float64]
) -> tuple[tuple[float, ...], NDArray[np.float64]]:
    """Split an LPS affine into spacing and directions: those of its file if they match."""
    kept = volume.metadata.get("header")
    if isinstance(kept, MetaHeader) and np.array_equal(
        kept.directions * kept.spacing_mm, affine[:3, :3]
    ):
        return kept.spacing_mm, kept.directions
    return volume.spacing_mm, affine[:3, :3] / volume.spacing_mm


def _made(metadata: VolumeMetadata) -> VolumeMetadata:
    """Return the metadata without names and colors, which are stored for each segment."""
    made = metadata.copy()
    made.pop("label_names", None)
    made.pop("label_colors", None)
    return made


def _segments(volume: Volume) -> dict[str, str]:
    """Return names and colors of labels as 3D Slicer stores them."""
    colors = volume.metadata.get("label_colors", {})
    pairs = {}
    for n, (label, name) in enumerate(volume.metadata.get("label_names", {}).items()):
        pairs[f"Segment{n}_ID"] = f"Segment_{label}"
        pairs[f"Segment{n}_LabelValue"] = str(label)
        pairs[f"Segment{n}_Layer"] = "0"
        pairs[f"Segment{n}_Name"] = name
        if label in colors:
            channels = (int(colors[label][i : i + 2], 16) / 255 for i in (1, 3, 5))
            pairs[f"Segment{n}_Color"] = " ".join(f"{channel:.6f}" for channel in channels)
    return pairs
