"""Dice and surface distance on real scans, against labels or against a peer's labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_hyperspace.api.segment import segment
from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.files import create_folder, read_text, write_text
from napari_hyperspace.core.format import format_spacing
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.core.progress import ReportProgress
from napari_hyperspace.core.volume import Volume
from napari_hyperspace.inference.options import InferenceOptions
from napari_hyperspace.io.api import read
from napari_hyperspace.io.labels import check_labels, check_pair
from napari_hyperspace.nets.model import Model
from training.evaluation.metrics import agreement, default_tolerance
from training.evaluation.real.config import REFERENCE, RealScan, RealScans
from training.evaluation.real.peer import Peer
from training.evaluation.real.transform import bring_labels, read_affine

ACCURACY, AGREEMENT, NEITHER = "accuracy", "agreement", "neither"
_IDENTITY = np.eye(4)


@dataclass(frozen=True)
class RealRow:
    """One structure of a scan at a working spacing, on the scan's own grid.

    Parameters
    ----------
    method
        Name of the model or of the peer.
    scan, contrast
        The scan.
    kind
        ``"accuracy"``: against labels of the scan. ``"agreement"``: against the peer's labels of
        the T1-weighted scan of the same visit. ``"neither"``: only the volume is known.
    z_mm, y_mm, x_mm, own
        Working spacing, and whether it is the scan's own.
    structure
        Name of the label.
    dice, hd95_mm
        Dice and 95th percentile of the surface distance; NaN if neither has the structure.
    volume_ml, reference_ml
        Volume in the result and in the reference.
    """

    method: str
    scan: str
    contrast: str
    kind: str
    z_mm: float
    y_mm: float
    x_mm: float
    own: bool
    structure: str
    dice: float
    hd95_mm: float
    volume_ml: float
    reference_ml: float


COLUMNS = [field.name for field in fields(RealRow)]


@dataclass(frozen=True)
class RealScores:
    """The measurements of a model, and of a peer, on real scans.

    Parameters
    ----------
    model, digest
        Name of the model, and digest of what its labels depend on.
    peer
        Name of the peer; empty without one.
    scans
        The scans.
    best
        Whether the model ran in its most accurate and slowest way; see `InferenceOptions`.
    rows
        A row per `RealRow`.
    """

    model: str
    digest: str
    peer: str
    scans: RealScans
    rows: pd.DataFrame


def measure_real(
    model: Model,
    scans: RealScans,
    peer: Peer | None = None,
    options: InferenceOptions | None = None,
    *,
    kept: Path | None = None,
    show: ReportProgress = lambda fraction, message: None,
) -> RealScores:
    """Segment real scans as a user's would be, and compare the labels with what is known.

    Labels of the same visit are never the model's own: without a peer, only scans with labels are
    compared.

    Parameters
    ----------
    model
        The model; its label values are those of the label maps and of the peer.
    scans
        From `load_real_scans`.
    peer
        The program to compare with.
    options
        How the model runs; by default in fp32, which is reproducible.
    kept
        Folder of the rows of each scan, which are used again if nothing has changed; `None`: none.
    show
        Called with the fraction done and the next scan.
    """
    options = options or InferenceOptions(precision="fp32", outside="clamp")
    parts = []
    fine: dict[str, Volume] = {}  # the peer's labels of each visit's T1
    for i, scan in enumerate(scans.scans):

        def tell(message: str, done: float = i / len(scans.scans)) -> None:
            show(done, message)

        file = None
        if kept is not None:
            create_folder(kept)
            file = kept / f"{_key(model, scans, scan, peer, options)}.json"
        if file is not None and file.is_file():
            parts.append(pd.DataFrame(json.loads(read_text(file)), columns=COLUMNS))
            continue
        rows = _measure(model, scans, scan, peer, options, fine, tell)
        parts.append(pd.DataFrame([astuple(row) for row in rows], columns=COLUMNS))
        if file is not None:
            write_text(file, json.dumps(parts[-1].to_dict("records")))
    frame = pd.concat(parts, ignore_index=True)
    return RealScores(model.name, model.digest, peer.name if peer else "", scans, frame)


def _key(
    model: Model,
    scans: RealScans,
    scan: RealScan,
    peer: Peer | None,
    options: InferenceOptions,
) -> str:
    """Return a digest of what the rows of a scan depend on."""
    reference = scans.reference_of(scan)
    parts = [
        model.digest,
        scan.model_dump_json(),
        reference.model_dump_json() if reference else "",
        repr(scans.working_spacings(scan)),
        "" if peer is None else peer.name + peer.script.read_text(encoding="utf-8"),
        repr(options),
        *(str(Path(one.image).stat().st_size) for one in (scan, reference or scan)),
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()


def _measure(
    model: Model,
    scans: RealScans,
    scan: RealScan,
    peer: Peer | None,
    options: InferenceOptions,
    fine: dict[str, Volume],
    tell: Callable[[str], None],
) -> list[RealRow]:
    """Return the rows of a scan; one with nothing to compare with, at its own spacing only."""
    image = read(scan.image)
    kind, truth, by_peer = _reference(model, scans, scan, image, peer, fine, tell)
    own = image.grid.canonical().spacing_mm
    rows = []
    if by_peer is not None and peer is not None:
        rows += _rows(model, scan, kind, peer.name, own, by_peer, truth, own_spacing=True)
    results: dict[Triple, Volume] = {}
    for wanted in [None] if kind == NEITHER else scans.working_spacings(scan):
        spacing = wanted or own
        tell(f"{scan.name}, {format_spacing(spacing)}")
        found = results.get(spacing) or segment(image, model, spacing, options)
        results[spacing] = found
        rows += _rows(model, scan, kind, model.name, spacing, found, truth, wanted is None)
    return rows


def _reference(
    model: Model,
    scans: RealScans,
    scan: RealScan,
    image: Volume,
    peer: Peer | None,
    fine: dict[str, Volume],
    tell: Callable[[str], None],
) -> tuple[str, NDArray[np.integer] | None, Volume | None]:
    """Return what a scan is compared with, on its grid, and the peer's own result to compare."""
    if scan.labels is not None:
        labels = check_labels(read(scan.labels), model.label_names)
        check_pair(image, labels)
        known = {model.label_names[int(value)] for value in np.unique(labels.array) if value}
        wrong = sorted(known & set(scan.without))
        if wrong:
            raise HyperspaceError(
                "the label map has structures that it is said not to have",
                where=scan.name,
                field="without",
                found=", ".join(wrong),
            )
        if peer is not None and scan.contrast == REFERENCE:
            tell(f"{scan.name}, {peer.name}")
            return ACCURACY, labels.array, peer.segment(image)
        return ACCURACY, labels.array, None
    source = scans.reference_of(scan)
    if source is None or peer is None:
        return NEITHER, None, None
    if source.name not in fine:
        tell(f"{source.name}, {peer.name}")
        fine[source.name] = peer.segment_finely(read(source.image))
    common_to_source, common_to_scan = (
        _IDENTITY if one.transform is None else read_affine(one.transform) for one in (source, scan)
    )
    mapping = common_to_source @ np.linalg.inv(common_to_scan)
    return AGREEMENT, bring_labels(fine[source.name], image.grid, mapping), None


def _rows(
    model: Model,
    scan: RealScan,
    kind: str,
    method: str,
    spacing_mm: Triple,
    found: Volume,
    truth: NDArray[np.integer] | None,
    own_spacing: bool,
) -> list[RealRow]:
    """Return a row per structure."""
    rows = []
    voxel, tolerance = found.grid.voxel_volume_ml, default_tolerance(found.spacing_mm)
    for value, name in sorted(model.label_names.items()):
        about = (method, scan.name, scan.contrast, kind, *spacing_mm, own_spacing, name)
        volume = voxel * int((found.array == value).sum())
        if truth is None or name in scan.without:
            rows.append(RealRow(*about, np.nan, np.nan, volume, np.nan))
            continue
        one = agreement(found.array, truth, value, found.grid, tolerance)
        reference = one.volume_ml
        rows.append(RealRow(*about, one.dice, one.hd95_mm, volume, reference))
    return rows


def as_spacing(values: Iterable[Any]) -> Triple:
    """Return a spacing (z, y, x) from a key or a row of a table."""
    z, y, x = (float(value) for value in values)
    return z, y, x


def means(rows: pd.DataFrame, by: Sequence[str], metric: str = "dice") -> pd.Series:
    """Return the mean over scans of each structure, then over structures, of each group.

    Infinite distances are left out.
    """
    values = rows.replace([np.inf, -np.inf], np.nan)
    per_structure = values.groupby([*by, "structure"], sort=False)[metric].mean()
    found: pd.Series = per_structure.groupby(level=list(by), sort=False).mean()
    return found
