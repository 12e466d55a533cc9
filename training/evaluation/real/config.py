"""The list of real scans to measure on, a YAML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PositiveFloat, ValidationError, model_validator

from napari_hyperspace.core.errors import HyperspaceError
from napari_hyperspace.core.geometry import Triple
from napari_hyperspace.nets.card import Contrast
from training.config.base import ConfigSection, read_yaml
from training.config.errors import explain
from training.config.paths import resolve_path

REFERENCE = "t1"
"""Contrast that the peer segments, and whose labels its visit's other scans are compared with."""


Spacings = Annotated[tuple[PositiveFloat | Triple | None, ...], Field(min_length=1)]
"""Working spacings in mm: one number, (z, y, x), or null for the scan's own."""


class RealScan(ConfigSection):
    """One scan, with labels, or of a visit whose T1-weighted scan a peer labels, or neither."""

    name: str
    """Name in tables and results."""
    image: str
    """The scan: a file, relative to the configuration or below ``${HYPERSPACE_DATA}``."""
    contrast: Contrast
    """Contrast of the scan."""
    labels: str | None = None
    """Its label map, on the same grid, with the model's label values; null: none."""
    without: tuple[str, ...] = ()
    """Structures that the label map does not contain although the scan shows them."""
    visit: str | None = None
    """Scans of the same visit show the same head; null: a visit of its own."""
    transform: str | None = None
    """ITK affine transform from the points of the visit's common space to those of this scan;
    null: its space is the common one."""
    spacings_mm: Spacings | None = None
    """Working spacings of this scan; null: those of all scans."""

    @model_validator(mode="after")
    def _only_labels_leave_out(self) -> Self:
        if self.without and self.labels is None:
            raise ValueError("without: names structures missing in labels, but there are none")
        return self


class RealScans(ConfigSection):
    """Real scans, and how they are measured."""

    name: str
    """Name of the collection."""
    about: str = ""
    """Where the scans come from, and their licenses; printed on the page."""
    labels_of: str = "labels"
    """Who made the label maps, such as "FreeSurfer and CerebrA"."""
    spacings_mm: Spacings = (None, 1.0, 2.0, 3.0)
    """Working spacings of all scans that have none of their own."""
    scans: Annotated[tuple[RealScan, ...], Field(min_length=1)]
    """The scans, in the order of the tables."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [scan.name for scan in self.scans]
        if len(set(names)) != len(names):
            raise ValueError(f"scans: names must differ; found {names}")
        for visit in {scan.visit for scan in self.scans} - {None}:
            if sum(one.visit == visit and one.contrast == REFERENCE for one in self.scans) > 1:
                raise ValueError(f"scans: visit {visit} has more than one {REFERENCE}")
        return self

    def reference_of(self, scan: RealScan) -> RealScan | None:
        """Return the scan of the same visit that the peer labels; `None` if there is none."""
        for one in self.scans:
            same = one is scan or (scan.visit is not None and one.visit == scan.visit)
            if same and one.contrast == REFERENCE:
                return one
        return None

    def working_spacings(self, scan: RealScan) -> list[Triple | None]:
        """Return the working spacings of a scan as (z, y, x); `None` for its own."""
        wanted = scan.spacings_mm or self.spacings_mm
        return [(s, s, s) if isinstance(s, float) else s for s in wanted]


def load_real_scans(path: str | os.PathLike[str]) -> RealScans:
    """Read a list of scans; its paths become absolute.

    Raises
    ------
    HyperspaceError
        If it cannot be read, or a key or a path is not valid.
    """
    try:
        scans = RealScans.model_validate(read_yaml(path))
    except ValidationError as error:
        raise explain(error, RealScans, path) from None
    base = Path(path).absolute().parent
    resolved = []
    for scan in scans.scans:
        files = {
            key: str(resolve_path(value, base, field=f"scans.{scan.name}.{key}"))
            for key in ("image", "labels", "transform")
            if (value := getattr(scan, key)) is not None
        }
        for key, file in files.items():
            if not os.path.isfile(file):
                raise HyperspaceError(
                    "no such file", where=file, field=f"scans.{scan.name}.{key}", found=file
                )
        resolved.append(scan.model_copy(update=files))
    return scans.model_copy(update={"scans": tuple(resolved)})
