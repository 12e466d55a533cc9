"""Synthetic scans of whole heads, or of a cube around the brain, and their files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, read_json, write_text
from napari_hyperspace.core.format import format_bytes
from napari_hyperspace.core.geometry import Grid, Triple
from napari_hyperspace.core.memory import available_host_bytes
from napari_hyperspace.core.spacing import check_plausible_spacing
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import write
from training.config.synthesis import SynthesisSection
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead
from training.synthesis.parameters import PairParameters
from training.synthesis.render import render
from training.synthesis.sample import sample_pair
from training.synthesis.stored import check_sizes, parameters_from, rendering_bytes

_MARGIN = 1.08  # extent of the scan relative to the map: a deformed head may be larger than its map
_FORMER_PARAMETERS_KEY = "draw"  # of "parameters", in files written before


@dataclass(frozen=True)
class SyntheticPair:
    """A synthetic scan and its labels.

    Parameters
    ----------
    name
        Name of its files, without their endings.
    source
        Name of the label map.
    image, labels
        The scan, float32, and the channels of the model, int16; canonical order.
    parameters
        The parameters that it was rendered from.
    """

    name: str
    source: str
    image: Volume
    labels: Volume
    parameters: PairParameters


def sample_whole_head(
    source: LabeledHead,
    config: SynthesisSection,
    spacing_mm: Triple,
    numbers: Sequence[int],
    *,
    seed: int = 0,
    contrast: str | None = None,
    size_mm: float | None = None,
) -> PairParameters:
    """Sample the parameters of a scan of a head.

    Parameters
    ----------
    source
        The label map.
    config
        Ranges of the random parameters.
    spacing_mm
        Spacing of the scan (z, y, x).
    numbers
        Indices of the scan; scans with different indices are independent.
    seed
        Seed of the random parameters.
    contrast
        Kind of image; `None`: random.
    size_mm
        Edge of a cube around the center of the brain; `None`: the whole head.

    Raises
    ------
    HyperspaceError
        If the spacing is implausible, or the scan would have too many voxels.
    """
    check_plausible_spacing(spacing_mm)
    head = source.head
    if size_mm is None:
        extent = _MARGIN * np.multiply(head.shape, head.spacing_mm)
        center = (np.array(head.shape) - 1) / 2 * head.spacing_mm
    else:
        extent = np.full(3, size_mm)
        center = (head.brain_box[0] + head.brain_box[1]) / 2 * head.spacing_mm
    shape = np.maximum(np.ceil(extent / spacing_mm - 1e-4), 1).astype(int).tolist()
    rng = generator(seed, "synthesize", *numbers)
    parameters = sample_pair(rng, config, head, spacing_mm, shape, contrast=contrast)
    try:
        check_sizes(parameters)
    except ValueError as error:
        raise HyperspaceError(
            "the scan would be too large",
            field="spacing_mm",
            found=error,
            fix="Choose a coarser spacing, or a smaller size",
        ) from error
    return parameters.at(center.tolist())


def make_pair(source: LabeledHead, parameters: PairParameters, name: str) -> SyntheticPair:
    """Render a scan from its parameters.

    Raises
    ------
    HyperspaceError
        If it does not fit into the memory.
    """
    needed, free = rendering_bytes(parameters), available_host_bytes()
    if needed > free:
        raise HyperspaceError(
            "the pair does not fit into the memory",
            where=name,
            found=f"{format_bytes(free)} free",
            expected=format_bytes(needed),
            fix="Choose a coarser spacing, or a smaller size",
        )
    image, labels = render(source.head, parameters, source.targets)
    grid = _grid(source.grid, parameters)
    return SyntheticPair(
        name,
        source.name,
        Volume(image[0].numpy(), grid, name),
        Volume(labels.numpy(), grid, name),
        parameters,
    )


def _grid(head: Grid, parameters: PairParameters) -> Grid:
    """Return the grid of a pair: the axes of the map, centered at the center of the parameters."""
    affine = np.eye(4)
    affine[:3, :3] = head.directions * parameters.spacing_mm
    center = head.index_to_mm(np.array(parameters.geometry.center_mm) / head.spacing_mm)
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(parameters.shape) - 1) / 2)
    return Grid(parameters.shape, affine)


def fingerprint(source: LabeledHead) -> str:
    """Return a hash that identifies a label map and its channels."""
    total = hashlib.blake2b(digest_size=16)
    for part in source.parts():
        total.update(part)
    return total.hexdigest()


def pair_files(folder: Path, name: str) -> list[Path]:
    """Return the files of a pair: the scan, its labels and its parameters."""
    return [folder / f"{name}{end}" for end in (".nii.gz", "_labels.nii.gz", ".json")]


def write_pair(
    pair: SyntheticPair, source: LabeledHead, folder: Path, values: Sequence[int]
) -> list[Path]:
    """Write a scan, its labels and its parameters.

    Parameters
    ----------
    pair, source
        The scan, and the label map that it was made from.
    folder
        Folder to write to.
    values
        Label value of each channel from 1 on; 0 is written where the label is unknown.

    Returns
    -------
    list of Path
        `NAME.nii.gz`, `NAME_labels.nii.gz`, `NAME.json`.
    """
    create_folder(folder)
    files = pair_files(folder, pair.name)
    write(pair.image, files[0])
    table = np.array([0, *values], np.uint16)
    write(pair.labels.with_array(table[pair.labels.array.clip(min=0)]), files[1])
    about = {
        "map": pair.source,
        "fingerprint": fingerprint(source),
        "parameters": pair.parameters.to_dict(),
    }
    write_text(files[2], json.dumps(about, indent=1) + "\n")
    return files


def read_parameters(
    path: Path, sources: Sequence[LabeledHead]
) -> tuple[LabeledHead, PairParameters]:
    """Read the parameters of a pair that was written, and find its label map.

    Raises
    ------
    HyperspaceError
        If the file cannot be read, or the label map is missing or has changed.
    """
    about = read_json(path, "file of parameters")
    try:
        name, identity, parameters = _parse(about)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HyperspaceError(
            "the file does not contain the parameters of a synthetic pair", where=path, found=error
        ) from None
    found = [source for source in sources if source.name == name]
    if not found:
        raise HyperspaceError(
            "the label map of this pair is not among those given",
            where=path,
            found=name,
            expected=", ".join(source.name for source in sources[:10]),
        )
    if fingerprint(found[0]) != identity:
        raise HyperspaceError(
            "the label map, or the meaning of its ids, has changed since the pair was written",
            where=path,
            field="map",
            found=name,
        )
    return found[0], parameters


def _parse(about: Any) -> tuple[str, str, PairParameters]:
    """Return name and fingerprint of the label map, and the parameters."""
    key = "parameters" if "parameters" in about else _FORMER_PARAMETERS_KEY
    parameters = parameters_from(about[key])
    return str(about["map"]), str(about["fingerprint"]), parameters
