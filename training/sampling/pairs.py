"""Synthetic scans of whole heads, or of a part about the brain, with their labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Grid, Shape, Triple
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.io import write
from training.config.synthesis import SynthesisSection
from training.seeding import generator
from training.synthesis.labeled_head import LabeledHead
from training.synthesis.parameters import PairParameters
from training.synthesis.render import render
from training.synthesis.sample import sample_pair

_ROOM = 1.08  # bent heads are larger than their map by this


@dataclass(frozen=True)
class Pair:
    """A synthetic scan.

    Parameters
    ----------
    name
        What to call its files.
    source
        Name of the label map.
    image, labels
        The scan, float32, and the model's channels, int16; canonical order.
    draw
        What it was made by.
    """

    name: str
    source: str
    image: Volume
    labels: Volume
    draw: PairParameters


def whole_head(
    source: LabeledHead,
    config: SynthesisSection,
    spacing_mm: Triple,
    numbers: Sequence[int],
    *,
    seed: int = 0,
    contrast: str | None = None,
    size_mm: float | None = None,
) -> PairParameters:
    """Draw a scan of a head at a spacing.

    Parameters
    ----------
    source
        The label map.
    config
        What may happen.
    spacing_mm
        Spacing of the scan (z, y, x).
    numbers
        Which one of the seed's draws.
    seed
        Seed.
    contrast
        Kind of image; `None`: drawn.
    size_mm
        Edge of a part about the middle of the brain; `None`: the whole head.
    """
    head = source.head
    if size_mm is None:
        extent = _ROOM * np.multiply(head.shape, head.spacing_mm)
        center = (np.array(head.shape) - 1) / 2 * head.spacing_mm
    else:
        extent = np.full(3, size_mm)
        center = (head.brain_box[0] + head.brain_box[1]) / 2 * head.spacing_mm
    shape = np.maximum(np.ceil(extent / spacing_mm - 1e-4), 1).astype(int).tolist()
    rng = generator(seed, "synthesize", *numbers)
    draw = sample_pair(rng, config, head, spacing_mm, shape, contrast=contrast)
    return draw.at(center.tolist())


def make_pair(source: LabeledHead, draw: PairParameters, name: str) -> Pair:
    """Make a scan from its draw."""
    image, labels = render(source.head, draw, source.targets)
    grid = _grid(source.grid, draw)
    return Pair(
        name,
        source.name,
        Volume(image[0].numpy(), grid, name),
        Volume(labels.numpy(), grid, name),
        draw,
    )


def _grid(head: Grid, draw: PairParameters) -> Grid:
    """Return where a pair lies: unturned, its center where the draw took it from the head."""
    shape: Shape = draw.shape
    affine = np.eye(4)
    affine[:3, :3] = head.directions * draw.spacing_mm
    center = head.index_to_mm(np.array(draw.geometry.center_mm) / head.spacing_mm)
    affine[:3, 3] = center - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def fingerprint(source: LabeledHead) -> str:
    """Return what tells a label map from others."""
    total = hashlib.blake2b(digest_size=16)
    for part in source.parts():
        total.update(part)
    return total.hexdigest()


def write_pair(pair: Pair, source: LabeledHead, folder: Path, values: Sequence[int]) -> list[Path]:
    """Write a scan, its labels and its draw.

    Parameters
    ----------
    pair, source
        The scan, and the label map that it was made from.
    folder
        Where to write.
    values
        Label value of each channel from 1 on; where nothing is known, 0 is written.

    Returns
    -------
    list of Path
        `NAME.nii.gz`, `NAME_labels.nii.gz`, `NAME.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{pair.name}{end}" for end in (".nii.gz", "_labels.nii.gz", ".json")]
    write(pair.image, files[0])
    table = np.array([0, *values], np.uint16)
    write(pair.labels.with_array(table[pair.labels.array.clip(min=0)]), files[1])
    about = {
        "map": pair.source,
        "fingerprint": fingerprint(source),
        "draw": json.loads(pair.draw.to_json()),
    }
    files[2].write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return files


def read_draw(path: Path, sources: Sequence[LabeledHead]) -> tuple[LabeledHead, PairParameters]:
    """Read the draw of a pair that was written, and find its label map.

    Raises
    ------
    HyperspaceError
        If it cannot be read, or the map is missing or another one.
    """
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        name, mark = str(about["map"]), str(about["fingerprint"])
        draw = PairParameters.from_json(json.dumps(about["draw"]))
    except OSError as error:
        raise HyperspaceError(f"the draw cannot be read: {error.strerror}", where=path) from error
    except (ValueError, KeyError, TypeError) as error:
        raise HyperspaceError("not the draw of a synthetic pair", where=path, found=error) from None
    found = [source for source in sources if source.name == name]
    if not found:
        raise HyperspaceError(
            "the label map of this draw is not among those given",
            where=path,
            found=name,
            expected=", ".join(source.name for source in sources[:10]),
        )
    if fingerprint(found[0]) != mark:
        raise HyperspaceError(
            "the label map, or what its ids mean, is not the one of this draw",
            where=path,
            field="map",
            found=name,
        )
    return found[0], draw
