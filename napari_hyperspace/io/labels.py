"""Label maps: checks of their values and grid, and tables of their names for other programs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_hyperspace.core.errors import HyperspaceError, HyperspaceWarning, printable
from napari_hyperspace.core.files import resolved, stem_of, write_text
from napari_hyperspace.core.structures import colors_for
from napari_hyperspace.core.volume import Volume

_SAME_GRID_MM = 1e-3
_MOST_LISTED = 20


def check_labels(volume: Volume, known_values: Collection[int] | None = None) -> Volume:
    """Return a label map in the smallest unsigned integer type.

    Parameters
    ----------
    volume
        Label ids of any numeric type: files with intensity scaling are read as floats.
    known_values
        Ids that may occur, besides 0 for the background; `None`: any that is not negative.

    Returns
    -------
    Volume
        The same grid, name and metadata; uint8, uint16, uint32 or uint64.

    Raises
    ------
    HyperspaceError
        If ids are fractional, negative or unknown, with the number of voxels of each.

    Warns
    -----
    HyperspaceWarning
        If all voxels are background.
    """
    where = volume.metadata.get("path") or volume.name
    values, counts = np.unique(volume.array, return_counts=True)
    fractional = ~np.isfinite(values) | (values != np.round(values))
    if fractional.any():
        raise HyperspaceError(
            "label ids must be whole numbers",
            where=where,
            field="label ids",
            found=_listed(values[fractional], counts[fractional]),
            fix="The label map was interpolated, or is an image: use the original label map",
        )
    ids = np.array([int(value) for value in values.tolist()], dtype=object)
    allowed = None if known_values is None else {0, *known_values}
    bad = np.array([i < 0 or (allowed is not None and i not in allowed) for i in ids], dtype=bool)
    if bad.any():
        raise HyperspaceError(
            "the label map has unknown or negative ids",
            where=where,
            field="label ids",
            found=_listed(ids[bad], counts[bad]),
            expected=None if allowed is None else ", ".join(map(str, sorted(allowed))),
        )
    if not any(ids):
        warnings.warn(f"{where}: the label map is all background", HyperspaceWarning, stacklevel=2)
    dtype = np.min_scalar_type(max(ids))
    return volume.with_array(volume.array.astype(dtype, copy=False))


def _listed(values: NDArray[Any], counts: NDArray[np.int64]) -> str:
    parts = [f"{v} ({n} voxels)" for v, n in zip(values, counts, strict=True)]
    more = f" and {len(parts) - _MOST_LISTED} more" if len(parts) > _MOST_LISTED else ""
    return ", ".join(parts[:_MOST_LISTED]) + more


def check_pair(image: Volume, labels: Volume, tolerance_mm: float = _SAME_GRID_MM) -> None:
    """Raise an error if an image and a label map are not on the same grid.

    Raises
    ------
    HyperspaceError
        If their shapes differ or their corners are more than ``tolerance_mm`` apart.
    """
    where = labels.metadata.get("path") or labels.name
    other = image.metadata.get("path") or image.name or "the image"
    if image.shape != labels.shape:
        raise HyperspaceError(
            f"the labels are not on the grid of {other}",
            where=where,
            field="shape",
            found=labels.shape,
            expected=image.shape,
        )
    distance = image.grid.corner_distance_mm(labels.grid)
    if not distance <= tolerance_mm:
        raise HyperspaceError(
            f"the labels are not on the grid of {other}",
            where=where,
            field="affine",
            found=f"corners up to {distance:.4g} mm apart",
            expected=f"at most {tolerance_mm:g} mm",
            fix="Resample the labels to the image's grid (nearest neighbor)",
        )


def label_table_path(path: str | os.PathLike[str]) -> Path:
    """Return where BIDS expects the table of a label map: ``x_dseg.tsv`` for ``x.nii.gz``."""
    target = Path(path)
    return target.with_name(f"{stem_of(target).removesuffix('_dseg')}_dseg.tsv")


def write_label_table(labels: Volume, path: str | os.PathLike[str]) -> Path:
    """Write names and colors of a label map to a text file that other programs read.

    Parameters
    ----------
    labels
        A label map with names. Labels without a color get one of `core.structures.LABEL_COLORS`.
    path
        Ends in ``.tsv``: the table of BIDS with the columns index, name and color; or in
        ``.txt`` or ``.label``: the label descriptions of ITK-SNAP. Replaced atomically.

    Raises
    ------
    HyperspaceError
        If the labels have no names, the extension is another one, or the file cannot be written.

    References
    ----------
    https://bids-specification.readthedocs.io (derivatives, common data types, imaging: discrete
    segmentations)
    """
    target = resolved(path)
    names = labels.metadata.get("label_names", {})
    if not names:
        raise HyperspaceError("these labels have no names", where=labels.name or None)
    colors = colors_for(names, labels.metadata.get("label_colors", {}))
    # A tab, line break or quotation mark would end a field.
    plain = {value: " ".join(printable(names[value]).split()) for value in sorted(names)}
    suffix = target.suffix.lower()
    if suffix == ".tsv":
        lines = ["index\tname\tcolor"]
        lines += [f"{value}\t{name}\t{colors[value]}" for value, name in plain.items()]
    elif suffix in (".txt", ".label"):
        lines = ["# ITK-SnAP Label Description File", "# IDX -R- -G- -B- -A- VIS MSH LABEL"]
        lines.append('0 0 0 0 0 0 0 "Clear Label"')
        for value, name in plain.items():
            red, green, blue = bytes.fromhex(colors[value][1:])
            quoted = name.replace('"', "'")
            lines.append(f'{value} {red} {green} {blue} 1 1 1 "{quoted}"')
    else:
        raise HyperspaceError(
            "the format of a table of labels is chosen by its extension",
            where=target,
            found=suffix or "none",
            expected=".tsv (BIDS), .txt or .label (ITK-SNAP)",
        )
    write_text(target, "\n".join(lines) + "\n")
    return target
